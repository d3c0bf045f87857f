//! The driver's methods for one statement, on a lease.
//!
//! They are those of [`Client`] and do the same; here the caller moves the connection's bytes
//! while it waits, which saves two switches between tasks a statement.

use std::pin::{Pin, pin};

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, SimpleQueryMessage, Statement, ToStatement};

use super::Lease;
use super::node_pool::ANSWER_DELAY;
use crate::conn::Drive;

impl Lease {
    /// As [`Client::query`]: all rows of a statement.
    ///
    /// Dropping the future leaves the statement to run to its end, for which the release waits a
    /// moment before it cancels.
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let lease = pool.read().acquire().await?;
    /// for row in lease.query("SELECT name FROM users WHERE age > $1", &[&41]).await? {
    ///     println!("{}", row.get::<_, &str>(0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.answered(pin!(self.client().query(statement, params))).await
    }

    /// As [`Client::query_one`]: the only row of a statement. Cancellation as for
    /// [`Self::query`].
    ///
    /// # Errors
    /// What the driver says; another number of rows is an error.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let users: i64 = lease.query_one("SELECT count(*) FROM users", &[]).await?.get(0);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_one<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.answered(pin!(self.client().query_one(statement, params))).await
    }

    /// As [`Client::query_opt`]: the only row of a statement, or none. Cancellation as for
    /// [`Self::query`].
    ///
    /// # Errors
    /// What the driver says; more than one row is an error.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let known = lease.query_opt("SELECT name FROM users WHERE id = $1", &[&42]).await?.is_some();
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_opt<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.answered(pin!(self.client().query_opt(statement, params))).await
    }

    /// As [`Client::execute`]: how many rows a statement concerned. Cancellation as for
    /// [`Self::query`].
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let gone = lease.execute("DELETE FROM carts WHERE age > $1", &[&30]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn execute<T: ?Sized + ToStatement>(
        &self,
        statement: &T,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.answered(pin!(self.client().execute(statement, params))).await
    }

    /// As [`Client::simple_query`]: a text of one or more statements, and rows as text.
    /// Cancellation as for [`Self::query`].
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let answer = lease.simple_query("SELECT 1; SELECT 2").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.answered(pin!(self.client().simple_query(sql))).await
    }

    /// As [`Client::batch_execute`]: a text of one or more statements, for their effect.
    /// Cancellation as for [`Self::query`].
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// lease.batch_execute("CREATE TABLE a (b int); CREATE INDEX ON a (b)").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.answered(pin!(self.client().batch_execute(sql))).await
    }

    /// As [`Client::prepare`]: a statement of the caller's own, which ends when it is dropped. One
    /// that outlives the lease is [`Self::prepare_cached`].
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// What the driver says.
    ///
    /// ```no_run
    /// # async fn f(lease: pgherd::Lease) -> Result<(), Box<dyn std::error::Error>> {
    /// let insert = lease.prepare("INSERT INTO visits (page) VALUES ($1)").await?;
    /// for page in ["/", "/about"] {
    ///     lease.execute(&insert, &[&page]).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        self.answered(pin!(self.client().prepare(sql))).await
    }

    fn client(&self) -> &Client {
        self.backend().client()
    }

    /// Waits for what is answered on the backend, and moves its bytes meanwhile. One at a time:
    /// a wait inside of a wait leaves the bytes to the connection's task.
    ///
    /// An error of PostgreSQL is sent before it says that it is ready for more. That is waited for
    /// as well, for a moment: released before it, the backend could not serve whoever comes next,
    /// who would have another opened.
    pub(crate) async fn answered<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        let answer = self.drive(work).await;
        if answer.as_ref().is_err_and(|error| error.as_db_error().is_some()) {
            self.settle_tail().await;
        }
        answer
    }

    /// The same for an answer of another shape; see [`Self::settle_tail`].
    pub(crate) fn drive<'d, F: Future>(&'d self, work: Pin<&'d mut F>) -> Drive<'d, F> {
        self.backend().drive(work)
    }

    /// Waits a moment for the rest of an answer.
    pub(crate) async fn settle_tail(&self) {
        // Longer is for the release to wait for.
        let _ = tokio::time::timeout(ANSWER_DELAY, self.backend().settle()).await;
    }
}
