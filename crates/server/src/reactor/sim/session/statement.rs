//! The little SQL that a simulated server understands.
//!
//! Each text of a client's has a tag, such as `'c3.17'`: who has sent it, and as which of its
//! statements. Where it is in no literal, it is in a comment at the end.

use std::time::Duration;

/// Who has sent a statement, and as which of its own: `c3.17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::reactor::sim) struct Tag {
    pub(in crate::reactor::sim) session: u32,
    pub(in crate::reactor::sim) number: u32,
}

impl std::fmt::Display for Tag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "c{}.{}", self.session, self.number)
    }
}

impl Tag {
    pub(in crate::reactor::sim) fn read(text: &str) -> Option<Self> {
        let (session, number) = text.strip_prefix('c')?.split_once('.')?;
        Some(Self { session: session.parse().ok()?, number: number.parse().ok()? })
    }

    /// The first in a text.
    pub(in crate::reactor::sim) fn find(text: &str) -> Option<Self> {
        text.split('\'').skip(1).find_map(Self::read)
    }
}

/// What is returned in each row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Literal(String),
    /// `$1`.
    Parameter,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Statement {
    Select {
        value: Value,
        rows: u32,
        times: usize,
        sleep: Duration,
    },
    /// Fails when it runs.
    Fail(Value),
    Insert(Value),
    Begin,
    Commit,
    Rollback,
    Set {
        name: String,
        value: String,
        is_local: bool,
    },
    SetConfig {
        name: String,
        value: String,
    },
    Reset(String),
    ResetAll,
    /// RESET ROLE, RESET SESSION AUTHORIZATION: nobody sets them here.
    ResetNothing,
    DiscardAll,
    DiscardTemp,
    Show(String),
    CreateTemp(String),
    DropTable(String),
    Lock(u32),
    Unlock(u32),
    UnlockAll,
    Listen(String),
    Unlisten(Option<String>),
    Declare {
        name: String,
        value: Value,
    },
    Fetch(String),
    Close(Option<String>),
    CopyIn,
    CopyOut {
        value: Value,
        rows: u32,
    },
    Prepare {
        name: String,
        text: String,
    },
    Execute(String),
    Deallocate(Option<String>),
}

/// A text that is no SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SyntaxError(pub(super) String);

/// The statements of a text.
///
/// # Panics
/// If a text is neither what the simulated clients say nor what pgherd asks: then this has to learn
/// it.
pub(super) fn read_all(text: &str) -> Result<Vec<Statement>, SyntaxError> {
    let text = match text.find("/*") {
        Some(at) => &text[..at],
        None => text,
    };
    let parts = text.split(';').map(str::trim).filter(|part| !part.is_empty());
    parts.map(read).collect()
}

fn read(text: &str) -> Result<Statement, SyntaxError> {
    if text.starts_with("SELEKT") {
        return Err(SyntaxError(format!("syntax error at or near \"SELEKT\": {text}")));
    }
    if let Some(statement) = read_select(text).or_else(|| read_command(text)) {
        return Ok(statement);
    }
    panic!("the simulated server does not know this statement: {text}");
}

fn read_select(text: &str) -> Option<Statement> {
    let rest = text.strip_prefix("SELECT ")?;
    if let Some(call) =
        rest.strip_prefix("pg_catalog.set_config(").or(rest.strip_prefix("set_config("))
    {
        let mut parts = call.split('\'');
        let (name, value) = (parts.nth(1)?.to_owned(), parts.nth(1)?.to_owned());
        return Some(Statement::SetConfig { name, value });
    }
    if let Some(call) = rest.strip_prefix("pg_advisory_lock(") {
        return Some(Statement::Lock(call.strip_suffix(')')?.parse().ok()?));
    }
    if let Some(call) = rest.strip_prefix("pg_advisory_unlock(") {
        return Some(Statement::Unlock(call.strip_suffix(')')?.parse().ok()?));
    }
    if rest == "pg_catalog.pg_advisory_unlock_all()" {
        return Some(Statement::UnlockAll);
    }
    if let Some(call) = rest.strip_prefix("coalesce(current_setting(") {
        return Some(Statement::Show(call.split('\'').nth(1)?.to_owned()));
    }
    if let Some(value) = rest.strip_prefix("1/0, ") {
        return Some(Statement::Fail(read_value(value)?));
    }
    let (what, from) = rest.split_once(" FROM ").unwrap_or((rest, ""));
    let (value, times) = match what.strip_prefix("repeat(") {
        Some(call) => {
            let (value, times) = call.strip_suffix(')')?.split_once(", ")?;
            (read_value(value)?, times.parse().ok()?)
        }
        None => (read_value(what)?, 1),
    };
    let mut rows = 1;
    let mut sleep = Duration::ZERO;
    if let Some(series) = from.strip_prefix("generate_series(1, ") {
        rows = series.strip_suffix(')')?.parse().ok()?;
    } else if let Some(seconds) = from.strip_prefix("pg_sleep(") {
        sleep = Duration::from_secs_f64(seconds.strip_suffix(')')?.parse().ok()?);
    } else if !from.is_empty() {
        return None;
    }
    Some(Statement::Select { value, rows, times, sleep })
}

fn read_value(text: &str) -> Option<Value> {
    if text == "$1" {
        return Some(Value::Parameter);
    }
    Some(Value::Literal(text.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()))
}

fn read_command(text: &str) -> Option<Statement> {
    let words: Vec<&str> = text.split(' ').collect();
    let quoted = |word: &str| word.trim_matches(['\'', '"']).to_owned();
    Some(match &words[..] {
        ["BEGIN"] => Statement::Begin,
        ["COMMIT"] => Statement::Commit,
        ["ROLLBACK"] => Statement::Rollback,
        ["INSERT", "INTO", "t", "VALUES", value] => {
            Statement::Insert(read_value(value.strip_prefix('(')?.strip_suffix(')')?)?)
        }
        ["SET", "LOCAL", name, "=", value] => {
            Statement::Set { name: quoted(name), value: quoted(value), is_local: true }
        }
        ["SET", name, "=", value] => {
            Statement::Set { name: quoted(name), value: quoted(value), is_local: false }
        }
        ["RESET", "ALL"] => Statement::ResetAll,
        ["RESET", "ROLE"] | ["RESET", "SESSION", "AUTHORIZATION"] => Statement::ResetNothing,
        ["RESET", name] => Statement::Reset(quoted(name)),
        ["DISCARD", "ALL"] => Statement::DiscardAll,
        ["DISCARD", "TEMP"] => Statement::DiscardTemp,
        ["SHOW", name] => Statement::Show(quoted(name)),
        ["CREATE", "TEMP", "TABLE", name, "()"] => Statement::CreateTemp(quoted(name)),
        ["DROP", "TABLE", name] => Statement::DropTable(quoted(name)),
        ["LISTEN", channel] => Statement::Listen(quoted(channel)),
        ["UNLISTEN", "*"] => Statement::Unlisten(None),
        ["UNLISTEN", channel] => Statement::Unlisten(Some(quoted(channel))),
        ["DECLARE", name, "CURSOR", "WITH", "HOLD", "FOR", "SELECT", value] => {
            Statement::Declare { name: quoted(name), value: read_value(value)? }
        }
        ["FETCH", name] => Statement::Fetch(quoted(name)),
        ["CLOSE", "ALL"] => Statement::Close(None),
        ["CLOSE", name] => Statement::Close(Some(quoted(name))),
        ["COPY", "t", "FROM", "STDIN"] => Statement::CopyIn,
        ["COPY", "(SELECT", value, "FROM", "generate_series(1,", rows, "TO", "STDOUT"] => {
            let rows = rows.strip_suffix("))")?.parse().ok()?;
            Statement::CopyOut { value: read_value(value)?, rows }
        }
        ["PREPARE", name, "AS", ..] => {
            let text = text.split_once(" AS ")?.1.to_owned();
            Statement::Prepare { name: quoted(name), text }
        }
        ["EXECUTE", name] => Statement::Execute(quoted(name)),
        ["DEALLOCATE", "ALL"] => Statement::Deallocate(None),
        ["DEALLOCATE", name] => Statement::Deallocate(Some(quoted(name))),
        _ => return None,
    })
}

impl Statement {
    /// Whether it returns rows.
    pub(super) fn returns_rows(&self) -> bool {
        matches!(
            self,
            Self::Select { .. }
                | Self::Fail(_)
                | Self::SetConfig { .. }
                | Self::Show(_)
                | Self::Lock(_)
                | Self::Unlock(_)
                | Self::UnlockAll
                | Self::Fetch(_)
                | Self::Execute(_)
        )
    }

    pub(super) fn has_parameter(&self) -> bool {
        matches!(
            self,
            Self::Select { value: Value::Parameter, .. }
                | Self::Fail(Value::Parameter)
                | Self::Insert(Value::Parameter)
        )
    }

    /// Whether a standby refuses it.
    pub(super) fn writes(&self) -> bool {
        matches!(
            self,
            Self::Insert(_)
                | Self::CopyIn
                | Self::CreateTemp(_)
                | Self::Listen(_)
                | Self::Unlisten(_)
        )
    }
}
