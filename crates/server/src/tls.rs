//! What TLS is spoken with: with clients, and with the nodes.
//!
//! In: `[client_tls]`, `[tls]`, and their files. Out: what rustls needs for a connection that begins
//! now.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use pgherd::{TlsError, tls};
use pgherd_core::id::NodeId;
use pgherd_core::settings::{ChannelBinding, ClientTlsSettings, TlsMode};
use pgherd_core::{Settings, Topology};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};

/// What clients are shown when they ask for TLS.
#[derive(Debug)]
pub struct ClientTls {
    settings: ClientTlsSettings,
    // None if it is never spoken.
    shown: ArcSwapOption<Shown>,
    expires_at: Expiry,
}

/// When certificates expire that were read, in seconds since 1970; 0 is unknown, or none.
#[derive(Debug, Default)]
struct Expiry(AtomicI64);

impl Expiry {
    /// Reads it from the certificates of a file.
    fn read(&self, setting: &'static str, path: &str) -> Result<(), TlsError> {
        let at = tls::expires_at(setting, path)?.unwrap_or_default();
        self.0.store(at, Ordering::Relaxed);
        Ok(())
    }

    fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != 0)
    }
}

/// What a client is shown that begins TLS now.
#[derive(Debug)]
pub(crate) struct Shown {
    /// What rustls needs.
    pub(crate) config: Arc<ServerConfig>,
    /// The hash of the certificate that logins may be bound to, if it has one.
    pub(crate) end_point: Option<Vec<u8>>,
}

impl ClientTls {
    /// Reads the files. Waits for the disk.
    ///
    /// # Errors
    /// [`TlsError::File`]: one of them is not as it has to be.
    pub fn new(settings: ClientTlsSettings) -> Result<Self, TlsError> {
        let tls = Self { settings, shown: ArcSwapOption::empty(), expires_at: Expiry::default() };
        tls.reload()?;
        Ok(tls)
    }

    /// Reads the files again, for connections from now on. If one is not as it has to be, what was
    /// read before goes on. Waits for the disk.
    ///
    /// # Errors
    /// [`TlsError::File`].
    pub fn reload(&self) -> Result<(), TlsError> {
        if self.settings.mode != TlsMode::Disable {
            let (config, end_point) = tls::for_clients(&self.settings)?;
            self.expires_at.read("client_tls.cert", &self.settings.cert)?;
            self.shown.store(Some(Arc::new(Shown { config: Arc::new(config), end_point })));
        }
        Ok(())
    }

    /// What clients may ask for, and have to.
    pub fn mode(&self) -> TlsMode {
        self.settings.mode
    }

    /// When the certificate that clients are shown expires, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        self.expires_at.get()
    }

    /// What rustls needs for a connection that begins now.
    pub(crate) fn shown(&self) -> Option<Arc<Shown>> {
        self.shown.load_full()
    }
}

/// How nodes are talked to.
#[derive(Debug)]
pub struct NodeTls {
    settings: Settings,
    topology: Topology,
    // By node id; none if TLS is never spoken.
    nodes: ArcSwap<Vec<OfNode>>,
    expires_at: Expiry,
}

/// What rustls needs for connections to one node, and what the certificate at each of its hosts is to
/// be made out to.
type OfNode = (Arc<ClientConfig>, HashMap<String, ServerName<'static>>);

/// What rustls needs for a connection to a node, and the name its certificate is to be made out to.
pub(crate) type ToNode = (Arc<ClientConfig>, ServerName<'static>);

impl NodeTls {
    /// Reads the files. Waits for the disk.
    ///
    /// # Errors
    /// [`TlsError::File`] or [`TlsError::NoName`]: the settings are not as they have to be.
    pub fn new(settings: &Settings, topology: Topology) -> Result<Self, TlsError> {
        // No more than is needed: there are passwords in them.
        let (tls, nodes) = (settings.tls.clone(), settings.nodes.clone());
        let settings = Settings { tls, nodes, ..Settings::default() };
        let tls =
            Self { settings, topology, nodes: ArcSwap::default(), expires_at: Expiry::default() };
        tls.reload()?;
        Ok(tls)
    }

    /// Reads the files again, for connections from now on. If one is not as it has to be, what was
    /// read before goes on. Waits for the disk.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reload(&self) -> Result<(), TlsError> {
        if self.mode() != TlsMode::Disable {
            let to_node = |node| {
                let (config, names) = tls::for_node(&self.settings, node)?;
                Ok((Arc::new(config), names))
            };
            let nodes: Result<_, TlsError> = self.topology.nodes().iter().map(to_node).collect();
            let (nodes, cert) = (nodes?, &self.settings.tls.cert);
            if !cert.is_empty() {
                self.expires_at.read("tls.cert", cert)?;
            }
            self.nodes.store(Arc::new(nodes));
        }
        Ok(())
    }

    /// When the certificate that nodes are shown expires, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> Option<i64> {
        self.expires_at.get()
    }

    /// Whether logins are bound to their connection.
    pub(crate) fn channel_binding(&self) -> ChannelBinding {
        self.settings.tls.channel_binding
    }

    /// Whether connections are encrypted, and whom is trusted.
    pub(crate) fn mode(&self) -> TlsMode {
        self.settings.tls.mode
    }

    /// For a connection to a node at this host that begins now; `None` if TLS is never spoken, or the
    /// node has no such host.
    pub(crate) fn to(&self, node: NodeId, host: &str) -> Option<ToNode> {
        let nodes = self.nodes.load();
        let (config, names) = nodes.get(node.index())?;
        Some((Arc::clone(config), names.get(host)?.clone()))
    }
}
