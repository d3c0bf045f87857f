//! What a statement of the console means.
//!
//! In: a statement as it was said. Out: a table to show, a command to carry out, an answer that needs
//! nothing; or why there is none, in PgBouncer's words where it has some.

use super::grammar::{Said, Statement};
use super::show::{self, Table};
use super::table::{Column, text};

/// What a statement means.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Meaning {
    /// Show this.
    Show(&'static Table),
    /// Say what can be said.
    Help,
    /// Show a parameter that drivers ask for.
    Parameter(&'static Parameter),
    /// Set one that drivers set: nothing happens, and it is said so.
    SetParameter,
    /// What drivers say around statements. Nothing happens.
    Nothing { tag: &'static str },
    /// Carry it out.
    Do(Command),
}

/// What an administrator orders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    Pause(Option<String>),
    Resume(Option<String>),
    Suspend,
    Disable(String),
    Enable(String),
    Kill(Option<String>),
    KillClient(u64),
    Reconnect(Option<String>),
    WaitClose(Option<String>),
    Reload,
    Shutdown(Shutdown),
    Set { key: String, value: String },
}

/// When pgherd ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shutdown {
    Now,
    /// When no client holds a backend any more.
    WaitForServers,
    /// When the last client has left.
    WaitForClients,
}

impl Command {
    /// What its success is called.
    pub(crate) fn tag(&self) -> String {
        let tag = match self {
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Suspend => "SUSPEND",
            Self::Disable(_) => "DISABLE",
            Self::Enable(_) => "ENABLE",
            Self::Kill(_) => "KILL",
            Self::KillClient(_) => "KILL_CLIENT",
            Self::Reconnect(_) => "RECONNECT",
            Self::WaitClose(_) => "WAIT_CLOSE",
            Self::Reload => "RELOAD",
            Self::Shutdown(_) => "SHUTDOWN",
            Self::Set { key, value } => return format!("SET {key}={value}"),
        };
        tag.to_owned()
    }
}

/// A parameter as PgBouncer's console shows it, for drivers that ask for it when they connect.
#[derive(Debug, PartialEq)]
pub(crate) struct Parameter {
    pub(crate) column: [Column; 1],
    pub(crate) value: &'static str,
}

const ASKED_FOR: &str = "a parameter that drivers ask for";

static PARAMETERS: [Parameter; 5] = [
    Parameter { column: [text("client_encoding", ASKED_FOR)], value: "UTF-8" },
    Parameter {
        column: [text("default_transaction_isolation", ASKED_FOR)],
        value: "read committed",
    },
    Parameter { column: [text("standard_conforming_strings", ASKED_FOR)], value: "on" },
    Parameter { column: [text("datestyle", ASKED_FOR)], value: "ISO" },
    Parameter { column: [text("timezone", ASKED_FOR)], value: "GMT" },
];

/// What drivers and tools set when they connect, beside the parameters above.
const ALSO_SET: [&str; 17] = [
    "application_name",
    "bytea_output",
    "characteristics",
    "client_min_messages",
    "default_transaction_deferrable",
    "default_transaction_read_only",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "intervalstyle",
    "jit",
    "lock_timeout",
    "names",
    "row_security",
    "search_path",
    "statement_timeout",
    "time",
    "transaction",
];

/// What a statement means.
///
/// # Errors
/// What its sender is told.
pub(crate) fn meaning(statement: &Statement<'_>) -> Result<Meaning, String> {
    let invalid = || format!("invalid command '{}', use SHOW HELP;", statement.text);
    match &statement.said {
        Said::TooLong => Err("bad arguments".to_owned()),
        Said::Words { command, argument } => {
            words(command, argument.as_deref()).unwrap_or_else(|| Err(invalid()))
        }
        Said::Set { key, value } if is_drivers_own(key) => {
            let _ = value;
            Ok(Meaning::SetParameter)
        }
        Said::Set { key, value } => {
            Ok(Meaning::Do(Command::Set { key: key.clone(), value: value.clone() }))
        }
        Said::Other(words) => others(words).ok_or_else(invalid),
    }
}

fn words(command: &str, argument: Option<&str>) -> Option<Result<Meaning, String>> {
    if let Some(tag) = tag_of_nothing(command) {
        return Some(Ok(Meaning::Nothing { tag }));
    }
    let optional = argument.map(str::to_owned);
    let required =
        || argument.map(str::to_owned).ok_or_else(|| "a database is required".to_owned());
    let alone = |command| argument.is_none().then_some(Ok(Meaning::Do(command)));
    let order = |command| Some(Ok(Meaning::Do(command)));
    match command {
        "show" | "select" => shown(&argument?.to_ascii_lowercase()).map(Ok),
        "pause" => order(Command::Pause(optional)),
        "resume" => order(Command::Resume(optional)),
        "suspend" => alone(Command::Suspend),
        "disable" => Some(required().map(|name| Meaning::Do(Command::Disable(name)))),
        "enable" => Some(required().map(|name| Meaning::Do(Command::Enable(name)))),
        "kill" => order(Command::Kill(optional)),
        "kill_client" => Some(match argument.and_then(|id| id.parse().ok()) {
            Some(id) => Ok(Meaning::Do(Command::KillClient(id))),
            None => Err("invalid client pointer supplied".to_owned()),
        }),
        "reconnect" => order(Command::Reconnect(optional)),
        "wait_close" => order(Command::WaitClose(optional)),
        "reload" => alone(Command::Reload),
        "shutdown" => {
            let when = match argument.map(str::to_ascii_lowercase).as_deref() {
                None => Shutdown::Now,
                Some("wait_for_servers") => Shutdown::WaitForServers,
                Some("wait_for_clients") => Shutdown::WaitForClients,
                Some(_) => return None,
            };
            order(Command::Shutdown(when))
        }
        _ => None,
    }
}

fn shown(name: &str) -> Option<Meaning> {
    if name == "help" {
        return Some(Meaning::Help);
    }
    let parameter = PARAMETERS.iter().find(|parameter| parameter.column[0].name == name);
    match parameter {
        Some(parameter) => Some(Meaning::Parameter(parameter)),
        None => show::find(name).map(Meaning::Show),
    }
}

/// What drivers say in more than two words.
fn others(words: &[String]) -> Option<Meaning> {
    let [first, rest @ ..] = words else { return None };
    if let Some(tag) = tag_of_nothing(first) {
        return Some(Meaning::Nothing { tag });
    }
    let key = match rest {
        [scope, key, ..] if matches!(&**scope, "session" | "local") => key,
        [key, ..] => key,
        [] => return None,
    };
    (first == "set" && is_drivers_own(key)).then_some(Meaning::SetParameter)
}

fn is_drivers_own(key: &str) -> bool {
    ALSO_SET.contains(&key) || PARAMETERS.iter().any(|parameter| parameter.column[0].name == key)
}

/// What begins and ends transactions, and what puts a session back to its beginning.
fn tag_of_nothing(command: &str) -> Option<&'static str> {
    Some(match command {
        "begin" => "BEGIN",
        "start" => "START TRANSACTION",
        "commit" | "end" => "COMMIT",
        "rollback" | "abort" => "ROLLBACK",
        "close" => "CLOSE CURSOR",
        "deallocate" => "DEALLOCATE",
        "discard" => "DISCARD ALL",
        "reset" => "RESET",
        "unlisten" => "UNLISTEN",
        _ => return None,
    })
}

/// What `SHOW HELP` says, a line for each.
pub(crate) fn help() -> String {
    let tables: Vec<String> =
        show::ALL.iter().map(|table| table.name.to_ascii_uppercase()).collect();
    let mut lines = vec![format!("\n\tSHOW HELP|{}", tables.join("|"))];
    lines.extend(
        [
            "SET key = arg",
            "RELOAD",
            "PAUSE [<db>]",
            "RESUME [<db>]",
            "DISABLE <db>",
            "ENABLE <db>",
            "RECONNECT [<db>]",
            "KILL [<db>]",
            "KILL_CLIENT <client_id>",
            "SUSPEND",
            "SHUTDOWN",
            "SHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS",
            "WAIT_CLOSE [<db>]",
        ]
        .map(str::to_owned),
    );
    lines.join("\n\t")
}

#[cfg(test)]
mod tests {
    use super::super::grammar::parse;
    use super::*;

    fn means(text: &str) -> Result<Meaning, String> {
        meaning(parse(text).first().unwrap())
    }

    #[test]
    fn what_drivers_say_on_their_own_does_nothing() {
        for (text, tag) in [
            ("BEGIN", "BEGIN"),
            ("begin isolation level serializable read only", "BEGIN"),
            ("START TRANSACTION", "START TRANSACTION"),
            ("rollback to savepoint x", "ROLLBACK"),
            ("RESET ALL", "RESET"),
            ("UNLISTEN *", "UNLISTEN"),
        ] {
            assert_eq!(means(text), Ok(Meaning::Nothing { tag }), "{text}");
        }
        for text in [
            "set client_encoding to 'latin1'",
            "SET extra_float_digits = 3",
            "set session characteristics as transaction read only",
            "SET TIME ZONE 'UTC'",
            "SET DATESTYLE TO ISO, MDY",
            "set names 'utf8'",
        ] {
            assert_eq!(means(text), Ok(Meaning::SetParameter), "{text}");
        }
    }

    #[test]
    fn commands_want_what_they_are_about() {
        let order = |command| Ok(Meaning::Do(command));
        assert_eq!(means("PAUSE Db"), order(Command::Pause(Some("Db".to_owned()))));
        assert_eq!(means("disable"), Err("a database is required".to_owned()));
        assert_eq!(means("kill_client 12"), order(Command::KillClient(12)));
        assert_eq!(means("kill_client x"), Err("invalid client pointer supplied".to_owned()));
        let when = Shutdown::WaitForClients;
        assert_eq!(means("shutdown Wait_For_Clients"), order(Command::Shutdown(when)));
        let (key, value) = ("max_client_conn".to_owned(), "7".to_owned());
        assert_eq!(means("set max_client_conn = 7"), order(Command::Set { key, value }));
        for text in ["suspend x", "shutdown later", "show nonsense", "show", "insert", "set a"] {
            let error = format!("invalid command '{text}', use SHOW HELP;");
            assert_eq!(means(text), Err(error));
        }
        assert_eq!(means(&"x".repeat(16)), Err("bad arguments".to_owned()));
    }

    #[test]
    fn select_shows_as_show_does() {
        assert!(matches!(means("SELECT pools"), Ok(Meaning::Show(table)) if table.name == "pools"));
        assert!(matches!(means("show DateStyle"), Ok(Meaning::Parameter(_))));
    }
}
