//! A session: reads find what it wrote.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherd_core::route::{OwnWrites, WriteToken};
use pgherd_core::sql::QueryType;
use pgherd_core::units::WalPosition;
use pgherd_core::{GroupId, Key};

use super::Ask;
use crate::error::Cause;
use crate::mutex::Mutex;
use crate::{
    Auto, DistributedPool, DistributedTransactionRequest, Error, Request, TransactionRequest,
};

/// Where a primary is now. The name of the file it writes tells its timeline.
const WHERE_NOW: &str = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, \
                         pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())";

/// How often replicas are asked, at most, whether they have caught up with somebody.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Reads what it wrote: a replica serves its reads once it has replayed all that was written
/// through this session, and until then the primary does. Other sessions' writes may still be
/// missing on a replica. Cheap to clone; all clones are one session. Made by
/// [`DistributedPool::session`].
///
/// Nothing is added to a write: a replica is known to have it when it has replayed what the
/// primary said of its WAL after the write was answered. While a lease or transaction for writing
/// that was taken through the session is held, its group is read on the primary.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let session = pool.session();
/// session.write().execute("INSERT INTO orders VALUES (42)", &[]).await?;
/// // Finds it, wherever it runs.
/// session.read().query_one("SELECT * FROM orders WHERE id = 42", &[]).await?;
///
/// // So does another process that is given this text.
/// let token = session.token().await?.to_string();
/// # let elsewhere = pool;
/// let session = elsewhere.session_after(&token.parse().unwrap())?;
/// session.read().query_one("SELECT * FROM orders WHERE id = 42", &[]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Session {
    pool: DistributedPool,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    written: OwnWrites,
    // Leases for writing that are out, by group.
    writing: HashMap<GroupId, usize>,
    // When the nodes of a group were last asked whether they have caught up.
    asked: HashMap<GroupId, Instant>,
}

impl Session {
    pub(crate) fn new(pool: &DistributedPool, written: OwnWrites) -> Self {
        let state = State { written, ..State::default() };
        Self { pool: pool.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Statements that write nothing.
    pub fn read(&self) -> Request<'_> {
        self.request(QueryType::Read)
    }

    /// Statements that write.
    pub fn write(&self) -> Request<'_> {
        self.request(QueryType::Write)
    }

    /// Statements that define.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let session = pool.session();
    /// session.ddl().batch("CREATE TABLE tags (name text)").await?;
    /// // On a replica that has the table already, or on the primary.
    /// session.read().query("SELECT name FROM tags", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ddl(&self) -> Request<'_> {
        self.request(QueryType::Ddl)
    }

    /// Statements over several shards, which the coordinator is set up to run. What they write on
    /// the shards is not part of what the session remembers; see [`DistributedPool::distributed`].
    pub fn distributed(&self) -> Request<'_> {
        self.request(QueryType::Distributed)
    }

    /// Statements of this type; see [`DistributedPool::request`].
    pub fn request(&self, query_type: QueryType) -> Request<'_> {
        Request::new(&self.pool, query_type).of(self.clone())
    }

    /// A statement whose type PostgreSQL's own parser decides; see [`DistributedPool::auto`].
    pub fn auto<'s>(&'s self, sql: &'s str) -> Auto<'s> {
        self.pool.auto(sql).of(self.clone())
    }

    /// A transaction on one node; see [`DistributedPool::transaction`].
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let session = pool.session();
    /// let transaction = session.transaction().await?;
    /// transaction.execute("INSERT INTO orders VALUES (42)", &[]).await?;
    /// transaction.commit().await?;
    /// session.read().query_one("SELECT * FROM orders WHERE id = 42", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn transaction(&self) -> TransactionRequest<'_> {
        self.pool.transaction().of(self.clone())
    }

    /// A transaction on the shards of these keys; see
    /// [`DistributedPool::distributed_transaction`]. A commit that is in doubt, or pending on
    /// a shard, may take effect after reads that do not find it.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let session = pool.session();
    /// let transaction = session.distributed_transaction(["alice", "bob"]).await?;
    /// transaction.for_key("bob")?.execute("UPDATE accounts SET balance = 0", &[]).await?;
    /// transaction.commit().await?;
    /// session.read().shard_key("bob").query("SELECT balance FROM accounts", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub fn distributed_transaction<K: Into<Key>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> DistributedTransactionRequest<'_> {
        let keys = keys.into_iter().map(Into::into).collect();
        DistributedTransactionRequest::new(&self.pool, keys, Some(self.clone()))
    }

    /// Where its writes end, for another process: asks the primary of each group it has written
    /// in.
    ///
    /// Dropping the future does no harm.
    ///
    /// # Errors
    /// [`Error`] of the first primary that does not tell.
    pub async fn token(&self) -> Result<WriteToken, Error> {
        let groups: Vec<GroupId> = self.written().groups().collect();
        let mut positions = Vec::new();
        for group in groups {
            let ask = Ask::new(QueryType::Write);
            let ask = match group.shard() {
                Some(shard) => ask.shard(shard),
                None => ask,
            };
            let row = Request::asking(&self.pool, ask).query_one(WHERE_NOW, &[]).await?;
            let position = WalPosition::read(row.get(0), row.get(1));
            let position = position.ok_or_else(|| {
                let problem = format!("the primary of {group} does not tell where it is");
                Error::new(Cause::Usage(problem))
            })?;
            positions.push((group, position));
        }
        Ok(WriteToken { cluster: self.pool.settings().cluster.name.clone(), positions })
    }

    /// What a replica has to have replayed now.
    pub(super) fn written(&self) -> OwnWrites {
        let state = self.state.lock();
        let mut written = state.written.clone();
        let now = Instant::now();
        state.writing.keys().for_each(|group| written.wrote(*group, now));
        written
    }

    /// Somebody is about to write in a group, until what is answered is dropped.
    pub(crate) fn writing(&self, group: GroupId) -> Writing {
        *self.state.lock().writing.entry(group).or_default() += 1;
        Writing { session: self.clone(), group }
    }

    /// A read had to go to the primary of a group: its nodes are asked where they are, unless
    /// they have just been.
    pub(super) fn is_behind(&self, group: GroupId) {
        let now = Instant::now();
        let mut state = self.state.lock();
        let asked = state.asked.get(&group);
        if asked.is_none_or(|asked| now.saturating_duration_since(*asked) >= ASK_AGAIN) {
            state.asked.insert(group, now);
            drop(state);
            self.pool.health().probe_group_now(group);
        }
    }
}

/// A write under way in a group. Dropped, it has been answered, or never will be.
#[derive(Debug)]
pub(crate) struct Writing {
    session: Session,
    group: GroupId,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut state = self.session.state.lock();
        state.written.wrote(self.group, Instant::now());
        if let Some(count) = state.writing.get_mut(&self.group) {
            *count -= 1;
            if *count == 0 {
                state.writing.remove(&self.group);
            }
        }
    }
}
