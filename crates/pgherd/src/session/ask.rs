//! What is asked of the pool, on whose behalf, and how long it may take.

use std::time::Duration;

use pgherd_core::ShardId;
use pgherd_core::route::{QuerySpec, Route, Rule, ShardBy};
use pgherd_core::sql::QueryType;

use crate::{Key, Lease, Session};

/// See the module's header.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(super) query: QuerySpec,
    pub(super) session: Option<Session>,
    /// For everything: waits, tries, and the statement itself. Zero: for ever.
    pub(super) limit: Duration,
}

impl Ask {
    pub(crate) fn new(query_type: QueryType) -> Self {
        Self { query: QuerySpec::new(query_type), session: None, limit: Duration::ZERO }
    }

    pub(crate) fn shard_key(self, key: impl Into<Key>) -> Self {
        Self { query: self.query.with_key(key), ..self }
    }

    pub(crate) fn shard(self, shard: ShardId) -> Self {
        let query = QuerySpec { shard_by: Some(ShardBy::Shard(shard)), ..self.query };
        Self { query, ..self }
    }

    pub(crate) fn of(self, session: Option<Session>) -> Self {
        Self { session, ..self }
    }

    /// Where it goes now. A read that had to go to the primary for the session's own writes has
    /// the replicas asked.
    pub(super) fn note(&self, route: Route) {
        if let (Rule::OwnWritesOnPrimary, Some(session)) = (route.rule, &self.session) {
            session.is_behind(route.group);
        }
    }

    /// The session takes it that something is written through this lease until it ends, unless it
    /// is for reads; a read that a standby has refused does write.
    pub(super) fn bind(&self, lease: &mut Lease, was_refused: bool) {
        let may_write = self.query.query_type != QueryType::Read || was_refused;
        if let Some(session) = self.session.as_ref().filter(|_| may_write) {
            lease.is_for(session.writing(lease.route().group));
        }
    }
}
