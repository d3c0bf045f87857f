//! Numbers the distributed transactions of one pool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pgherd_core::ShardId;
use pgherd_core::txn::Gid;

/// See the module's header.
#[derive(Debug)]
pub(crate) struct Numbering {
    cluster: String,
    epoch: u64,
    next: AtomicU64,
}

impl Numbering {
    /// `cluster` is `cluster.name`.
    ///
    /// # Errors
    /// A text when the name has characters that a gid should not have.
    pub(crate) fn new(cluster: &str) -> Result<Self, String> {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let numbering = Self { cluster: cluster.to_owned(), epoch, next: AtomicU64::new(1) };
        match numbering.gid(ShardId(0), 0).to_string().parse::<Gid>() {
            Ok(_) => Ok(numbering),
            Err(_) => Err(format!(
                "cluster.name `{cluster}` is not 1 to 32 letters, digits, hyphens and underscores"
            )),
        }
    }

    /// A number that no other transaction of this pool has.
    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The name of the transaction with this number, decided by this shard.
    pub(super) fn gid(&self, anchor: ShardId, number: u64) -> Gid {
        let (cluster, instance) =
            (self.cluster.clone(), crate::cluster::instance_name().to_owned());
        Gid { cluster, instance, epoch: self.epoch, anchor, number }
    }

    /// What the names of this cluster's prepared transactions begin with.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_another() {
        let numbering = Numbering::new("shop").unwrap();
        let first = numbering.gid(ShardId(0), numbering.next());
        assert_ne!(numbering.gid(ShardId(0), numbering.next()), first);
    }

    #[test]
    fn a_name_that_would_need_quoting_is_refused() {
        for name in ["", "it's", "a b", &"c".repeat(33)] {
            assert!(Numbering::new(name).is_err(), "{name}");
        }
    }
}
