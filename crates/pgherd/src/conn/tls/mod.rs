//! TLS between us and the nodes, with the modes of libpq.
//!
//! In: a socket to a node, and the settings. Out: TLS over it, or why not.
//!
//! It is below the tap, which sees what the protocol says; whether a failure is made up for by a
//! plain connection is the dialer's to decide.

mod bound;
mod certificate;
mod client_verifier;
mod error;
mod files;
mod verifier;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use pgherd_core::Settings;
use pgherd_core::settings::{ChannelBinding, TlsMode, TlsSettings};
use pgherd_core::topology::Node;
use pgherd_wire::startup::SSL_REQUEST;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::socket::Socket;
use super::transport::Transport;
pub(super) use bound::{Bind, Bound};
pub use certificate::{common_name, end_point};
pub use error::{Distrust, TlsError};
pub use files::{expires_at, for_clients};

/// How the nodes of a cluster are talked to.
#[derive(Debug)]
pub(crate) struct Tls {
    settings: Arc<TlsSettings>,
    /// Names of certificates, by node, where they are not the host's.
    names: HashMap<String, String>,
}

impl Tls {
    pub(crate) fn of(settings: &Settings) -> Self {
        let named = settings.nodes.iter().filter(|node| !node.server_name.is_empty());
        Self {
            settings: Arc::new(settings.tls.clone()),
            names: named.map(|node| (node.name.clone(), node.server_name.clone())).collect(),
        }
    }

    /// Whether its files are as they have to be now. Waits for the disk.
    pub(crate) fn check(&self) -> Result<(), TlsError> {
        if self.settings.mode == TlsMode::Disable {
            return Ok(());
        }
        files::load(&self.settings).map(|_| ())
    }

    pub(super) fn with(&self, node: &Node) -> NodeTls {
        let common = Some(&self.settings.server_name).filter(|name| !name.is_empty());
        let name = self.names.get(&node.name).or(common);
        NodeTls {
            settings: self.settings.clone(),
            server_name: name.map(|name| name.as_str().into()),
        }
    }
}

/// What a program with a reactor of its own needs to talk TLS to a node: what rustls is to be told, and
/// for each of its hosts the name that the certificate there is to be made out to. Waits for the disk.
///
/// # Errors
/// [`TlsError::File`] or [`TlsError::NoName`]: the settings are not as they have to be. See
/// [`TlsError`].
pub fn for_node(
    settings: &Settings,
    node: &Node,
) -> Result<(ClientConfig, HashMap<String, ServerName<'static>>), TlsError> {
    let tls = Tls::of(settings).with(node);
    let hosts = node.hosts().unwrap_or_default();
    // To a Unix socket no TLS is spoken.
    let hosts = hosts.into_iter().filter(|host| !host.is_socket());
    let names = hosts.map(|host| Ok((host.name.clone(), tls.server_name(&host.name)?)));
    Ok((files::load(&tls.settings)?, names.collect::<Result<_, TlsError>>()?))
}

/// How one node is talked to.
#[derive(Debug, Clone)]
pub(super) struct NodeTls {
    settings: Arc<TlsSettings>,
    // The name of its certificate, where it is not that of the host.
    server_name: Option<Arc<str>>,
}

impl NodeTls {
    pub(super) fn mode(&self) -> TlsMode {
        self.settings.mode
    }

    pub(super) fn channel_binding(&self) -> ChannelBinding {
        self.settings.channel_binding
    }

    /// Asks for TLS and begins it. Where the node has none, the socket comes back as it is,
    /// unless the mode requires TLS. `host` is where it was found.
    ///
    /// Dropping the future closes the socket.
    pub(super) async fn encrypt(
        &self,
        mut socket: Socket,
        host: &str,
    ) -> Result<Transport, TlsError> {
        // Before the node is bothered: it could do nothing about what is wrong here.
        let config = self.config().await?;
        let name = self.server_name(host)?;
        socket.write_all(&SSL_REQUEST).await.map_err(TlsError::Handshake)?;
        // One byte, and no more: what somebody in between adds in plain is left to TLS, which
        // does not understand it.
        match socket.read_u8().await.map_err(TlsError::Handshake)? {
            b'S' => {}
            b'N' if self.mode().is_required() => return Err(TlsError::NotOffered),
            b'N' => return Ok(Transport::Plain(socket)),
            other => return Err(TlsError::NoAnswer(other)),
        }
        let connected = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
        connected.map(|stream| Transport::Encrypted(Box::new(stream))).map_err(handshake_error)
    }

    async fn config(&self) -> Result<ClientConfig, TlsError> {
        let settings = self.settings.clone();
        if settings.root_cert.is_empty() && settings.cert.is_empty() {
            // Without files there is no disk to wait for, and no thread to wake for it.
            return files::load(&settings);
        }
        match tokio::task::spawn_blocking(move || files::load(&settings)).await {
            Ok(config) => config,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

    fn server_name(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        match ServerName::try_from(name.to_owned()) {
            Ok(name) => Ok(name),
            Err(_) if self.mode() == TlsMode::VerifyFull => Err(TlsError::NoName(name.to_owned())),
            // Nobody looks at it. An address, because those are not sent.
            Err(_) => Ok(ServerName::from(IpAddr::V4(Ipv4Addr::UNSPECIFIED))),
        }
    }
}

/// Why a handshake with a node has failed: finds what the verifier has said in what rustls makes of it.
/// See [`TlsError`].
pub fn handshake_error(error: std::io::Error) -> TlsError {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    if let Some(rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other))) = cause
        && let Some(distrust) = other.0.downcast_ref::<Distrust>()
    {
        return TlsError::Distrusted(distrust.clone());
    }
    TlsError::Handshake(error)
}

#[cfg(test)]
mod tests;
