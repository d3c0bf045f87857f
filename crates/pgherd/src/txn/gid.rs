//! The names of prepared transactions.
//!
//! `pgherd_<cluster>_<instance>_<epoch>_<number>_<shard>`: which cluster, which process, when
//! its pool was built (seconds since 1970), which transaction of it, and which participant.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use pgherd_core::ShardId;

/// PostgreSQL's limit is 200 bytes with the terminating zero.
const LONGEST_GID_BYTES: usize = 199;
/// As for `cluster.name` in the settings.
const LONGEST_CLUSTER_NAME: usize = 32;

/// Numbers the distributed transactions of one pool.
#[derive(Debug)]
pub(crate) struct Numbering {
    prefix: String,
    next: AtomicU64,
}

impl Numbering {
    /// # Errors
    /// A text when the cluster's name has characters that a gid should not have.
    pub(crate) fn new(cluster: &str) -> Result<Self, String> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if cluster.is_empty()
            || cluster.len() > LONGEST_CLUSTER_NAME
            || !cluster.chars().all(is_plain)
        {
            return Err(format!(
                "cluster.name `{cluster}` is not 1 to {LONGEST_CLUSTER_NAME} letters, digits, \
                 hyphens and underscores"
            ));
        }
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let instance = crate::cluster::instance_name();
        Ok(Self { prefix: format!("pgherd_{cluster}_{instance}_{epoch}"), next: AtomicU64::new(1) })
    }

    /// The next transaction's name, without the participant.
    pub(crate) fn next(&self) -> String {
        format!("{}_{}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// The gid of one participant. It needs no quoting beyond the quotes around it.
pub(super) fn gid(transaction: &str, shard: ShardId) -> String {
    let gid = format!("{transaction}_{shard}");
    debug_assert!(gid.len() <= LONGEST_GID_BYTES, "the parts of a gid are bounded: {gid}");
    gid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gid_fits_and_each_is_another() {
        let numbering = Numbering::new(&"c".repeat(32)).unwrap();
        numbering.next.store(u64::MAX - 1, Ordering::Relaxed);
        let longest = gid(&numbering.next(), ShardId(u16::MAX));
        assert!(longest.len() <= LONGEST_GID_BYTES, "{} bytes", longest.len());
        assert_ne!(gid(&numbering.next(), ShardId(0)), longest);
    }

    #[test]
    fn a_name_that_would_need_quoting_is_refused() {
        for name in ["", "it's", "a b", &"c".repeat(33)] {
            assert!(Numbering::new(name).is_err(), "{name}");
        }
    }
}
