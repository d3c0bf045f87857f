//! Ident maps: whom a certificate's name or an operating system's user may log in as.
//!
//! Lines of three fields: map, name at the other end, name here. A name that begins with `/` is a
//! regular expression that is searched for, and `\1` in the name here is what its first group has
//! found. The name here may be `all`.
//!
//! Regular expressions are those of the crate `regex`: they take time in proportion to the name, and
//! know no back references.

use std::collections::HashMap;

use regex::{Regex, RegexBuilder};

use super::FileError;
use super::fields::{Word, fields};

/// Lines of one file.
const MOST_LINES: usize = 10_000;

/// Bytes that a compiled expression may take: far more than any that was written by hand.
const LARGEST_EXPRESSION: usize = 256 * 1024;

/// Expressions of one file: together they may take 64 MiB.
const MOST_EXPRESSIONS: usize = 256;

#[derive(Debug, Clone)]
enum Outside {
    Name(String),
    Expression(Regex),
}

#[derive(Debug, Clone)]
struct Line {
    outside: Outside,
    // `None` is `all`.
    inside: Option<String>,
}

/// The maps of a file.
#[derive(Debug, Clone, Default)]
pub struct IdentMaps(HashMap<String, Vec<Line>>);

impl IdentMaps {
    /// Reads a file.
    ///
    /// ```
    /// use pgherd_core::pgbouncer::IdentMaps;
    ///
    /// let text = "people /^(.*)@example\\.com$ \\1\npeople root admin\n";
    /// let maps = IdentMaps::read(text, "ident.conf").unwrap();
    /// assert!(maps.allow("people", "ann@example.com", "ann"));
    /// assert!(!maps.allow("people", "ann@example.com", "bob"));
    /// assert!(maps.allow("people", "root", "admin") && !maps.allow("other", "root", "admin"));
    ///
    /// let errors = IdentMaps::read("people /( x", "ident.conf").unwrap_err();
    /// assert!(errors[0].to_string().starts_with("ident.conf:1: `(` is no regular expression: "));
    /// ```
    ///
    /// # Errors
    /// Every line that is none.
    pub fn read(text: &str, file_name: &str) -> Result<Self, Vec<FileError>> {
        let mut maps: HashMap<String, Vec<Line>> = HashMap::new();
        let (mut errors, mut lines, mut expressions) = (Vec::new(), 0, 0);
        for (index, line) in text.split('\n').enumerate() {
            let found = fields(line).and_then(|fields| read_line(&fields));
            let too_many =
                || Err(format!("more than {MOST_LINES} lines, or {MOST_EXPRESSIONS} expressions"));
            let found = if lines > MOST_LINES || expressions > MOST_EXPRESSIONS {
                too_many()
            } else {
                found
            };
            match found {
                Ok(None) => {}
                Ok(Some((map, line))) => {
                    lines += 1;
                    expressions += usize::from(matches!(line.outside, Outside::Expression(_)));
                    maps.entry(map).or_default().push(line);
                }
                Err(problem) => {
                    let file = file_name.to_owned();
                    errors.push(FileError { file, line: Some(index + 1), problem });
                    if lines > MOST_LINES || expressions > MOST_EXPRESSIONS {
                        break;
                    }
                }
            }
        }
        if errors.is_empty() { Ok(Self(maps)) } else { Err(errors) }
    }

    /// Whether there is a map of this name.
    pub fn has(&self, map: &str) -> bool {
        self.0.contains_key(map)
    }

    /// Whether who is called `outside` there may log in as `inside` here.
    pub fn allow(&self, map: &str, outside: &str, inside: &str) -> bool {
        self.0.get(map).is_some_and(|lines| lines.iter().any(|line| line.allows(outside, inside)))
    }
}

impl Line {
    fn allows(&self, outside: &str, inside: &str) -> bool {
        let group = match &self.outside {
            Outside::Name(name) if name == outside => "",
            Outside::Name(_) => return false,
            Outside::Expression(expression) => match expression.captures(outside) {
                Some(found) => found.get(1).map_or("", |group| group.as_str()),
                None => return false,
            },
        };
        match (&self.inside, &self.outside) {
            (None, _) => true,
            (Some(name), Outside::Name(_)) => name == inside,
            (Some(name), Outside::Expression(_)) => name.replacen("\\1", group, 1) == inside,
        }
    }
}

fn read_line(fields: &[Vec<Word>]) -> Result<Option<(String, Line)>, String> {
    let words: Vec<&Word> = fields.iter().flatten().collect();
    if words.is_empty() {
        return Ok(None);
    }
    let [map, outside, inside] = words[..] else {
        return Err("a line has three fields: map, name at the other end, name here".to_owned());
    };
    let (outside, groups) = match outside.text.strip_prefix('/') {
        None => (Outside::Name(outside.text.clone()), 0),
        Some(text) => {
            let expression = RegexBuilder::new(text)
                .size_limit(LARGEST_EXPRESSION)
                .dfa_size_limit(LARGEST_EXPRESSION)
                .nest_limit(50)
                .build()
                .map_err(|error| {
                    let error = error.to_string();
                    let last = error.lines().last().unwrap_or_default();
                    format!("`{text}` is no regular expression: {last}")
                })?;
            let groups = expression.captures_len() - 1;
            (Outside::Expression(expression), groups)
        }
    };
    if matches!(outside, Outside::Expression(_)) && inside.text.contains("\\1") && groups == 0 {
        return Err(format!("`{}` asks for a group, and the expression has none", inside.text));
    }
    let inside = (!inside.is_keyword("all")).then(|| inside.text.clone());
    Ok(Some((map.text.clone(), Line { outside, inside })))
}
