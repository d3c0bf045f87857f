//! Why a connection could not be encrypted.

use std::io;
use std::path::PathBuf;

/// Why a connection could not be encrypted. Nothing but the request for TLS was sent: no user
/// name, no password.
///
/// ```no_run
/// # fn f(error: pgherd::ConnectError) {
/// use pgherd::{ConnectStep, Distrust, TlsError};
///
/// match &error.step {
///     ConnectStep::Encrypt(TlsError::NotOffered) => println!("ssl = off on {}", error.node),
///     ConnectStep::Encrypt(TlsError::Distrusted(Distrust::Name { names, .. })) => {
///         println!("{} shows a certificate of {names}", error.node);
///     }
///     ConnectStep::Encrypt(cause) => println!("{}: {cause}", error.node),
///     _ => {}
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The node takes plain connections only, and `tls.mode` does not.
    #[error("the node offers no TLS: `ssl = on` in its postgresql.conf, or another `tls.mode`")]
    NotOffered,
    /// The answer to the request was neither yes nor no.
    #[error("the answer to the request for TLS was byte {0:#04x}: is this a PostgreSQL server?")]
    NoAnswer(u8),
    /// The certificate is not to be trusted.
    #[error("the node's certificate is not to be trusted: {0}")]
    Distrusted(#[source] Distrust),
    /// The two ends did not come to terms, or the connection was lost on the way.
    #[error("no TLS with the node: {0}")]
    Handshake(#[source] io::Error),
    /// A file of ours is not as it has to be.
    #[error("{setting} {}: {problem}", path.display())]
    File {
        /// Its setting, `tls.root_cert`.
        setting: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The name that the certificate would be checked for is none.
    #[error("`{0}` is no name that a certificate could be made out to: set `server_name`")]
    NoName(String),
}

impl TlsError {
    /// Whether it is about settings and files here, and the node has no part in it.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::File { .. } | Self::NoName(_))
    }
}

/// What speaks against a certificate. See [`TlsError`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Distrust {
    /// It cannot be read.
    #[error("it is damaged")]
    Damaged,
    /// Its time is over, or has not come.
    #[error("it is valid from {from} to {to} only")]
    Time {
        /// Its first moment.
        from: String,
        /// Its last.
        to: String,
    },
    /// No way leads from it to an authority of `tls.root_cert`.
    #[error("no authority in `root_cert` has issued it ({0})")]
    Authority(String),
    /// It is made out to others.
    #[error("it is made out to {names}, not to `{wanted}`")]
    Name {
        /// The names it has.
        names: String,
        /// The node's.
        wanted: String,
    },
}
