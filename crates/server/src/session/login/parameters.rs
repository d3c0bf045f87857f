//! What stands in a startup packet beside who the client is.

use pgherd_wire::sqlstate;
use pgherd_wire::startup::Startup;

use super::Refusal;
use crate::relay::Parameters;

/// What a client asks for at its login, to be set for it.
pub(super) fn parameters(startup: &Startup<'_>) -> Result<Parameters, Refusal> {
    let mut parameters = Parameters::default();
    for (name, value) in &startup.parameters {
        match *name {
            "user" | "database" | "replication" => {}
            name if name.starts_with("_pq_.") => {}
            "options" => read_options(value, &mut parameters)?,
            name => parameters.set(name, value),
        }
    }
    Ok(parameters)
}

/// Reads `options`: `-c name=value`, `-cname=value` and `--name=value`, separated by spaces,
/// with `\` before a space or backslash that belongs to a value.
///
/// Source: PostgreSQL manual, "postgres", and `pg_split_opts`; in a name given by `--`, a
/// dash stands for an underscore.
fn read_options(text: &str, parameters: &mut Parameters) -> Result<(), Refusal> {
    let mut words = split_options(text).into_iter();
    while let Some(word) = words.next() {
        let pair = match word.strip_prefix("--") {
            Some(long) => Some(long.to_owned()),
            None => match word.strip_prefix("-c") {
                Some("") => words.next(),
                Some(short) => Some(short.to_owned()),
                None => None,
            },
        };
        let Some((name, value)) = pair.as_deref().and_then(|pair| pair.split_once('=')) else {
            return Err(Refusal::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                "unsupported options startup parameter: only '-c config=val' and \
                 '--config=val' are allowed",
            ));
        };
        parameters.set(&name.replace('-', "_"), value);
    }
    Ok(())
}

fn split_options(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        while letters.next_if(char::is_ascii_whitespace).is_some() {}
        if letters.peek().is_none() {
            return words;
        }
        let mut word = String::new();
        while let Some(letter) = letters.next_if(|letter| !letter.is_ascii_whitespace()) {
            match letter {
                '\\' => word.extend(letters.next()),
                letter => word.push(letter),
            }
        }
        words.push(word);
    }
}
