//! Backends: opened, watched on the wire, closed.
//!
//! In: an address and a login. Out: a [`Backend`] that always knows where it stands.
//!
//! tokio-postgres does not tell whether a transaction is open, what a command's tag was, or
//! whether a statement has left. A [`Tap`] on the byte stream does. Nor does it know of poolers
//! that give each transaction another backend, and it miscounts the answers of a copy that fails: so
//! the stream is changed on its way ([`exchange`]). Who may use a backend, and how many there are, is
//! not here.

mod backend;
mod batches;
mod caches;
mod cutter;
mod dial;
mod error;
mod exchange;
mod heard;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod line;
mod lines;
mod lingering;
mod password;
mod prepared;
mod reach;
mod reset;
mod scan;
mod socket;
mod suspicion;
mod tap;
mod tls;
mod transport;
mod turn;
mod unnamed;
mod watch;

pub(crate) use backend::{Backend, Ready, Standing, is_stale};
pub(crate) use dial::{Dialer, Login};
pub use error::{ConnectError, ConnectStep};
pub(crate) use line::Drive;
pub(crate) use lines::Lines;
pub(crate) use password::Password;
pub use password::{PasswordError, with_passwords};
pub(crate) use reach::Reach;
pub(crate) use suspicion::{Classes, LeftState};
pub(crate) use tls::Tls;
pub use tls::{
    Distrust, TlsError, common_name, end_point, expires_at, for_clients, for_node, handshake_error,
};
