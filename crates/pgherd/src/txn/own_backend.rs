//! A connection to a node beside those of the pool, each of whose answers has its time.
//!
//! The pool's may all be held by transactions that wait for what is done here. And a node that
//! freezes between a login and a question holds up nobody for longer than the limit.

use std::sync::Arc;
use std::time::Duration;

use pgherd_core::{GroupId, NodeId, ShardId};
use tokio::time::timeout;
use tokio_postgres::{Row, SimpleQueryMessage};

use super::RecoveryError;
use crate::DistributedPool;
use crate::conn::Backend;
use crate::session::Params;

/// See the module's header. One that was too slow is closed: what it is asked next fails at once.
pub(super) struct OwnBackend {
    backend: Backend,
    node: Arc<str>,
    limit: Duration,
}

impl OwnBackend {
    /// To this node; `limit` is for opening it, and for each answer.
    ///
    /// Dropping the future closes what was opened.
    pub(super) async fn open(
        pool: &DistributedPool,
        node: NodeId,
        limit: Duration,
    ) -> Result<Self, RecoveryError> {
        let dialer = pool.node_pool(node).dialer();
        let node = dialer.node().clone();
        match timeout(limit, dialer.open(|| ())).await {
            Ok(opened) => Ok(Self { backend: opened?, node, limit }),
            Err(_) => Err(RecoveryError::TimedOut { node: node.to_string(), limit }),
        }
    }

    /// To the primary of a shard.
    ///
    /// Dropping the future closes what was opened.
    pub(super) async fn open_on(
        pool: &DistributedPool,
        shard: ShardId,
        limit: Duration,
    ) -> Result<Self, RecoveryError> {
        let topology = pool.topology();
        let group = topology.group(GroupId::Shard(shard));
        let primary = group.ok_or(RecoveryError::NoShard { shard })?.primary;
        Self::open(pool, primary, limit).await
    }

    /// The name of the node.
    pub(super) fn node(&self) -> &str {
        &self.node
    }

    /// Whether the connection has ended, as far as is known.
    pub(super) fn is_dead(&self) -> bool {
        self.backend.is_dead()
    }

    /// The process that serves it.
    pub(super) fn process_id(&self) -> Option<u32> {
        self.backend.process_id()
    }

    pub(super) async fn query(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, RecoveryError> {
        self.in_time(self.backend.client().query(sql, params)).await
    }

    /// The first column of the first row, if there is one and it is not null.
    pub(super) async fn text(&self, sql: &str) -> Result<Option<String>, RecoveryError> {
        let messages = self.in_time(self.backend.client().simple_query(sql)).await?;
        Ok(messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        }))
    }

    pub(super) async fn run(&self, script: &str) -> Result<(), RecoveryError> {
        self.in_time(self.backend.client().batch_execute(script)).await
    }

    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, RecoveryError> {
        match timeout(self.limit, work).await {
            Ok(answer) => Ok(answer?),
            Err(_) => {
                self.backend.hang_up();
                Err(RecoveryError::TimedOut { node: self.node.to_string(), limit: self.limit })
            }
        }
    }
}
