//! The rules of the routing table.

use std::fmt;

use serde::Serialize;

/// Which rule decided a route. Prints as a sentence without a full stop. See [`Route`](super::Route).
///
/// | Statement          | Shard named | Runs on                                              |
/// |--------------------|-------------|------------------------------------------------------|
/// | any                | any         | the node of the open transaction, or of the pin      |
/// | `Read`             | no          | a replica of the coordinator, else itself            |
/// | `Read`             | yes         | a replica of the shard, else its worker              |
/// | `Write`            | no          | the coordinator                                      |
/// | `Write`            | yes         | the worker of the shard                              |
/// | `Ddl`, `Distributed` | any       | the coordinator                                      |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// A transaction is open: it stays where it is.
    InTransaction,
    /// The session holds state on a node.
    Pinned,
    /// A read, on a replica of the coordinator.
    ReadOnReplica,
    /// A read, on the coordinator: it has no replica in rotation.
    ReadOnCoordinator,
    /// A read with a key, on a replica of the shard.
    KeyedReadOnReplica,
    /// A read with a key, on the worker: the shard has no replica in rotation.
    KeyedReadOnWorker,
    /// A read, on the primary: replicas are switched off for reads.
    ReadsStayOnPrimary,
    /// A read, on the primary: no replica has replayed the session's own writes yet.
    OwnWritesOnPrimary,
    /// A write without a key.
    WriteOnCoordinator,
    /// A write with a key.
    WriteOnShard,
    /// DDL.
    DdlOnCoordinator,
    /// A statement over several shards.
    DistributedOnCoordinator,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::InTransaction => "a transaction stays on its node",
            Self::Pinned => "the session is pinned to a node",
            Self::ReadOnReplica => "a read goes to a replica",
            Self::ReadOnCoordinator => {
                "a read goes to the coordinator: it has no replica in rotation"
            }
            Self::KeyedReadOnReplica => "a read with a key goes to a replica of its shard",
            Self::KeyedReadOnWorker => {
                "a read with a key goes to the worker of its shard: \
                 it has no replica in rotation"
            }
            Self::OwnWritesOnPrimary => {
                "a read goes to the primary: no replica has replayed the session's own writes"
            }
            Self::ReadsStayOnPrimary => {
                "a read goes to the primary: `routing.read_from_replicas` is off"
            }
            Self::WriteOnCoordinator => "a write without a key goes to the coordinator",
            Self::WriteOnShard => "a write with a key goes to the worker of its shard",
            Self::DdlOnCoordinator => "DDL goes to the coordinator",
            Self::DistributedOnCoordinator => {
                "a statement over several shards goes to the coordinator"
            }
        })
    }
}
