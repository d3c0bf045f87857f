//! What a host stands for: where a connection really goes.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Host;

/// Where a connection goes.
///
/// ```
/// use std::sync::Arc;
///
/// use pgherd_core::hosts::{Address, Host};
///
/// let folder = Arc::new(Host { name: "/run/postgresql".to_owned(), port: 5432 });
/// let address = Address::of_socket(&folder).unwrap();
/// assert_eq!(address.to_string(), "/run/postgresql/.s.PGSQL.5432");
/// assert!(address.is_unix() && address.ip().is_none() && address.port() == 5432);
/// // Any other host has to be looked up.
/// let named = Arc::new(Host { name: "db.example.com".to_owned(), port: 5432 });
/// assert_eq!(Address::of_socket(&named), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// An address and a port.
    Tcp(SocketAddr),
    /// The Unix socket of a folder, or of an abstract name: no TLS is spoken there, as with libpq.
    Unix(Arc<Host>),
}

impl Address {
    /// The address of a host that is a Unix socket; `None` where the host has to be looked up.
    pub fn of_socket(host: &Arc<Host>) -> Option<Self> {
        host.is_socket().then(|| Self::Unix(Arc::clone(host)))
    }

    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// The address of the network; a Unix socket has none.
    pub fn ip(&self) -> Option<std::net::IpAddr> {
        match self {
            Self::Tcp(at) => Some(at.ip()),
            Self::Unix(_) => None,
        }
    }

    /// The port, or the number in the name of the Unix socket.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp(at) => at.port(),
            Self::Unix(host) => host.port,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(at: SocketAddr) -> Self {
        Self::Tcp(at)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => at.fmt(f),
            Self::Unix(host) => f.write_str(&host.socket_path()),
        }
    }
}
