//! `DistributedPool`: pooled, routed, retried PostgreSQL connections over a coordinator, its
//! shards and their replicas.
//!
//! In: settings (a builder, a [`Settings`] tree, or the environment), statements with what
//! kind they are and which shard they concern. Out: rows, leases of backends, distributed
//! transactions, health and statistics.
//!
//! Every decision (route, admission, retry, health) is `pgherd-core`'s; this crate opens the
//! sockets, waits and counts. It runs inside the caller's tokio runtime and owns none.
//!
//! ```no_run
//! # async fn f() -> Result<(), pgherd::Error> {
//! use pgherd::DistributedPool;
//!
//! let pool = DistributedPool::builder()
//!     .coordinator("db-primary.example.com", 5432)
//!     .replica("replica-1.example.com", 5432)
//!     .worker(0, "shard-0.example.com", 5432)
//!     .worker(1, "shard-1.example.com", 5432)
//!     .database("app")
//!     .user("app")
//!     .password("secret")
//!     .build()?;
//!
//! // To a replica, in turn.
//! let rows = pool.read().query("SELECT id, name FROM users", &[]).await?;
//! // To the worker of the shard where user 42 lives.
//! let changed = pool
//!     .write()
//!     .shard_key(42)
//!     .execute("UPDATE users SET name = $1 WHERE id = $2", &[&"alice", &42])
//!     .await?;
//! // On both shards, or on neither.
//! let transaction = pool.distributed_transaction(["alice", "bob"]).await?;
//! let sql = "UPDATE accounts SET balance = balance + $2 WHERE owner = $1";
//! transaction.for_key("alice")?.execute(sql, &[&"alice", &-30_i32]).await?;
//! transaction.for_key("bob")?.execute(sql, &[&"bob", &30_i32]).await?;
//! transaction.commit().await?;
//!
//! println!("{} users; {:?}", rows.len(), pool.health_check().await);
//! # let _ = changed;
//! # Ok(())
//! # }
//! ```

mod cluster;
mod conn;
mod env;
mod error;
mod health;
mod inquirer;
mod mutex;
pub mod pool;
mod random;
mod session;
pub mod tls;
mod txn;

pub use cluster::{
    Builder, CoordinatorHealth, DistributedPool, HealthReport, LatencySummary, ListenerStatistics,
    NodeReport, NodeStatistics, ParseCacheStatistics, PreparedStatistics, QueryTypeStatistics,
    ReplicaHealth, Start, Statistics, WorkerHealth,
};
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub use conn::hostile;
pub use conn::{ConnectError, ConnectStep, Distrust, PasswordError, TlsError, with_passwords};
pub use error::{Error, ErrorKind};
pub use health::{HealthMonitor, NoPrimary, ProbeAnswer};
pub use inquirer::{Inquirer, InquiryError};
pub use pool::{AcquireError, CloseReason, HookError, Lease, OverdueLease, PoolEvent, Verdict};
pub use session::{
    Answered, Auto, CopyIn, CopyOut, ListenEvent, Listener, Pipeline, Request, Rows, Session,
    Transaction, TransactionRequest, UnitOfWork,
};
pub use txn::{
    CommitError, CommitStep, Committed, Cursor, Decision, DistributedTransaction,
    DistributedTransactionRequest, InDoubt, LeftTransaction, LeftTransactions, Recovered,
    RecoveryError, Resolve, ResolveError, Resolved, decision_table_script,
};

pub use pgherd_core::balance::Balance;
pub use pgherd_core::pool::PoolLoad;
pub use pgherd_core::reset::Leftovers;
pub use pgherd_core::retry::{Jitter, Retry, RetryConfig};
pub use pgherd_core::route::{BadToken, Route, Rule, WriteToken};
pub use pgherd_core::settings::{
    ChannelBinding, HostBalance, NodeSettings, PasswordCommand, Secret, Settings, SettingsErrors,
    TlsMode, TlsSettings, TlsVersion,
};
pub use pgherd_core::shard::{ShardFunction, Uuid};
pub use pgherd_core::sql::Classified;
pub use pgherd_core::stats::Counters;
pub use pgherd_core::topology::{Circuit, NodeHealth, NodeState};
pub use pgherd_core::txn::resolve::Refusal;
pub use pgherd_core::{GroupId, Key, NodeId, NodeRole, QueryType, ShardId, Topology};

/// The driver underneath: its rows, types and errors are part of this crate's interface.
pub use tokio_postgres;
pub use tokio_postgres::IsolationLevel;

/// The examples in the README and in other documents compile.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/quickstart.md")]
    struct QuickStart;
    #[doc = include_str!("../../../docs/architecture/connection-architecture.md")]
    struct ConnectionArchitecture;
}
