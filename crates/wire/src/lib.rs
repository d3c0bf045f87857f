//! The PostgreSQL frontend/backend protocol, versions 3.0 and 3.2, on bytes.
//!
//! In: bytes that were read. Out: what they mean, and bytes to write.
//!
//! Knows no sockets, settings, clocks or randomness: nonces and salts are arguments. Nothing
//! here panics on bytes from the network; each parser returns an error that names what was
//! wrong.
//!
//! Source of every format: PostgreSQL manual, "Message Formats" and "Message Flow".

pub mod backend;
mod cancel_key;
pub mod error;
pub mod frame;
pub mod frontend;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod md5;
pub mod replies;
pub mod scram;
pub mod sqlstate;
pub mod startup;
pub mod tx_status;

pub use cancel_key::CancelKey;
pub use error::WireError;
pub use frame::{Frame, HEADER};
pub use tx_status::TxStatus;
