//! A cheap first look at a text: may it leave state in the session, or be a COPY?

use std::sync::LazyLock;

use aho_corasick::automaton::{Automaton, OverlappingState};
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

static PREFILTER: LazyLock<Prefilter> = LazyLock::new(Prefilter::new);

/// Kinds of bytes: one for each that is in a word, whatever its case, and one for all others.
const CLASSES: usize = 32;

/// What follows once a word was found.
const FOUND: u8 = 255;

/// The words as an automaton, and as a table that a byte costs few instructions with: every text
/// is looked at.
struct Prefilter {
    words: DFA,
    class: [u8; 256],
    // By state and class. The state of a beginning is 0.
    next: Box<[u8; 256 * CLASSES]>,
}

impl Prefilter {
    fn new() -> Self {
        let words = DFA::builder()
            .ascii_case_insensitive(true)
            .match_kind(MatchKind::Standard)
            .prefilter(false)
            .build(WORDS.map(|(word, ..)| word))
            .expect("a dozen short words make a small automaton");
        let mut class = [0; 256];
        let mut letters = Vec::new();
        for byte in WORDS.iter().flat_map(|(word, ..)| word.bytes()) {
            if class[usize::from(byte)] == 0 {
                letters.push(byte);
                let number = u8::try_from(letters.len()).expect("there are not so many bytes");
                class[usize::from(byte)] = number;
                class[usize::from(byte.to_ascii_uppercase())] = number;
            }
        }
        assert!(letters.len() < CLASSES, "a byte has no class: more are needed");

        let start = words.start_state(Anchored::No).expect("it is built for unanchored searches");
        let mut states = vec![start];
        let mut next = Box::new([0; 256 * CLASSES]);
        let mut at = 0;
        while let Some(state) = states.get(at).copied() {
            // Of those that are in no word any will do.
            for (class, byte) in std::iter::once(b'\0').chain(letters.iter().copied()).enumerate() {
                let to = words.next_state(Anchored::No, state, byte);
                next[at * CLASSES + class] = if words.is_match(to) {
                    FOUND
                } else {
                    let known = states.iter().position(|state| *state == to);
                    let number = known.unwrap_or_else(|| {
                        states.push(to);
                        states.len() - 1
                    });
                    u8::try_from(number).expect("the words are few and short")
                };
            }
            at += 1;
        }
        assert!(
            states.len() <= usize::from(FOUND),
            "a state has no number: the words are too many"
        );
        Self { words, class, next }
    }

    /// Whether any of the words is there, which nearly always none is.
    fn is_match(&self, sql: &[u8]) -> bool {
        let mut state = 0;
        sql.iter().any(|byte| {
            let class = usize::from(self.class[usize::from(*byte)]) % CLASSES;
            state = self.next[usize::from(state) * CLASSES + class];
            state == FOUND
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
    let Look { leaves, hides, .. } = look(sql);
    leaves || hides
}

/// The same, and what the parser may tell of it.
pub fn look(sql: &[u8]) -> Look {
    // Nearly always there is nothing, and to find that out is cheaper than to look for each.
    if PREFILTER.is_match(sql) { look_closer(sql) } else { Look::default() }
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

#[cold]
fn look_closer(sql: &[u8]) -> Look {
    let mut look = Look::default();
    for found in PREFILTER.find(sql) {
        let (_, place, hint) = WORDS[found.pattern().as_usize()];
        let is_there = match place {
            Anywhere => true,
            AsWord => is_word(sql, found.start(), found.end()),
            First => is_word(sql, found.start(), found.end()) && begins(&sql[..found.start()]),
        };
        match hint {
            _ if !is_there => {}
            Leaves => look.leaves = true,
            Hides => look.hides = true,
            Excuses => look.excuses = true,
        }
    }
    look
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
    use proptest::prelude::*;
    use proptest::sample::select;

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

    proptest! {
        #[test]
        fn the_table_finds_what_the_automaton_does(
            before in ".{0,3}",
            word in select(WORDS.map(|(word, ..)| word).to_vec()),
            cut in 0usize..20,
            after in "[a-zA-Z_ &\"\u{e9}]{0,12}",
        ) {
            let word = &word[..word.len().min(cut)];
            for word in [word.to_owned(), word.to_uppercase()] {
                let text = format!("{before}{word}{after}").into_bytes();
                prop_assert_eq!(PREFILTER.is_match(&text), !PREFILTER.find(&text).is_empty());
            }
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
