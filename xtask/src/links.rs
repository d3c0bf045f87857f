//! Whether every link of a document that stays in the repository leads somewhere: to a file that is
//! there and, where it names one, to a heading of it.
//!
//! In: every Markdown file that git knows. Out: the links that lead nowhere, with file and line.
//! Links to other sites are not followed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// A link of a document, and the line it is in.
#[derive(Debug, PartialEq, Eq)]
struct Link<'t> {
    line: usize,
    target: &'t str,
}

/// The lines of a document that are prose, with their numbers: what stands between fences is not.
fn prose(document: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(document.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

fn links(document: &str) -> Vec<Link<'_>> {
    let mut found = Vec::new();
    for (line, text) in prose(document) {
        // What stands in backticks is code, too: every other part.
        for text in text.split('`').step_by(2) {
            let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
            found.extend(targets.map(|target| Link { line, target }));
        }
    }
    found
}

/// The names by which GitHub lets a link lead to the headings of a document.
fn anchors(document: &str) -> Vec<String> {
    let mut seen = BTreeMap::new();
    prose(document)
        .filter_map(|(_, line)| {
            line.trim_start_matches('#').strip_prefix(' ').filter(|_| line.starts_with('#'))
        })
        .map(|heading| {
            let anchor = anchor(heading);
            let before = seen.entry(anchor.clone()).or_insert(0);
            *before += 1;
            if *before == 1 { anchor } else { format!("{anchor}-{}", *before - 1) }
        })
        .collect()
}

/// Letters become small, blanks hyphens, and of what is neither letter nor number only `-` and `_` stay.
fn anchor(heading: &str) -> String {
    let stays = |letter: &char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | ' ');
    let letters = heading.trim().chars().filter(stays).flat_map(char::to_lowercase);
    letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

fn is_elsewhere(target: &str) -> bool {
    target.contains("://") || target.starts_with("mailto:")
}

/// What is wrong with a link of the document at `path`, whose text is `document`.
fn problem(target: &str, path: &Path, document: &str) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let led_to;
    let text = if file.is_empty() {
        document
    } else {
        let there = path.parent().expect("a file is in a folder").join(file);
        if !there.exists() {
            return Some("no such file".to_owned());
        }
        if anchor.is_empty() {
            return None;
        }
        led_to = std::fs::read_to_string(there).unwrap_or_default();
        &led_to
    };
    let is_there = anchors(text).iter().any(|found| found == anchor);
    (!is_there).then(|| "no such heading".to_owned())
}

/// Every Markdown file that git knows, but for those that a program makes a document of. A crate's README
/// is the one of the repository, by a symbolic link, and is read where it is.
fn documents() -> Vec<PathBuf> {
    let workspace = command::workspace();
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(&workspace).output();
    let listed = String::from_utf8(listed.expect("git runs").stdout).expect("names are text");
    let names = listed.lines().filter(|name| !name.contains("/src/"));
    let paths = names.map(|name| workspace.join(name));
    // One that was removed and not committed yet is still listed.
    paths.filter(|path| path.exists() && !path.is_symlink()).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let documents = documents();
    assert!(documents.len() > 10, "{documents:?}");
    let mut astray = Vec::new();
    for path in documents {
        let document = std::fs::read_to_string(&path).unwrap();
        for Link { line, target } in links(&document) {
            if let (false, Some(why)) = (is_elsewhere(target), problem(target, &path, &document)) {
                astray.push(format!("{}:{line}: {target}: {why}", path.display()));
            }
        }
    }
    assert!(astray.is_empty(), "{} links lead nowhere:\n{}", astray.len(), astray.join("\n"));
}

#[test]
fn a_link_is_read_as_github_reads_it() {
    let document = "# It's `SHOW POOLS`, and a_b\n[a](b.md#c \"t\"), ![d](e.svg) `[f](g)`\n```\n[h](i)\n# j\n```\n## It's `SHOW POOLS`, and a_b\n";
    let expected = [Link { line: 2, target: "b.md#c" }, Link { line: 2, target: "e.svg" }];
    assert_eq!(links(document), expected);
    assert_eq!(anchors(document), ["its-show-pools-and-a_b", "its-show-pools-and-a_b-1"]);
}
