//! What a session holds, asked without changing it.
//!
//! In: names of settings that may have been set, and what the node answers to [`script`]. Out:
//! [`Held`]: the settings to give to the next session of the same client, and what only this
//! session can go on holding.
//!
//! Settings without a dot in their names are in `pg_settings` and need not be known before. Those
//! with a dot, such as `app.tenant`, are in no view: [`dotted_names`] finds what a text may have
//! set.

use crate::reset::Leftovers;

/// Names taken from one text at most. More are seen by nobody but programs that try.
const MOST_NAMES: usize = 64;

/// What a session holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Held {
    /// Settings that differ from those at the login, or were set to the same. Of `statement_timeout`
    /// only the former is known.
    pub settings: Vec<(String, String)>,
    /// `statement_timeout`, in any case.
    pub statement_timeout: String,
    /// `SET ROLE`.
    pub role: Option<String>,
    /// `SET SESSION AUTHORIZATION`, or who has logged in.
    pub session_user: String,
    /// Statements made with PREPARE: their names, and the texts in which they were made.
    pub prepared: Vec<(String, String)>,
    /// What is there beside those. Counted as prepared: statements whose name or text is not
    /// ASCII, since the bytes mean something else under another `client_encoding`.
    pub leftovers: Leftovers,
}

/// The query. One round trip; outside of a transaction. Its rows have three columns of text.
///
/// `names` are of settings with a dot. The client's own `statement_timeout` does not end it.
pub fn script<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    // What is local ends with the transaction that the whole query is, and pg_settings shows it as
    // set: so what it was before is asked first, and what it would be by default at the end.
    let mut sql = String::from(
        "SELECT 'limit', '', pg_catalog.current_setting('statement_timeout'); \
         SET LOCAL statement_timeout = 0; \
         WITH known AS (SELECT * FROM pg_catalog.pg_settings) \
         SELECT CASE name WHEN 'statement_timeout' THEN 'default' ELSE 'setting' END, name, \
         CASE name WHEN 'statement_timeout' THEN reset_val ELSE setting END \
         FROM known \
         WHERE name = 'statement_timeout' OR source = 'session' AND name NOT IN \
         ('transaction_isolation', 'transaction_read_only', 'transaction_deferrable') \
         UNION ALL SELECT 'role', '', pg_catalog.current_setting('role') \
         UNION ALL SELECT 'user', '', session_user::pg_catalog.text \
         UNION ALL SELECT 'cursors', '', pg_catalog.count(*)::pg_catalog.text \
         FROM pg_catalog.pg_cursors WHERE is_holdable \
         UNION ALL SELECT 'channels', '', pg_catalog.count(*)::pg_catalog.text \
         FROM pg_catalog.pg_listening_channels() \
         UNION ALL SELECT 'locks', '', pg_catalog.count(*)::pg_catalog.text \
         FROM pg_catalog.pg_locks \
         WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() \
         UNION ALL SELECT 'temporary', '', pg_catalog.count(*)::pg_catalog.text \
         FROM pg_catalog.pg_depend \
         WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
         AND refobjid = pg_catalog.pg_my_temp_schema() \
         UNION ALL SELECT 'prepared', \
         pg_catalog.encode(pg_catalog.textsend(name), 'hex'), \
         pg_catalog.encode(pg_catalog.textsend(statement), 'hex') \
         FROM pg_catalog.pg_prepared_statements WHERE from_sql",
    );
    let mut lead = " UNION ALL SELECT 'setting', given.name, \
         pg_catalog.current_setting(given.name, true) FROM (VALUES ('";
    for name in names.into_iter().filter(|name| is_name(name)) {
        sql.push_str(lead);
        sql.push_str(name);
        lead = "'), ('";
    }
    if lead == "'), ('" {
        // A library's own are in the view, and nobody's unless they were set.
        sql.push_str(
            "')) AS given (name) WHERE NOT EXISTS (SELECT FROM known \
             WHERE pg_catalog.lower(known.name) = pg_catalog.lower(given.name))",
        );
    }
    sql
}

impl Held {
    /// Reads the rows that the script answers with. `None` if they are something else.
    pub fn read<'r>(rows: impl IntoIterator<Item = [Option<&'r str>; 3]>) -> Option<Self> {
        let mut held = Self::default();
        let (mut limit, mut default) = (None, None);
        for [kind, name, value] in rows {
            // A setting that is not there, or a role's that was set to nothing.
            let Some(value) = value else { continue };
            match kind? {
                "limit" => limit = Some(value),
                "default" => default = Some(value),
                "setting" => held.settings.push((name?.to_owned(), value.to_owned())),
                "role" => held.role = (value != "none").then(|| value.to_owned()),
                "user" => value.clone_into(&mut held.session_user),
                "cursors" => held.leftovers.cursors = value.parse().ok()?,
                "channels" => held.leftovers.channels = value.parse().ok()?,
                "locks" => held.leftovers.advisory_locks = value.parse().ok()?,
                "temporary" => held.leftovers.temporary = value != "0",
                "prepared" => match (ascii(&bytes(name?)?), ascii(&bytes(value)?)) {
                    (Some(name), Some(text)) => held.prepared.push((name, text)),
                    _ => held.leftovers.prepared += 1,
                },
                _ => return None,
            }
        }
        let (limit, default) = (limit?, default?);
        if milliseconds(limit)? != milliseconds(default)? {
            held.settings.push(("statement_timeout".to_owned(), limit.to_owned()));
        }
        limit.clone_into(&mut held.statement_timeout);
        Some(held)
    }
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => u8::try_from(digit(*high)? << 4 | digit(*low)?).ok(),
            _ => None,
        })
        .collect()
}

fn ascii(bytes: &[u8]) -> Option<String> {
    if bytes.is_ascii() { String::from_utf8(bytes.to_vec()).ok() } else { None }
}

/// A time as PostgreSQL shows it.
fn milliseconds(text: &str) -> Option<u64> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = match unit {
        "" | "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Names with a dot that are in a text, whatever they are there: settings among them. They need not
/// be UTF-8 around.
///
/// ```
/// use pgherd_core::held::dotted_names;
///
/// let sql = b"SELECT set_config('app.tenant', $1, false) FROM pg_temp.t";
/// let names: Vec<&str> = dotted_names(sql).collect();
/// assert_eq!(names, ["app.tenant", "pg_temp.t"]);
/// ```
pub fn dotted_names(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|byte| !is_part(*byte))
        .filter_map(|word| std::str::from_utf8(word).ok())
        .filter(|word| is_name(word))
        .take(MOST_NAMES)
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.')
}

fn is_name(word: &str) -> bool {
    let begins = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
    };
    // 63: a name that is longer is no name.
    word.len() <= 128
        && word.contains('.')
        && word.split('.').all(begins)
        && word.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = [Option<&'static str>; 3];

    const CLEAN: [Row; 8] = [
        [Some("limit"), Some(""), Some("30s")],
        [Some("default"), Some("statement_timeout"), Some("30000")],
        [Some("role"), Some(""), Some("none")],
        [Some("user"), Some(""), Some("app")],
        [Some("cursors"), Some(""), Some("0")],
        [Some("channels"), Some(""), Some("0")],
        [Some("locks"), Some(""), Some("0")],
        [Some("temporary"), Some(""), Some("0")],
    ];

    #[test]
    fn a_session_that_holds_nothing_is_read_as_such() {
        let held = Held::read(CLEAN).unwrap();
        let (session_user, statement_timeout) = ("app".to_owned(), "30s".to_owned());
        assert_eq!(held, Held { session_user, statement_timeout, ..Held::default() });
    }

    #[test]
    fn settings_the_role_and_the_rest_are_told_apart() {
        let mut rows = CLEAN.to_vec();
        rows[0][2] = Some("250ms");
        rows[2][2] = Some("clerk");
        rows[6][2] = Some("2");
        rows[7][2] = Some("5");
        rows.push([Some("setting"), Some("search_path"), Some("a, b")]);
        rows.push([Some("setting"), Some("no.such"), None]);
        let held = Held::read(rows).unwrap();
        let settings = [("search_path", "a, b"), ("statement_timeout", "250ms")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(held.settings, settings);
        assert_eq!(held.role.as_deref(), Some("clerk"));
        assert_eq!(held.leftovers.to_string(), "2 advisory locks, temporary relations");
    }

    #[test]
    fn statements_made_with_prepare_are_read_if_they_are_ascii() {
        let mut rows = CLEAN.to_vec();
        rows.push([
            Some("prepared"),
            Some("70"),
            Some("5052455041524520702041532053454c4543542031"),
        ]);
        rows.push([Some("prepared"), Some("e9"), Some("31")]);
        let held = Held::read(rows.clone()).unwrap();
        assert_eq!(held.prepared, [("p".to_owned(), "PREPARE p AS SELECT 1".to_owned())]);
        assert_eq!(held.leftovers.to_string(), "1 prepared statement");
        for broken in ["7", "7g", "é"] {
            rows[8][1] = Some(broken);
            assert_eq!(Held::read(rows.clone()), None, "{broken}");
        }
    }

    #[test]
    fn other_rows_are_no_answer() {
        assert_eq!(Held::read([]), None);
        assert_eq!(Held::read([[Some("1"), None, Some("x")]]), None);
    }

    #[test]
    fn only_names_get_into_the_script() {
        let sql = script(["app.tenant", "it's.not", "nor", "x.'; drop table t; --"]);
        assert!(sql.contains("'app.tenant'") && !sql.contains("it's") && !sql.contains("drop"));
    }

    #[test]
    fn names_are_found_wherever_they_stand() {
        for (text, expected) in [
            (&b"SET app.tenant = '1.5'"[..], &["app.tenant"][..]),
            (b"do $$ begin perform set_config('a.b.c', 'x', false); end $$", &["a.b.c"]),
            (b"\x00\x00\x00\x05app.x\x00\x00\x00\x01\xff", &["app.x"]),
            (b"select 1.5, '.x', 'y.', 2.e from t", &[]),
        ] {
            assert_eq!(dotted_names(text).collect::<Vec<_>>(), expected);
        }
    }
}
