//! What can be wrong with bytes from the network.

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The length field is below the four bytes it counts for itself, or above the limit.
    #[error("message {tag:?} has length {length}, outside 4 to {limit}")]
    Length {
        /// The type byte; `'\0'` in a startup packet, which has none.
        tag: char,
        /// What the length field says.
        length: u32,
        /// The largest length accepted.
        limit: u32,
    },
    /// A startup packet is shorter or longer than any known one.
    #[error("startup packet of {length} bytes, outside 8 to {limit}")]
    StartupLength {
        /// What the length field says.
        length: u32,
        /// The largest length accepted.
        limit: u32,
    },
    /// A message ended before a field that must be there.
    #[error("message {tag:?} ends inside its {field}")]
    Truncated {
        /// The type byte; `'\0'` in a startup packet.
        tag: char,
        /// The field that is cut short.
        field: &'static str,
    },
    /// A field holds a value the protocol does not know.
    #[error("message {tag:?} has an unknown {field}: {value}")]
    Unknown {
        /// The type byte; `'\0'` in a startup packet.
        tag: char,
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// A field that must be UTF-8 (names, parameters) is not.
    #[error("message {tag:?} has a {field} that is not UTF-8")]
    NotText {
        /// The type byte; `'\0'` in a startup packet.
        tag: char,
        /// The field.
        field: &'static str,
    },
    /// A reply that answers nothing that was asked.
    #[error("unexpected reply {tag:?} while expecting {expected}")]
    UnexpectedReply {
        /// The type byte of the reply.
        tag: char,
        /// What was to come.
        expected: &'static str,
    },
}
