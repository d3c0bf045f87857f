//! Those that are compared: a table of names, start commands and configurations.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use pgherd_lab::{PoolerSpec, RunsAs, cluster, pooler};
use serde::Deserialize;

use super::case::{Abilities, Auth, Mode, Part};

/// The table that is built in.
pub(super) const TABLE: &str = include_str!("../../contenders.toml");

/// Settings that a template may ask for, as `@name@`.
pub(super) type Values = BTreeMap<&'static str, String>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    contender: Vec<Entry>,
}

/// A line of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Entry {
    name: String,
    program: String,
    arguments: Vec<String>,
    #[serde(default)]
    version_arguments: Vec<String>,
    #[serde(default)]
    files: BTreeMap<String, String>,
    #[serde(default = "yes")]
    pools: bool,
    prepared: Mode,
    auth: Vec<Auth>,
    #[serde(default = "one")]
    workers: Vec<u32>,
    #[serde(default)]
    runs_as_caller: bool,
}

fn yes() -> bool {
    true
}

fn one() -> Vec<u32> {
    vec![1]
}

/// One that is compared, with so many workers.
#[derive(Debug, Clone)]
pub(super) struct Contender {
    entry: Entry,
    program: PathBuf,
    workers: u32,
    /// What it says of its version.
    pub(super) version: String,
}

/// Where programs are that are not on the PATH, by the contender's name.
#[derive(Debug, Clone)]
pub(super) struct Program {
    name: String,
    path: PathBuf,
}

impl std::str::FromStr for Program {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, path) = text.split_once('=').ok_or("it is to be NAME=PATH")?;
        Ok(Self { name: name.to_owned(), path: path.into() })
    }
}

/// Reads the table. A contender whose program is not here is left out, and `say` is told so.
///
/// # Errors
/// When the table is not right, or a program is named for somebody who is not in it, or is not
/// where it was said to be.
pub(super) fn read(
    table: &str,
    programs: &[Program],
    mut say: impl FnMut(String),
) -> Result<Vec<Contender>> {
    let table: Table = toml::from_str(table).context("the table of contenders is not right")?;
    for program in programs {
        if !table.contender.iter().any(|entry| entry.name == program.name) {
            let names: Vec<&str> =
                table.contender.iter().map(|entry| entry.name.as_str()).collect();
            bail!("there is no contender `{}`, only {}", program.name, names.join(", "));
        }
    }
    let mut found = Vec::new();
    for entry in table.contender {
        let named = programs.iter().find(|program| program.name == entry.name);
        let program = match named {
            Some(Program { path, .. }) => Some(
                path.canonicalize().with_context(|| format!("no program {}", path.display()))?,
            ),
            None => pooler::find(&entry.program),
        };
        let Some(program) = program else {
            let Entry { name, program, .. } = &entry;
            say(format!(
                "{name} is left out: there is no `{program}` on the PATH, and no \
                 --program '{name}=PATH' names one"
            ));
            continue;
        };
        let version = version(&program, &entry.version_arguments);
        for &workers in &entry.workers {
            let (entry, program, version) = (entry.clone(), program.clone(), version.clone());
            found.push(Contender { entry, program, workers, version });
        }
    }
    Ok(found)
}

/// The first line of what a program says of its version.
fn version(program: &PathBuf, arguments: &[String]) -> String {
    if arguments.is_empty() {
        return String::new();
    }
    let output = Command::new(program).args(arguments).output();
    let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    said.lines().next().unwrap_or("of an unknown version").trim().to_owned()
}

impl Contender {
    /// Its name, with its workers if there are several.
    pub(super) fn name(&self) -> String {
        match self.workers {
            1 => self.entry.name.clone(),
            workers => format!("{}, {workers} workers", self.entry.name),
        }
    }

    /// With how many threads it serves clients.
    pub(super) fn workers(&self) -> u32 {
        self.workers
    }

    /// What decides how it takes part.
    pub(super) fn abilities(&self) -> Abilities<'_> {
        let Entry { pools, prepared, auth, .. } = &self.entry;
        Abilities { pools: *pools, prepared: *prepared, auth }
    }

    /// How to start it on a port, before a server's; `secret` is what the server keeps of the
    /// password.
    pub(super) fn spec(
        &self,
        part: &Part,
        auth: Auth,
        clients: u32,
        port: u16,
        server_port: u16,
        secret: &str,
    ) -> Result<PoolerSpec> {
        let values = Values::from([
            ("port", port.to_string()),
            ("server_port", server_port.to_string()),
            ("user", cluster::USER.to_owned()),
            ("password", cluster::PASSWORD.to_owned()),
            ("secret", secret.to_owned()),
            ("database", cluster::DATABASE.to_owned()),
            ("auth", auth.name().to_owned()),
            ("mode", part.mode.name().to_owned()),
            ("pool_size", part.pool_size.to_string()),
            // A few more than there are: those of one round may still be leaving in the next.
            ("max_clients", (clients + 100).to_string()),
            ("workers", self.workers.to_string()),
        ]);
        let entry = &self.entry;
        let fill = |text: &str| {
            fill(text, &values).with_context(|| format!("in the table's entry of {}", entry.name))
        };
        let file = |(name, text): (&String, &String)| Ok((name.clone(), fill(text)?));
        Ok(PoolerSpec {
            name: "contender".to_owned(),
            program: self.program.clone(),
            arguments: entry.arguments.iter().map(|text| fill(text)).collect::<Result<_>>()?,
            files: entry.files.iter().map(file).collect::<Result<_>>()?,
            says: None,
            runs_as: if entry.runs_as_caller { RunsAs::Caller } else { RunsAs::Server },
        })
    }
}

/// Puts the values in for `@name@`. Another `@` stays.
///
/// # Errors
/// Names a placeholder that has no value.
pub(super) fn fill(template: &str, values: &Values) -> Result<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('@') {
        filled.push_str(before);
        let name = after.split_once('@').map(|(name, _)| name);
        let is_name = |name: &&str| {
            !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        };
        match name.filter(is_name) {
            Some(name) => {
                let value = values.get(name).with_context(|| {
                    let known: Vec<&str> = values.keys().copied().collect();
                    format!("there is no value for `@{name}@`, only for {}", known.join(", "))
                })?;
                filled.push_str(value);
                rest = &after[name.len() + 1..];
            }
            None => {
                filled.push('@');
                rest = after;
            }
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::super::case::Protocol;
    use super::*;

    #[test]
    fn placeholders_are_filled_and_other_signs_stay() {
        let values = Values::from([("port", "1".to_owned()), ("pool_size", "20".to_owned())]);
        let filled = fill("p=@port@ s=@pool_size@@port@ a@b c@ @ @1@", &values).unwrap();
        assert_eq!(filled, "p=1 s=201 a@b c@ @ @1@");
    }

    #[test]
    fn a_placeholder_without_a_value_is_an_error_that_names_those_with_one() {
        let values = Values::from([("port", "1".to_owned())]);
        let error = fill("@prot@", &values).unwrap_err().to_string();
        assert!(error.contains("@prot@") && error.contains("only for port"), "{error}");
    }

    #[test]
    fn every_template_of_the_table_can_be_filled() {
        let table: Table = toml::from_str(TABLE).unwrap();
        let part = Part {
            mode: Mode::Transaction,
            pool_size: 20,
            protocol: Protocol::Simple,
            remark: None,
        };
        for entry in table.contender {
            let contender =
                Contender { entry, program: "program".into(), workers: 1, version: String::new() };
            let spec = contender.spec(&part, Auth::Trust, 50, 1, 2, "secret").unwrap();
            let all = spec.files.iter().map(|(_, text)| text).chain(&spec.arguments);
            let all: Vec<&String> = all.collect();
            assert!(all.iter().all(|text| !text.contains('@')), "{all:?}");
        }
    }

    #[test]
    fn a_contender_whose_program_is_not_here_is_left_out_aloud() {
        let table = "[[contender]]\nname = \"Nobody's\"\nprogram = \"no-such-program-anywhere\"\n\
                     arguments = []\nprepared = \"transaction\"\nauth = [\"trust\"]\n";
        let mut said = Vec::new();
        assert!(read(table, &[], |text| said.push(text)).unwrap().is_empty());
        assert!(said[0].contains("Nobody's is left out"), "{said:?}");
        let wrong = "Somebody=/bin/true".parse().unwrap();
        let error = read(table, &[wrong], |_| {}).unwrap_err().to_string();
        assert!(error.contains("no contender `Somebody`"), "{error}");
    }

    #[test]
    fn several_numbers_of_workers_are_several_contenders() {
        let table = "[[contender]]\nname = \"Many\"\nprogram = \"sh\"\narguments = []\n\
                     prepared = \"transaction\"\nauth = [\"trust\"]\nworkers = [1, 2]\n";
        let found = read(table, &[], |_| {}).unwrap();
        let names: Vec<String> = found.iter().map(Contender::name).collect();
        assert_eq!(names, ["Many", "Many, 2 workers"]);
    }
}
