//! What a session has written, as a text for another process.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use super::OwnWrites;
use crate::id::{GroupId, ShardId};
use crate::units::{Lsn, WalPosition};

/// Longer texts are no tokens: a group takes some 30 bytes, and there are at most 65536.
const LONGEST: usize = 4 << 20;

/// Where the writes of a session end, in each group it has written in. Whoever reads after it
/// finds them, in any process.
///
/// Prints as a text without blanks, such as `shop;coordinator=1@0/16B3748;3=2@1/A0`, or `shop;` where
/// nothing was written, and reads back. It holds no secret, and gives nobody any right.
///
/// ```
/// use pgherd_core::route::WriteToken;
///
/// let token: WriteToken = "shop;coordinator=1@0/16B3748".parse().unwrap();
/// assert_eq!((token.cluster.as_str(), token.positions.len()), ("shop", 1));
/// assert_eq!(token.to_string(), "shop;coordinator=1@0/16B3748");
/// assert!("shop;coordinator".parse::<WriteToken>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteToken {
    /// `cluster.name`.
    pub cluster: String,
    /// The positions, each group once.
    pub positions: Vec<(GroupId, WalPosition)>,
}

impl From<&WriteToken> for OwnWrites {
    fn from(token: &WriteToken) -> Self {
        let mut own = Self::default();
        for (group, position) in &token.positions {
            own.wrote_up_to(*group, *position);
        }
        own
    }
}

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cluster)?;
        if self.positions.is_empty() {
            f.write_str(";")?;
        }
        for (group, WalPosition { timeline, lsn }) in &self.positions {
            match group {
                GroupId::Coordinator => f.write_str(";coordinator=")?,
                GroupId::Shard(shard) => write!(f, ";{shard}=")?,
            }
            match timeline {
                Some(timeline) => write!(f, "{timeline}@{lsn}")?,
                None => write!(f, "@{lsn}")?,
            }
        }
        Ok(())
    }
}

/// A text that is no token. See [`WriteToken`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a write token such as `shop;coordinator=1@0/16B3748`")]
pub struct BadToken(String);

impl FromStr for WriteToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        // The error shows the beginning of what may be long and anything.
        read(text).ok_or_else(|| BadToken(text.chars().take(80).collect()))
    }
}

fn read(text: &str) -> Option<WriteToken> {
    let (cluster, positions) = text.split_once(';').filter(|_| text.len() <= LONGEST)?;
    let cluster = Some(cluster).filter(|name| !name.is_empty())?.to_owned();
    let positions = match positions {
        "" => Vec::new(),
        some => some.split(';').map(position).collect::<Option<Vec<_>>>()?,
    };
    let groups: HashSet<_> = positions.iter().map(|(group, _)| group).collect();
    if groups.len() < positions.len() {
        return None;
    }
    let token = WriteToken { cluster, positions };
    // One spelling for each: signs, zeros in front and small digits are not taken.
    (token.to_string() == text).then_some(token)
}

fn position(part: &str) -> Option<(GroupId, WalPosition)> {
    let (group, position) = part.split_once('=')?;
    let group = match group {
        "coordinator" => GroupId::Coordinator,
        shard => GroupId::Shard(ShardId(shard.parse().ok()?)),
    };
    let (timeline, lsn) = position.split_once('@')?;
    let timeline = match timeline {
        "" => None,
        timeline => Some(timeline.parse().ok()?),
    };
    Some((group, WalPosition { timeline, lsn: lsn.parse::<Lsn>().ok()? }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_a_readable_text() {
        let at = |timeline, lsn| WalPosition { timeline, lsn: Lsn(lsn) };
        let positions = vec![
            (GroupId::Coordinator, at(Some(1), 0x16B_3748)),
            (GroupId::Shard(ShardId(3)), at(None, 0x1_0000_00A0)),
        ];
        let token = WriteToken { cluster: "shop".to_owned(), positions };
        assert_eq!(token.to_string(), "shop;coordinator=1@0/16B3748;3=@1/A0");
        assert_eq!(token.to_string().parse(), Ok(token));
        for odd in [
            "",
            ";",
            "shop",
            "junk",
            "shop;;",
            "shop;1=1@0/1;",
            "shop;1=1@0/1;1=1@0/2",
            "shop;coordinator",
            "shop;x=1@0/1",
            "shop;70000=1@0/1",
            "shop;1=01@0/1",
        ] {
            assert!(odd.parse::<WriteToken>().is_err(), "{odd}");
        }
        assert!("shop;".parse::<WriteToken>().is_ok_and(|token| token.positions.is_empty()));
        let error = "junk".parse::<WriteToken>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`junk` is not a write token such as `shop;coordinator=1@0/16B3748`"
        );
    }

    proptest! {
        #[test]
        fn no_text_is_read_as_another(text in "[a-z]{0,3}(;(coordinator|[0-9]{1,5})=[0-9]{0,3}@[0-9A-F]{1,8}/[0-9A-F]{1,8}){0,3}|.*") {
            if let Ok(token) = text.parse::<WriteToken>() {
                prop_assert_eq!(token.to_string(), text);
            }
        }

        #[test]
        fn every_token_reads_back(
            cluster in "[a-zA-Z0-9_-]{1,32}",
            positions in proptest::collection::btree_map(
                proptest::option::of(any::<u16>()),
                (proptest::option::of(any::<u32>()), any::<u64>()),
                0..5,
            ),
        ) {
            let positions = positions.into_iter().map(|(shard, (timeline, lsn))| {
                let group = shard.map_or(GroupId::Coordinator, |shard| GroupId::Shard(ShardId(shard)));
                (group, WalPosition { timeline, lsn: Lsn(lsn) })
            });
            let token = WriteToken { cluster, positions: positions.collect() };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }
    }
}
