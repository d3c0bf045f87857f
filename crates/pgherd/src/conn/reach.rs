//! How a node is reached: over which of its addresses the next connection is made.
//!
//! In: the node's hosts, what the system says that they stand for, what became of connections. Out:
//! the way for the next attempt. The decision is [`Ways`]'; here are the look-ups and the lock.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherd_core::hosts::{Address, Attempt, Host, Ways};
use pgherd_core::topology::Node;
use tracing::{debug, warn};

use crate::mutex::Mutex;

/// One way to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Way {
    pub(super) host: Arc<Host>,
    pub(super) address: Address,
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address } = self;
        match address.ip() {
            Some(ip) if host.name.parse() != Ok(ip) => write!(f, "{host} ({ip})"),
            _ => write!(f, "{host}"),
        }
    }
}

/// See the module's header. One for each node, for all that connect to it.
#[derive(Debug)]
pub(crate) struct Reach {
    node: Arc<str>,
    hosts: Vec<Arc<Host>>,
    // Held for a step of the machine.
    ways: Mutex<Ways<Way>>,
}

impl Reach {
    /// # Panics
    /// If the node is not part of a topology, and its hosts are no list.
    pub(crate) fn new(node: &Node) -> Self {
        let hosts = node.hosts().expect("the topology has checked its nodes' hosts");
        Self {
            node: node.name.as_str().into(),
            hosts: hosts.into_iter().map(Arc::new).collect(),
            ways: Mutex::new(Ways::new(node.balance, [])),
        }
    }

    pub(super) fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// The hosts as they are listed, for people.
    pub(super) fn hosts(&self) -> String {
        self.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }

    /// Looks its hosts up. One that is not found is left out, as long as another is.
    ///
    /// Dropping the future leaves it as it was.
    pub(super) async fn look_up(&self) -> io::Result<()> {
        let (mut found, mut failed) = (Vec::new(), None);
        for host in &self.hosts {
            if let Some(address) = Address::of_socket(host) {
                found.push(Way { host: host.clone(), address });
                continue;
            }
            match tokio::net::lookup_host((host.name.as_str(), host.port)).await {
                Ok(addresses) => {
                    let way = |at| Way { host: host.clone(), address: Address::Tcp(at) };
                    found.extend(addresses.map(way));
                }
                Err(error) => {
                    debug!(node = %self.node, %host, %error, "cannot look up");
                    failed = Some(error);
                }
            }
        }
        if found.is_empty() {
            return Err(failed.unwrap_or_else(|| io::ErrorKind::NotFound.into()));
        }
        self.ways.lock().follow(found);
        Ok(())
    }

    /// See [`Ways::attempt`].
    pub(super) fn attempt(&self, tried: &[Way], left: Duration) -> Option<Attempt<Way>> {
        self.ways.lock().attempt(tried, left, now())
    }

    pub(super) fn opened(&self, way: &Way) {
        self.ways.lock().opened(way);
    }

    /// A connection over this way failed or was lost: it is passed over for some time. Whether the
    /// node has no other way that is well, so that it may be the node itself.
    pub(crate) fn failed(&self, way: &Way) -> bool {
        let now = now();
        let (passed_over, has_other) = {
            let mut ways = self.ways.lock();
            (ways.failed(way, now), ways.has_other(way, now))
        };
        if let Some(wait) = passed_over {
            warn!(node = %self.node, %way, ?wait, "an address of a node is passed over");
        }
        !has_other
    }
}

/// In tests the time may be paused.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
