//! What a driver is asked to do, and what is right.

use std::fmt;

use serde_json::{Value, json};

/// A column of the table.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) title: &'static str,
    /// The line of a program that tells of it, and which part of what the line says.
    line: &'static str,
    part: Option<&'static str>,
    /// What it shows, in the document.
    pub(crate) about: &'static str,
    expected: fn() -> Value,
}

/// What became of one operation with one driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Works,
    /// It works, but for what the driver itself does otherwise.
    WorksBut(String),
    /// The driver has no such operation: why not.
    None(String),
    Fails(String),
}

impl Outcome {
    pub(crate) fn is_success(&self) -> bool {
        matches!(self, Self::Works | Self::WorksBut(_))
    }

    /// What the reader of the table has to know of it.
    pub(crate) fn note(&self) -> Option<&str> {
        match self {
            Self::WorksBut(note) | Self::None(note) => Some(note),
            Self::Works | Self::Fails(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Works => out.write_str("yes"),
            Self::WorksBut(how) => write!(out, "yes, but: {how}"),
            Self::None(why) => write!(out, "–: {why}"),
            Self::Fails(how) => write!(out, "FAILED: {how}"),
        }
    }
}

/// The transactions of all connections together: 20 of 50 each.
pub(crate) const TRANSACTIONS: usize = 1000;

pub(crate) const OPERATIONS: [Operation; 15] = [
    Operation {
        title: "login",
        line: "login",
        part: None,
        about: "SCRAM-SHA-256 inside TLS, which the proxy requires; the driver checks the proxy's certificate",
        expected: || json!("app"),
    },
    Operation {
        title: "prepared",
        line: "prepared",
        part: Some("/0"),
        about: "20 connections are open at once and share 5 backends; each prepares its statements once and \
                runs them in 50 transactions, whose every answer and row is right; the proxy counts both",
        expected: || json!(TRANSACTIONS),
    },
    Operation {
        title: "SET",
        line: "prepared",
        part: Some("/1"),
        about: "each of those 20 has set another `lock_timeout` before, and has it still afterwards",
        expected: || json!(20),
    },
    Operation {
        title: "COPY",
        line: "copy",
        part: None,
        about: "1000 rows in, the same 1000 out",
        expected: || json!(true),
    },
    Operation {
        title: "errors",
        line: "errors",
        part: None,
        about: "SQLSTATEs 23505, 22012, 42P01, then 25P02 in the failed transaction; after ROLLBACK the \
                connection is well",
        expected: || json!(["23505", "22012", "42P01", "25P02", 1]),
    },
    Operation {
        title: "cancel",
        line: "cancel",
        part: None,
        about: "a sleeping statement is cancelled (57014), and its connection goes on",
        expected: || json!(["57014", 1]),
    },
    Operation {
        title: "notices",
        line: "notices",
        part: None,
        about: "`RAISE NOTICE` reaches the program",
        expected: || json!(["seen"]),
    },
    Operation {
        title: "pipeline",
        line: "pipeline",
        part: None,
        about: "100 statements are sent before the first answer is read",
        expected: || json!(4950),
    },
    Operation {
        title: "in parts",
        line: "parts",
        part: None,
        about: "10,000 rows by a cursor or a portal, a hundred at a time, or as they come",
        expected: || json!(10_000),
    },
    Operation {
        title: "LISTEN",
        line: "listen",
        part: None,
        about: "one connection hears what another notifies",
        expected: || json!(["heard"]),
    },
    Operation {
        title: "arrays",
        line: "types",
        part: Some("/array"),
        about: "of `int` and `text`, with NULL, quotes, commas and an empty string",
        expected: || json!([[1, null, 3], ["a", "b,c", "\"q\\", "", null, "ü"]]),
    },
    Operation {
        title: "json",
        line: "types",
        part: Some("/json"),
        about: "`jsonb`, as the language's own objects where the driver has that",
        expected: || json!({"a": [1, 2, {"b": null}], "s": "ü\"\\"}),
    },
    Operation {
        title: "bytea",
        line: "types",
        part: Some("/bytea"),
        about: "with a zero byte, a quote, a backslash and a byte that is no UTF-8",
        expected: || json!("00ff275c0a"),
    },
    Operation {
        title: "numeric",
        line: "types",
        part: Some("/numeric"),
        about: "20 digits, with the zeros at the end",
        expected: || json!("12345678901.000123400"),
    },
    Operation {
        title: "timestamptz",
        line: "types",
        part: Some("/timestamptz"),
        about: "to the millisecond, as a time with a zone",
        expected: || json!(1_770_091_506_789_i64),
    },
];

impl Operation {
    /// Judges it by the lines that a program has printed.
    pub(crate) fn judge(&self, lines: &[Value]) -> Outcome {
        let Some(line) = lines.iter().find(|line| line["op"] == self.line) else {
            return Outcome::Fails("its program ended before it".to_owned());
        };
        if let Some(why) = line["none"].as_str() {
            return Outcome::None(why.to_owned());
        }
        if let Some(how) = line["failed"].as_str() {
            return Outcome::Fails(how.to_owned());
        }
        let got = self.part.map_or(Some(&line["got"]), |part| line["got"].pointer(part));
        let expected = (self.expected)();
        match got {
            Some(got) if *got == expected => {
                match line["but"][self.part.unwrap_or_default()].as_str() {
                    Some(how) => Outcome::WorksBut(how.to_owned()),
                    None => Outcome::Works,
                }
            }
            got => Outcome::Fails(format!(
                "{} instead of {expected}",
                got.map_or_else(|| line.to_string(), Value::to_string)
            )),
        }
    }

    /// The operation of this title.
    pub(crate) fn position(title: &str) -> usize {
        OPERATIONS
            .iter()
            .position(|operation| operation.title == title)
            .expect("titles are those of the list")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_missing_or_said_to_have_failed_has_failed() {
        let errors = &OPERATIONS[Operation::position("errors")];
        let judge = |line: Value| errors.judge(&[json!({"op": "copy", "got": true}), line]);
        let got = |got: Value| judge(json!({"op": "errors", "got": got}));

        assert_eq!(got(json!(["23505", "22012", "42P01", "25P02", 1])), Outcome::Works);
        assert!(matches!(got(json!(["23505", "22012", "42P01", 1])), Outcome::Fails(_)));
        assert!(matches!(got(Value::Null), Outcome::Fails(_)));
        assert!(matches!(judge(json!({"op": "errors", "failed": "how"})), Outcome::Fails(_)));
        assert!(matches!(judge(json!({"op": "types"})), Outcome::Fails(_)));
        let none = judge(json!({"op": "errors", "none": "why"}));
        assert_eq!(none, Outcome::None("why".to_owned()));
    }

    #[test]
    fn what_a_driver_does_otherwise_is_told_of_the_part_that_it_is_about() {
        let line = json!({"op": "prepared", "got": [TRANSACTIONS, 20], "but": {"/1": "how"}});
        let judge =
            |title| OPERATIONS[Operation::position(title)].judge(std::slice::from_ref(&line));

        assert_eq!(judge("prepared"), Outcome::Works);
        assert_eq!(judge("SET"), Outcome::WorksBut("how".to_owned()));
    }

    #[test]
    fn a_part_of_what_was_got_is_judged_by_itself() {
        let line = json!({"op": "prepared", "got": [TRANSACTIONS, 19]});
        let judge =
            |title| OPERATIONS[Operation::position(title)].judge(std::slice::from_ref(&line));

        assert_eq!(judge("prepared"), Outcome::Works);
        assert!(matches!(judge("SET"), Outcome::Fails(_)));
    }
}
