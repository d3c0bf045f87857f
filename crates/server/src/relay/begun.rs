//! What a client has begun that only a Sync, still to come, will end.

use pgherd_wire::frontend::{BIND, CLOSE, DESCRIBE, EXECUTE, FLUSH, PARSE};

/// What was sent since the last Query or Sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Begun {
    /// Nothing that begins a transaction.
    #[default]
    Nothing,
    /// Statements were prepared, described or closed, all under names: they are the client's own on any
    /// backend, so the transaction holds nothing that it could miss.
    Naming {
        /// A Flush is the last that was sent.
        is_flushed: bool,
    },
    /// Anything else.
    Running,
}

impl Begun {
    /// A message is being sent. `body` is `None` until it is whole.
    pub fn sent(&mut self, tag: u8, body: Option<&[u8]>) {
        let names = match (tag, body) {
            (FLUSH, _) => {
                if let Self::Naming { is_flushed } = self {
                    *is_flushed = true;
                }
                return;
            }
            (BIND | EXECUTE, _) => false,
            (PARSE | DESCRIBE | CLOSE, None) => true,
            (PARSE, Some(body)) => matches!(body, [first, ..] if *first != 0),
            (DESCRIBE | CLOSE, Some(body)) => matches!(body, [b'S', first, ..] if *first != 0),
            _ => return,
        };
        *self = match names && *self != Self::Running {
            true => Self::Naming { is_flushed: false },
            false => Self::Running,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Message = (u8, &'static [u8]);

    #[test]
    fn only_statements_under_names_may_be_left_to_themselves() {
        let parse: Message = (PARSE, b"s\0select 1\0\0\0");
        let describe: Message = (DESCRIBE, b"Ss\0");
        let flushed = |messages: &[Message]| {
            let mut begun = Begun::default();
            messages.iter().for_each(|(tag, body)| begun.sent(*tag, Some(body)));
            begun.sent(FLUSH, Some(b""));
            begun == Begun::Naming { is_flushed: true }
        };

        assert!(flushed(&[parse, describe, (CLOSE, b"Ss\0")]));
        assert!(!flushed(&[]), "nothing was begun");
        assert!(!flushed(&[(PARSE, b"\0select 1\0\0\0")]), "the unnamed one");
        assert!(!flushed(&[parse, (DESCRIBE, b"S\0")]), "the unnamed one");
        assert!(!flushed(&[parse, (DESCRIBE, b"Pp\0")]), "a portal");
        assert!(!flushed(&[parse, (BIND, b"\0s\0"), describe]), "it runs");
    }

    #[test]
    fn what_follows_a_flush_is_not_flushed() {
        let mut begun = Begun::default();
        begun.sent(PARSE, None);
        begun.sent(FLUSH, Some(b""));
        begun.sent(DESCRIBE, None);
        assert_eq!(begun, Begun::Naming { is_flushed: false });
    }
}
