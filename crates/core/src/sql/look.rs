//! A cheap first look at a text: may it leave state in the session, or be a COPY?

use std::sync::LazyLock;

use aho_corasick::automaton::{Automaton, OverlappingState, StateID};
use aho_corasick::dfa::DFA;
use aho_corasick::{Anchored, Input, Match, MatchKind};

/// Where a word has to stand to count.
#[derive(Clone, Copy)]
enum Place {
    Anywhere,
    AsWord,
    /// The first word of a statement.
    First,
}

/// What a word says of the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// It may leave state that no command tag shows.
    Leaves,
    /// The same, and the parser cannot tell.
    Hides,
    /// It may leave nothing although a command tag looks like it.
    Excuses,
}

use Hint::{Excuses, Hides, Leaves};
use Place::{Anywhere, AsWord, First};

/// Words without which no statement leaves state that its command tag does not show. (SET,
/// RESET, LISTEN, PREPARE, LOAD and DISCARD have tags of their own. So have DO and CALL, but not
/// when they fail, and the locks they took stay.)
const WORDS: [(&str, Place, Hint); 16] = [
    ("set_config", Anywhere, Leaves),
    ("pg_settings", Anywhere, Leaves), // an UPDATE of this view is a SET
    ("advisory", Anywhere, Leaves),    // pg_advisory_lock and its kin
    ("temp", AsWord, Leaves),
    ("temporary", AsWord, Leaves),
    ("pg_temp", Anywhere, Hides), // in a search_path it makes what is created next temporary
    ("hold", AsWord, Leaves),     // DECLARE ... WITH HOLD
    ("do", First, Leaves),
    ("call", First, Leaves),
    ("replication_slot", Anywhere, Leaves), // may be made temporary by an argument
    ("origin_session", Anywhere, Leaves),   // pg_replication_origin_session_setup
    ("backup", Anywhere, Leaves),           // pg_backup_start, before 15 pg_start_backup
    ("dblink", Anywhere, Leaves),           // named connections
    ("u&\"", Anywhere, Hides),              // an identifier spelt in escapes may be any of these
    ("set local", AsWord, Excuses),
    ("set transaction", AsWord, Excuses),
];

static PREFILTER: LazyLock<Prefilter> = LazyLock::new(|| {
    let words = DFA::builder()
        .ascii_case_insensitive(true)
        .match_kind(MatchKind::Standard)
        .prefilter(false)
        .build(WORDS.map(|(word, ..)| word))
        .expect("a dozen short words make a small automaton");
    let start = words.start_state(Anchored::No).expect("it is built for unanchored searches");
    Prefilter { words, start }
});

struct Prefilter {
    words: DFA,
    start: StateID,
}

impl Prefilter {
    /// Whether any of the words is there, which nearly always none is.
    fn is_match(&self, sql: &[u8]) -> bool {
        let mut state = self.start;
        sql.iter().any(|byte| {
            state = self.words.next_state(Anchored::No, state, *byte);
            self.words.is_special(state) && self.words.is_match(state)
        })
    }

    /// Where each of them is.
    fn find(&self, sql: &[u8]) -> Vec<Match> {
        let mut state = OverlappingState::start();
        let input = Input::new(sql);
        std::iter::from_fn(|| {
            let searched = self.words.try_find_overlapping(&input, &mut state);
            searched.expect("it is built for unanchored, overlapping searches");
            state.get_match()
        })
        .collect()
    }
}

/// What a first look at a text says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// It may leave state in the session that no command tag shows; the parser can tell.
    pub leaves: bool,
    /// So it may, and the parser cannot tell.
    pub hides: bool,
    /// It may leave nothing although a command tag looks like it; the parser can tell.
    pub excuses: bool,
}

impl Look {
    /// Whether its command tags say all that can be known.
    pub fn is_plain(self) -> bool {
        self == Self::default()
    }
}

/// Whether a text may leave state in the session in ways that the tag of CommandComplete does
/// not show.
///
/// Looks at bytes without regard to case or syntax, so a word in a literal is suspicious too.
/// What happens inside the bodies of functions is not seen.
///
/// ```
/// use pgherd_core::sql::suspicion;
///
/// assert!(suspicion(b"CREATE TEMP TABLE t ()"));
/// assert!(!suspicion(b"SELECT my_function_that_does_the_same()"));
/// ```
pub fn suspicion(sql: &[u8]) -> bool {
    hints(sql).any(|hint| hint != Excuses)
}

/// The same, and what the parser may tell of it.
pub fn look(sql: &[u8]) -> Look {
    let mut look = Look::default();
    for hint in hints(sql) {
        match hint {
            Leaves => look.leaves = true,
            Hides => look.hides = true,
            Excuses => look.excuses = true,
        }
    }
    look
}

/// Whether a text may be a COPY: the word is in it, in a literal perhaps.
///
/// ```
/// use pgherd_core::sql::may_copy;
///
/// assert!(may_copy(b"/* nightly */ copy t FROM STDIN"));
/// assert!(!may_copy(b"SELECT copy_of FROM t"));
/// ```
pub fn may_copy(sql: &[u8]) -> bool {
    const WORD: &[u8] = b"copy";
    memchr::memchr2_iter(b'c', b'C', sql).any(|at| {
        let end = at + WORD.len();
        sql.get(at..end).is_some_and(|found| found.eq_ignore_ascii_case(WORD))
            && is_word(sql, at, end)
    })
}

fn hints(sql: &[u8]) -> impl Iterator<Item = Hint> {
    // Nearly always there is nothing, and to find that out is cheaper than to look for each.
    let found = PREFILTER.is_match(sql).then(|| PREFILTER.find(sql));
    found.into_iter().flatten().filter_map(|found| {
        let (_, place, hint) = WORDS[found.pattern().as_usize()];
        let is_there = match place {
            Anywhere => true,
            AsWord => is_word(sql, found.start(), found.end()),
            First => is_word(sql, found.start(), found.end()) && begins(&sql[..found.start()]),
        };
        is_there.then_some(hint)
    })
}

fn is_word(sql: &[u8], start: usize, end: usize) -> bool {
    let is_part_of_word = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
    };
    let before = start.checked_sub(1).and_then(|at| sql.get(at));
    !is_part_of_word(before) && !is_part_of_word(sql.get(end))
}

/// Whether a statement may begin after this: at the beginning, after another one, or after a
/// comment.
fn begins(before: &[u8]) -> bool {
    let text = before.trim_ascii_end();
    match text.last() {
        None | Some(b';' | b'/') => true,
        Some(_) => {
            let has_line_end = before[text.len()..].contains(&b'\n');
            let line = text.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
            has_line_end && line.windows(2).any(|pair| pair == b"--")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_hidden_state_is_suspicious() {
        for sql in [
            "select set_config('a.b', '1', false)",
            "UPDATE pg_settings SET setting = '3MB' WHERE name = 'work_mem'",
            "SELECT Pg_Try_Advisory_Lock(1)",
            "create TEMP table t()",
            "CREATE TEMPORARY VIEW v AS SELECT 1",
            "select 1 into temp x",
            "create table pg_temp.t()",
            "declare c cursor with hold for select 1",
            "select U&\"\\0073et_config\"('a.b', '1', false)",
            "select 1 as x/**/into/**/temp/**/x",
            "do $$ begin end $$",
            "\n CALL p()",
            "begin; call p()",
            "/* app */ Do 'begin end'",
            "-- why\ncall p()",
        ] {
            assert!(suspicion(sql.as_bytes()), "{sql}");
            assert!(!look(sql.as_bytes()).is_plain(), "{sql}");
        }
    }

    #[test]
    fn ordinary_statements_are_not() {
        for sql in [
            "",
            "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 2;",
            "select temperature, attempts from template where threshold > 1",
            "insert into holders values (1)",
            "insert into t values (1) on conflict (a) do nothing",
            "insert into t values (1) on conflict (a)\n  do update set b = 1",
            "select done from todo where domain = 'call'",
            "start transaction isolation level serializable",
        ] {
            assert!(!suspicion(sql.as_bytes()), "{sql}");
            assert!(look(sql.as_bytes()).is_plain(), "{sql}");
        }
    }

    #[test]
    fn what_the_parser_may_tell_more_of_is_seen() {
        let none = Look::default();
        let excuses = Look { excuses: true, ..none };
        for (sql, seen) in [
            ("SET LOCAL work_mem = '1MB'", excuses),
            ("begin; set local role x", excuses),
            ("SET TRANSACTION READ ONLY", excuses),
            ("select set_config('a.b', $1, true)", Look { leaves: true, ..none }),
            ("SET LOCAL search_path = pg_temp", Look { hides: true, ..excuses }),
            ("select U&\"f\"()", Look { hides: true, ..none }),
        ] {
            assert_eq!(look(sql.as_bytes()), seen, "{sql}");
        }
        assert!(!suspicion(b"SET LOCAL work_mem = '1MB'"), "its tag says enough");
    }

    #[test]
    fn a_copy_is_found_by_its_word() {
        for sql in ["COPY t FROM STDIN", "/* x */copy(select 1)to stdout", "select 'a copy'"] {
            assert!(may_copy(sql.as_bytes()), "{sql}");
        }
        for sql in ["", "select copy_number from t", "select * from photocopy", "cop", "copyé"] {
            assert!(!may_copy(sql.as_bytes()), "{sql}");
        }
    }
}
