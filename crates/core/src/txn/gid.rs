//! The names of distributed transactions.

use std::fmt;
use std::str::FromStr;

use crate::id::ShardId;

/// The name of a distributed transaction: which cluster, which process, when its pool was built
/// (seconds since 1970), which shard decides, and which transaction of that pool.
///
/// Prints as `pgherd_<cluster>_<instance>_<epoch>_<anchor>_<number>`, which is the name in the
/// decision table. What a shard prepares is called that and `_<shard>`: names are unique in a
/// whole PostgreSQL server, which may carry several shards.
///
/// ```
/// use pgherd_core::ShardId;
/// use pgherd_core::txn::Gid;
///
/// let (gid, shard) = Gid::parse_prepared("pgherd_shop_0a1b2c3d_1700000000_2_17_5").unwrap();
/// assert_eq!((gid.cluster.as_str(), gid.anchor, shard), ("shop", ShardId(2), ShardId(5)));
/// assert_eq!(gid.prepared(shard), "pgherd_shop_0a1b2c3d_1700000000_2_17_5");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gid {
    /// `cluster.name`: 1 to 32 letters, digits, `-` and `_`.
    pub cluster: String,
    /// The process: letters and digits.
    pub instance: String,
    /// When its pool was built, in seconds since 1970.
    pub epoch: u64,
    /// The shard whose commit decides.
    pub anchor: ShardId,
    /// Counts the transactions of that pool.
    pub number: u64,
}

/// A text that is no name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no name of a distributed transaction of pgherd")]
pub struct BadGid(String);

/// What all names begin with.
const PREFIX: &str = "pgherd_";

impl Gid {
    /// PostgreSQL's limit is 200 bytes with the terminating zero.
    pub const LONGEST_BYTES: usize = 199;

    /// What a shard prepares it under. Needs no quoting beyond the quotes around it.
    pub fn prepared(&self, shard: ShardId) -> String {
        format!("{self}_{shard}")
    }

    /// Reads the name that a shard has prepared it under.
    ///
    /// # Errors
    /// [`BadGid`].
    pub fn parse_prepared(name: &str) -> Result<(Self, ShardId), BadGid> {
        let bad = || BadGid(name.to_owned());
        let (gid, shard) = name.rsplit_once('_').ok_or_else(bad)?;
        let shard = number(shard).map(ShardId).ok_or_else(bad)?;
        Ok((gid.parse().map_err(|_| bad())?, shard))
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, instance, epoch, anchor, number } = self;
        write!(f, "{PREFIX}{cluster}_{instance}_{epoch}_{anchor}_{number}")
    }
}

impl FromStr for Gid {
    type Err = BadGid;

    fn from_str(name: &str) -> Result<Self, BadGid> {
        // From the right: the cluster's own name may have underscores.
        let read = || {
            let mut parts = name.strip_prefix(PREFIX)?.rsplitn(5, '_');
            let number_part = number(parts.next()?)?;
            let anchor = number(parts.next()?).map(ShardId)?;
            let epoch = number(parts.next()?)?;
            let instance = parts.next().filter(|part| is_plain(part))?.to_owned();
            let cluster = parts.next().filter(|part| is_cluster_name(part))?.to_owned();
            Some(Self { cluster, instance, epoch, anchor, number: number_part })
        };
        read().ok_or_else(|| BadGid(name.to_owned()))
    }
}

/// A number in the one way it prints.
fn number<T: FromStr + ToString>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn is_cluster_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(fits)
}
