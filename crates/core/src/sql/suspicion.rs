//! A cheap first look at a text: may it leave state in the session?

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

/// Where a word has to stand to count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Anywhere,
    AsWord,
}

use Place::{Anywhere, AsWord};

/// Words without which no statement leaves state that its command tag does not show. (SET,
/// RESET, LISTEN, PREPARE, LOAD, DISCARD, DO and DECLARE CURSOR have tags of their own.)
const WORDS: [(&str, Place); 12] = [
    ("set_config", Anywhere),
    ("pg_settings", Anywhere), // an UPDATE of this view is a SET
    ("advisory", Anywhere),    // pg_advisory_lock and its kin
    ("temp", AsWord),
    ("temporary", AsWord),
    ("pg_temp", Anywhere),
    ("hold", AsWord),               // DECLARE ... WITH HOLD
    ("replication_slot", Anywhere), // may be made temporary by an argument
    ("origin_session", Anywhere),   // pg_replication_origin_session_setup
    ("backup", Anywhere),           // pg_backup_start, before 15 pg_start_backup
    ("dblink", Anywhere),           // named connections
    ("u&\"", Anywhere),             // an identifier spelt in escapes may be any of these
];

static PREFILTER: LazyLock<AhoCorasick> = LazyLock::new(|| {
    AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .match_kind(MatchKind::Standard)
        .build(WORDS.map(|(word, _)| word))
        .expect("a dozen short words make a small automaton")
});

/// Whether a text may leave state in the session in ways that the tag of CommandComplete does
/// not show: then release asks the backend what it holds.
///
/// Looks at bytes without regard to case or syntax, so a word in a literal is suspicious too.
/// What happens inside the bodies of functions is not seen.
pub fn suspicion(sql: &[u8]) -> bool {
    let is_part_of_word = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
    };
    PREFILTER.find_overlapping_iter(sql).any(|found| match WORDS[found.pattern().as_usize()].1 {
        Anywhere => true,
        AsWord => {
            let before = found.start().checked_sub(1).and_then(|at| sql.get(at));
            !is_part_of_word(before) && !is_part_of_word(sql.get(found.end()))
        }
    })
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
        ] {
            assert!(suspicion(sql.as_bytes()), "{sql}");
        }
    }

    #[test]
    fn ordinary_statements_are_not() {
        for sql in [
            "",
            "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = 2;",
            "select temperature, attempts from template where threshold > 1",
            "insert into holders values (1)",
        ] {
            assert!(!suspicion(sql.as_bytes()), "{sql}");
        }
    }
}
