//! Makes a session again what it was when it was opened.
//!
//! In: what the node answers to [`SCRIPT`]. Out: what was found, what is left to do, and whether
//! that is enough.
//!
//! The same as DISCARD ALL, but for what was prepared over the protocol, which stays: that is the
//! pool's own. Settings are reset without a question: a setting with a dot in its name, such as
//! `app.tenant`, is in no view (seen on 15 and 18). What a loaded library, a language's own
//! variables or `currval()` remember, nothing resets.

use std::fmt;

use serde::Serialize;

/// Resets a session, and tells what it held. One query, so that it is one round trip and either
/// done in whole or not at all; outside of a transaction.
///
/// The settings come first: what is asked then means what it means at the login, whatever
/// `search_path` was. RESET ROLE goes back to a role that ALTER ROLE gives at the login.
pub const SCRIPT: &str = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; \
     SELECT (SELECT pg_catalog.count(*) FROM pg_catalog.pg_cursors WHERE is_holdable), \
     (SELECT pg_catalog.count(*) FROM pg_catalog.pg_listening_channels()), \
     (SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks \
     WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()), \
     EXISTS (SELECT FROM pg_catalog.pg_depend \
     WHERE refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass \
     AND refobjid = pg_catalog.pg_my_temp_schema()), \
     (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements WHERE from_sql), \
     (SELECT pg_catalog.string_agg('DEALLOCATE ' || pg_catalog.quote_ident(name), '; ') \
     FROM pg_catalog.pg_prepared_statements WHERE from_sql), \
     (SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements WHERE NOT from_sql), \
     EXISTS (SELECT FROM pg_catalog.pg_event_trigger \
     WHERE evtevent = 'login' AND evtenabled <> 'D'); \
     CLOSE ALL; UNLISTEN *; SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP";

/// What a session held that its next user would have found, beside settings.
///
/// ```
/// use pgherd_core::reset::Leftovers;
///
/// let found = Leftovers::default();
/// assert!(found.is_empty());
/// assert_eq!(found.to_string(), "nothing");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Leftovers {
    /// Cursors WITH HOLD.
    pub cursors: u64,
    /// Channels listened to.
    pub channels: u64,
    /// Advisory locks of the session.
    pub advisory_locks: u64,
    /// Statements prepared with PREPARE.
    pub prepared: u64,
    /// Whether there was a temporary table, function or the like.
    pub temporary: bool,
}

/// The answer to [`SCRIPT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What was found.
    pub leftovers: Leftovers,
    /// A script that ends the statements prepared with PREPARE, if there are any.
    pub deallocate: Option<String>,
    /// Statements that are prepared over the protocol.
    kept: u64,
    has_login_trigger: bool,
}

impl Answer {
    /// Reads the first row that the script answers with; `column` gives the text of one column.
    /// `None` if it is not such a row.
    pub fn read<'r>(column: impl Fn(usize) -> Option<&'r str>) -> Option<Self> {
        let number = |at| column(at)?.parse().ok();
        let truth = |at| column(at).map(|text| text == "t");
        Some(Self {
            leftovers: Leftovers {
                cursors: number(0)?,
                channels: number(1)?,
                advisory_locks: number(2)?,
                temporary: truth(3)?,
                prepared: number(4)?,
            },
            deallocate: column(5).map(str::to_owned),
            kept: number(6)?,
            has_login_trigger: truth(7)?,
        })
    }

    /// Whether the session is now what it was at its login, once [`Self::deallocate`] has run:
    /// it still has the `kept` statements that the pool relies on, and no trigger has set
    /// anything at the login that is gone now.
    pub fn is_reset(&self, kept: u64) -> bool {
        self.kept >= kept && !self.has_login_trigger
    }
}

impl Leftovers {
    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [
            (self.cursors, "cursor WITH HOLD", "cursors WITH HOLD"),
            (self.channels, "channel listened to", "channels listened to"),
            (self.advisory_locks, "advisory lock", "advisory locks"),
            (self.prepared, "prepared statement", "prepared statements"),
        ];
        let counted = counted.into_iter().filter_map(|(count, one, many)| match count {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        });
        let temporary = self.temporary.then(|| "temporary relations".to_owned());
        let all: Vec<_> = counted.chain(temporary).collect();
        f.pad(&if all.is_empty() { "nothing".to_owned() } else { all.join(", ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Row = [Option<&'static str>; 8];

    const CLEAN: Row =
        [Some("0"), Some("0"), Some("0"), Some("f"), Some("0"), None, Some("3"), Some("f")];

    fn read(row: Row) -> Option<Answer> {
        Answer::read(|at| row.get(at).copied().flatten())
    }

    #[test]
    fn a_session_without_leftovers_is_reset_at_once() {
        let answer = read(CLEAN).unwrap();
        assert!(answer.leftovers.is_empty() && answer.deallocate.is_none());
        assert_eq!(answer.leftovers.to_string(), "nothing");
        assert!(answer.is_reset(3));
        assert!(!answer.is_reset(4), "somebody has deallocated what the pool had prepared");
    }

    #[test]
    fn what_is_found_is_told() {
        let mut row = CLEAN;
        row[..6].copy_from_slice(&[
            Some("1"),
            Some("2"),
            Some("3"),
            Some("t"),
            Some("1"),
            Some("DEALLOCATE \"My p\""),
        ]);
        let answer = read(row).unwrap();
        assert_eq!(answer.deallocate.as_deref(), Some("DEALLOCATE \"My p\""));
        assert_eq!(
            answer.leftovers.to_string(),
            "1 cursor WITH HOLD, 2 channels listened to, 3 advisory locks, 1 prepared statement, \
             temporary relations"
        );
    }

    #[test]
    fn where_a_trigger_acts_at_the_login_a_session_cannot_be_reset() {
        let mut row = CLEAN;
        row[7] = Some("t");
        assert!(!read(row).unwrap().is_reset(0));
    }

    #[test]
    fn another_row_is_no_answer() {
        assert_eq!(read([None; 8]), None);
        let mut row = CLEAN;
        row[2] = Some("many");
        assert_eq!(read(row), None);
    }
}
