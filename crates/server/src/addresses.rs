//! Where the nodes are: what their host names stand for, asked again from time to time.
//!
//! In: hosts, what a look-up finds. Out: an address for each node, behind an atomic pointer that the
//! cores read.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pgherd_core::topology::Topology;

/// Finds the addresses of a host, given with a port. Blocks.
pub(crate) type LookUp = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// An address for each node, by its id.
pub(crate) type Addresses = Arc<ArcSwap<Vec<SocketAddr>>>;

/// Asks the system.
pub(crate) fn system() -> LookUp {
    Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// Looks up the hosts of a topology each `interval`, for as long as it is polled.
pub(crate) async fn keep_fresh(
    addresses: Addresses,
    topology: Arc<Topology>,
    look_up: LookUp,
    interval: Duration,
) {
    loop {
        tokio::time::sleep(interval).await;
        let mut fresh = Vec::clone(&addresses.load());
        for (node, address) in topology.nodes().iter().zip(&mut fresh) {
            let (look_up, host, port) = (Arc::clone(&look_up), node.host.to_string(), node.port);
            let found = tokio::task::spawn_blocking(move || look_up(&host, port)).await;
            match found {
                Ok(Ok(found)) => *address = follow(*address, &found),
                Ok(Err(error)) => {
                    tracing::debug!(node = %node.name, host = %node.host, %error, "cannot look up");
                }
                Err(panic) => tracing::error!(%panic, "a look-up has failed"),
            }
        }
        if fresh != **addresses.load() {
            tracing::info!(?fresh, "nodes have other addresses");
            addresses.store(Arc::new(fresh));
        }
    }
}

/// The address to use: the present one as long as it is among those found, or where nothing is.
fn follow(present: SocketAddr, found: &[SocketAddr]) -> SocketAddr {
    if found.contains(&present) {
        return present;
    }
    found.first().copied().unwrap_or(present)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_left_only_for_another() {
        let [one, two, three] =
            ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(|address| address.parse().unwrap());
        assert_eq!(follow(one, &[two, one]), one);
        assert_eq!(follow(one, &[three, two]), three);
        assert_eq!(follow(one, &[]), one);
    }
}
