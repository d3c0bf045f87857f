//! docs/cli.md, from what the program itself says in its help. `cargo x reference` writes it.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};

use crate::args::Args;

const HEAD: &str = "<!-- Generated from crates/cli by `cargo x reference`. -->\n\
# The program\n\
\n\
What `pgherd help` and `pgherd help COMMAND` say, in one place. It ends with 0 when it did what it was\n\
asked, with 1 when it failed, and with 2 for wrong arguments. Each command has `--help` and `--version`,\n\
and those below another one have its arguments, too. Where a command takes settings and no `--config` is\n\
given, they are those of the [environment](environment.md) and of a file `.env` in the current folder.\n";

/// The whole document.
fn reference() -> String {
    let mut program = Args::command();
    // So that what is meant for each command is there in each, and so is its usage.
    program.build();
    let mut text = HEAD.to_owned();
    for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
        describe(&mut text, command, "##");
    }
    text
}

fn describe(text: &mut String, command: &Command, level: &str) {
    let mut command = command.clone();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ");
    let about = command.get_long_about().or(command.get_about());
    let about = about.map(ToString::to_string).unwrap_or_default();
    write!(text, "\n{level} `{}`\n\n", command.get_bin_name().unwrap_or_default()).unwrap();
    write!(text, "{}\n\n```text\n{usage}\n```\n", sentence(&about)).unwrap();
    let is_below = level != "##";
    let told = |argument: &&Arg| {
        let is_told_before = is_below && argument.is_global_set();
        let is_of_all = matches!(argument.get_id().as_str(), "help" | "version");
        !argument.is_hide_set() && !is_told_before && !is_of_all
    };
    let arguments: Vec<&Arg> = command.get_arguments().filter(told).collect();
    if !arguments.is_empty() {
        text.push_str("\n| Argument | Meaning |\n|---|---|\n");
    }
    for argument in arguments {
        writeln!(text, "| {} | {} |", name(argument), meaning(argument)).unwrap();
    }
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        describe(text, below, &format!("{level}#"));
    }
}

/// How an argument is written.
fn name(argument: &Arg) -> String {
    let values: Vec<String> = argument
        .get_value_names()
        .filter(|_| argument.get_num_args().is_none_or(|count| count.takes_values()))
        .unwrap_or_default()
        .iter()
        .map(|name| {
            let is_positional = argument.is_positional();
            if is_positional && !argument.is_required_set() {
                format!("[{name}]")
            } else {
                name.to_string()
            }
        })
        .collect();
    let short = argument.get_short().map(|short| format!("-{short}"));
    let long = argument.get_long().map(|long| format!("--{long}"));
    let flags: Vec<String> = [short, long].into_iter().flatten().collect();
    let words: Vec<String> =
        [vec![flags.join(", ")], values].concat().into_iter().filter(|it| !it.is_empty()).collect();
    format!("`{}`", words.join(" "))
}

/// What is said about it, its values, its default and its variable.
fn meaning(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    let mut text = sentence(&help.map(ToString::to_string).unwrap_or_default());
    let takes_values = argument.get_num_args().is_none_or(|count| count.takes_values());
    let values = argument.get_possible_values();
    let values: Vec<_> = values.iter().filter(|value| !value.is_hide_set()).collect();
    if takes_values && !values.is_empty() {
        let said = |value: &&PossibleValue| match value.get_help() {
            Some(help) => format!("`{}` ({help})", value.get_name()),
            None => format!("`{}`", value.get_name()),
        };
        let values: Vec<String> = values.iter().map(said).collect();
        text += &format!(" One of {}.", values.join(", "));
    }
    let defaults = argument.get_default_values();
    if takes_values && !defaults.is_empty() && !argument.is_hide_default_value_set() {
        let defaults: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
        text += &format!(" Default: `{}`.", defaults.join(" "));
    }
    if let Some(variable) = argument.get_env() {
        text += &format!(" Variable: `{}`.", variable.to_string_lossy());
    }
    // It stands in one row of a table.
    text.replace('|', "\\|").replace("\n\n", "<br>").replace('\n', " ")
}

/// Help has no full stop at the end of its first line; prose has.
fn sentence(help: &str) -> String {
    let (first, rest) = help.trim_end().split_once("\n\n").unwrap_or((help.trim_end(), ""));
    let stop = if first.is_empty() || first.ends_with(['.', ':']) { "" } else { "." };
    let gap = if rest.is_empty() { "" } else { "\n\n" };
    format!("{first}{stop}{gap}{rest}")
}

#[test]
fn the_cli_reference_is_fresh() {
    let fresh = reference();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/cli.md");
    if std::env::var_os("PGHERD_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == fresh, "docs/cli.md is stale: run `cargo x reference`");
}

/// `pgherd COMMAND` in backticks, wherever people read it: documents, helps, hints of errors.
#[test]
fn every_command_that_is_named_is_there() {
    let mut program = Args::command();
    program.build();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut unknown = Vec::new();
    for file in read_by_people(&repository) {
        let text = std::fs::read_to_string(&file).unwrap();
        // What a module says of itself is for its developers, and may be about a protocol.
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("//!")).collect();
        let text = lines.join("\n");
        for named in text.split("`pgherd ").skip(1) {
            let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '-';
            let name = named.split(|letter| !is_name(letter)).next().unwrap_or_default();
            if !name.is_empty() && program.find_subcommand(name).is_none() {
                unknown.push(format!("{}: `pgherd {name}`", file.display()));
            }
        }
    }
    assert!(unknown.is_empty(), "there is no such command:\n{}", unknown.join("\n"));
}

/// The documents, and the sources.
fn read_by_people(repository: &Path) -> Vec<PathBuf> {
    let folders = ["docs", "crates", "config", "xtask"].map(|folder| repository.join(folder));
    let (mut files, mut folders) = (vec![repository.join("README.md")], folders.to_vec());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let ending = path.extension().unwrap_or_default();
            if path.is_dir() {
                folders.push(path);
            } else if ["md", "rs", "toml", "ini"].iter().any(|read| ending == *read) {
                files.push(path);
            }
        }
    }
    files
}
