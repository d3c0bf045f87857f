//! A borrowed backend.

use std::fmt;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;

use pgherd_core::route::Route;
use pgherd_core::sql::QueryType;
use tokio_postgres::{Client, Transaction, TransactionBuilder};

use super::lent::Loan;
use super::node_pool::{ANSWER_DELAY, Nodes};
use super::state::{Slot, TakenAt};
use super::{AcquireError, NodePool};
use crate::conn::{Backend, Standing};
use crate::session::Writing;

/// A borrowed backend. Dereferences to [`tokio_postgres::Client`].
///
/// Dropping it releases the backend. One that is clean goes to the next user; one that is in a
/// transaction is closed; one that still runs a statement is cancelled and closed. One whose
/// session may hold state (settings, LISTEN, temporary tables, session advisory locks) is reset
/// before the next user gets it, which is a round trip nobody waits for as long as others are
/// idle.
///
/// State is suspected by the tags of commands (SET, LISTEN, PREPARE, DO, CALL and the like) and
/// by words in their texts. `SET LOCAL` and `set_config(..., true)` are known to leave nothing and
/// cost nothing. What a function does in its body that is called by a SELECT without such a word
/// is **not** seen: not `SELECT my_login('alice')` whose body calls `set_config(..., false)`. Call
/// it in a transaction with a true third argument, or by CALL or DO. See `docs/sessions.md`.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), Box<dyn std::error::Error>> {
/// let mut lease = pool.write().shard_key(42).acquire().await?;
/// println!("on {} because {}", lease.node(), lease.route().rule);
/// let transaction = lease.transaction().await?;
/// transaction.execute("UPDATE users SET visits = visits + 1 WHERE id = 42", &[]).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the lease releases the backend"]
pub struct Lease {
    // `Some` until drop.
    slot: Option<Box<Slot<Backend>>>,
    pool: Arc<NodePool>,
    route: Route,
    before: Mark,
    counted_as: Option<QueryType>,
    // Dropped after the backend is back: by then everything has been answered.
    _writing: Option<Writing>,
}

/// The counts of a backend at one moment.
#[derive(Debug, Clone, Copy)]
struct Mark {
    statements: u64,
    errors: u64,
}

impl Lease {
    /// Borrows a backend of the node that `route` names. `taken_at` is who is told when the
    /// lease is held for too long; `None` for a lease that ends with one statement.
    ///
    /// Dropping the future leaves the queue as if it had never been called.
    pub(crate) async fn acquire(
        pool: &Arc<NodePool>,
        route: Route,
        taken_at: TakenAt,
    ) -> Result<Self, AcquireError> {
        Ok(Self::of(pool, pool.acquire(taken_at).await?, route))
    }

    /// The same of a backend that is there and fit; `None` is for [`Self::acquire`].
    pub(crate) fn of_idle(pool: &Arc<NodePool>, route: Route, taken_at: TakenAt) -> Option<Self> {
        Some(Self::of(pool, pool.lend_idle(taken_at)?, route))
    }

    fn of(pool: &Arc<NodePool>, loan: Loan<'_, Nodes>, route: Route) -> Self {
        let slot = loan.into_slot();
        let backend = &slot.backend;
        let before = Mark { statements: backend.statements(), errors: backend.errors() };
        Self {
            slot: Some(slot),
            pool: pool.clone(),
            route,
            before,
            counted_as: None,
            _writing: None,
        }
    }

    /// Has its statements counted one by one, as they appear on the wire.
    pub(crate) fn count_as(&mut self, query_type: QueryType) {
        self.counted_as = Some(query_type);
    }

    /// Something is written through it, until it ends.
    pub(crate) fn is_for(&mut self, writing: Writing) {
        self._writing = Some(writing);
    }

    /// The name of the node.
    pub fn node(&self) -> &str {
        self.pool.node()
    }

    /// Why it is this node.
    pub fn route(&self) -> Route {
        self.route
    }

    /// Whether the connection has ended, as far as is known.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// if lease.is_closed() {
    ///     println!("{} has ended the connection", lease.node());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.backend().is_dead()
    }

    /// The statement with this text, prepared on this backend now or by an earlier user; see
    /// `pool.prepared_per_backend`. One whose plan a migration has invalidated (SQLSTATE 0A000 or
    /// 26000 when it is run) is prepared anew after [`Self::forget_prepared`].
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let statement = lease.prepare_cached("SELECT name FROM users WHERE id = $1").await?;
    /// for id in 1..100 {
    ///     let row = lease.query_opt(&statement, &[&id]).await?;
    ///     # let _ = row;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the driver says.
    pub async fn prepare_cached(
        &self,
        sql: &str,
    ) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
        Ok(self.answered(pin!(self.backend().prepare(sql))).await?.statement)
    }

    /// Has the statement with this text prepared anew when it is next used on this backend.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let sql = "SELECT * FROM users";
    /// let statement = lease.prepare_cached(sql).await?;
    /// match lease.query(&statement, &[]).await {
    ///     // A migration has changed what it gives: the next one is prepared anew.
    ///     Err(error) if error.code().is_some_and(|code| code.code() == "0A000") => {
    ///         lease.forget_prepared(sql);
    ///     }
    ///     answer => println!("{} users", answer?.len()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn forget_prepared(&self, sql: &str) {
        self.backend().forget(sql);
    }

    /// Begins a transaction; see [`Client::transaction`]. Dropping it rolls back.
    ///
    /// # Errors
    /// What the driver says.
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, tokio_postgres::Error> {
        self.client_mut().transaction().await
    }

    /// Begins a transaction with options; see [`Client::build_transaction`].
    ///
    /// ```no_run
    /// # async fn f(mut lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let transaction = lease.build_transaction().read_only(true).deferrable(true).start().await?;
    /// let users: i64 = transaction.query_one("SELECT count(*) FROM users", &[]).await?.get(0);
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    pub fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        self.client_mut().build_transaction()
    }

    /// Asks the node to cancel the statement that runs on this lease. That it arrived does not
    /// mean that there was something to cancel.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let work = lease.batch_execute("VACUUM FULL users");
    /// if tokio::time::timeout(Duration::from_secs(60), work).await.is_err() {
    ///     lease.cancel().await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ConnectError`](crate::ConnectError) if the node could not be reached.
    pub async fn cancel(&self) -> Result<(), crate::ConnectError> {
        self.pool.dialer().cancel(self.backend()).await
    }

    /// Ends a transaction block with ROLLBACK. A statement that is still under way is cancelled
    /// instead, and the backend closed; so it is when ROLLBACK fails.
    ///
    /// Dropping the future does the same.
    pub(crate) async fn roll_back(self) {
        // The tail of an answer is on its way.
        let standing = tokio::time::timeout(ANSWER_DELAY, self.backend().settle()).await;
        if standing == Ok(Standing::InTransaction) {
            let _ = self.batch_execute("ROLLBACK").await;
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.slot.as_ref().expect("a lease has its backend until it is dropped").backend
    }

    pub(crate) fn pool(&self) -> &Arc<NodePool> {
        &self.pool
    }

    // Not as DerefMut: two clients could be swapped between their leases.
    fn client_mut(&mut self) -> &mut Client {
        let slot = self.slot.as_mut().expect("a lease has its backend until it is dropped");
        slot.backend.client_mut()
    }

    /// Statements that left on this lease in full and so may have run.
    pub(crate) fn statements(&self) -> u64 {
        self.backend().statements() - self.before.statements
    }
}

impl Deref for Lease {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.backend().client()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("node", &self.pool.node())
            .field("route", &self.route)
            .finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(slot) = self.slot.take() else { return };
        let loan = self.pool.loan(slot);
        let backend = &loan.slot().backend;
        // First: it moves what is still queued onto the wire, where it is counted.
        let standing = backend.standing();
        let statements = backend.statements() - self.before.statements;
        let errors = backend.errors() - self.before.errors;
        self.pool.count(statements, errors, self.counted_as);
        self.pool.release(loan, standing);
    }
}
