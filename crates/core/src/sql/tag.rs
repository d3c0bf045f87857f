//! What the tag of a command that completed says of the session.

use super::Remains;

/// Commands that leave state, by the first word of their tags. SET is also the tag of SET LOCAL,
/// and DO and CALL may do anything: those are taken for the worst.
const RESETTABLE: [&[u8]; 9] = [
    b"SET",
    b"RESET",
    b"LISTEN",
    b"UNLISTEN",
    b"PREPARE",
    b"DEALLOCATE",
    b"DISCARD",
    b"DO",
    b"CALL",
];

/// What a command with this tag may have left in its session. What no tag shows,
/// [`suspicion`](super::suspicion) may see in the text.
///
/// ```
/// use pgherd_core::sql::{Remains, remains_of_tag};
///
/// assert_eq!(remains_of_tag(b"INSERT 0 1"), Remains::Nothing);
/// assert_eq!(remains_of_tag(b"SET"), Remains::Resettable);
/// ```
pub fn remains_of_tag(tag: &[u8]) -> Remains {
    match tag {
        // Most by far: SELECT, INSERT, UPDATE, DELETE, COPY and COMMIT, BEGIN.
        [b'S', b'E', b'L', ..] | [b'I' | b'B', ..] | [b'U', b'P', ..] => Remains::Nothing,
        [b'D', b'E', b'L', ..] | [b'C', b'O', ..] => Remains::Nothing,
        // The one ends a transaction, the other ends with it.
        b"PREPARE TRANSACTION" | b"SET CONSTRAINTS" => Remains::Nothing,
        // What was prepared for other users is gone too.
        b"LOAD" | b"DISCARD ALL" | b"DEALLOCATE ALL" => Remains::Lasting,
        _ => {
            let first_word = tag.split(|byte| *byte == b' ').next().unwrap_or(tag);
            match RESETTABLE.contains(&first_word) {
                true => Remains::Resettable,
                false => Remains::Nothing,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_whether_its_command_leaves_something() {
        for (tag, remains) in [
            ("SET", Remains::Resettable),
            ("RESET", Remains::Resettable),
            ("PREPARE", Remains::Resettable),
            ("DEALLOCATE", Remains::Resettable),
            ("DISCARD TEMP", Remains::Resettable),
            ("DO", Remains::Resettable),
            ("CALL", Remains::Resettable),
            ("LOAD", Remains::Lasting),
            ("DISCARD ALL", Remains::Lasting),
            ("DEALLOCATE ALL", Remains::Lasting),
            ("PREPARE TRANSACTION", Remains::Nothing),
            ("SET CONSTRAINTS", Remains::Nothing),
            ("UPDATE 3", Remains::Nothing),
            ("SELECT 1", Remains::Nothing),
            ("", Remains::Nothing),
        ] {
            assert_eq!(remains_of_tag(tag.as_bytes()), remains, "{tag}");
        }
    }
}
