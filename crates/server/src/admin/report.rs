//! What a core tells of itself when a console asks.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pgherd_core::hosts::Address;
use pgherd_core::settings::PoolMode;

use crate::auth::UserId;
use crate::databases::{Database, DatabaseId};
use crate::reactor::Tally;
use crate::session::Replication;

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Sums: the same effort for each table.
    Sums,
    /// Each connection as well.
    Connections,
}

/// What one core tells.
#[derive(Debug, Default)]
pub struct Report {
    pub(crate) pools: BTreeMap<(DatabaseId, UserId), PoolReport>,
    /// By node id.
    pub(crate) nodes: Vec<NodeReport>,
    pub(crate) tallies: Vec<DatabaseTally>,
    /// Cancel requests that a peer is dealing with, and those that have not reached it yet, by its place.
    pub(crate) for_peers: BTreeMap<usize, [usize; 2]>,
    /// Clients that are not logged in yet.
    pub(crate) logging_in: usize,
    /// Clients that are logged in, but for consoles.
    pub(crate) clients: usize,
    pub(crate) consoles: usize,
    /// Connections that have not taken all they were sent.
    pub(crate) unsent: usize,
    /// Whether the client that was to be dismissed was here.
    pub(crate) has_dismissed: bool,
    /// Where [`Scope::Connections`] was asked for.
    pub(crate) connections: Vec<Connection>,
}

/// The pools of one database and login on one core, those of all nodes together.
#[derive(Debug)]
pub(crate) struct PoolReport {
    pub(crate) database: Arc<Database>,
    pub(crate) mode: PoolMode,
    pub(crate) counts: PoolCounts,
}

/// What there is in pools.
#[derive(Debug, Default)]
pub(crate) struct PoolCounts {
    /// Clients that are not waiting.
    pub(crate) clients: usize,
    pub(crate) waiting: usize,
    /// Cancel requests that the node is dealing with, and those that have not reached it yet.
    pub(crate) cancels: [usize; 2],
    pub(crate) backends: BackendCounts,
    pub(crate) oldest_wait: Option<Instant>,
}

impl PoolCounts {
    pub(crate) fn add(&mut self, other: &Self) {
        self.clients += other.clients;
        self.waiting += other.waiting;
        self.cancels = [0, 1].map(|at| self.cancels[at] + other.cancels[at]);
        self.backends.add(&other.backends);
        self.oldest_wait = self.oldest_wait.into_iter().chain(other.oldest_wait).min();
    }
}

impl PoolReport {
    /// Of nothing yet.
    pub(crate) fn new(database: &Arc<Database>, mode: PoolMode) -> Self {
        Self { database: Arc::clone(database), mode, counts: PoolCounts::default() }
    }
}

/// Backends by what they do.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct BackendCounts {
    pub(crate) active: usize,
    pub(crate) being_canceled: usize,
    pub(crate) idle: usize,
    /// Idle for so long that they are asked first whether they are there.
    pub(crate) used: usize,
    pub(crate) tested: usize,
    pub(crate) login: usize,
    /// Those of `active` that are pinned.
    pub(crate) pinned: usize,
    /// Those of all that are closed as soon as they are free.
    pub(crate) close_needed: usize,
}

/// What a backend does, in PgBouncer's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BackendState {
    Active,
    BeingCanceled,
    Idle,
    Used,
    Tested,
    New,
}

impl BackendState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::BeingCanceled => "being_canceled",
            Self::Idle => "idle",
            Self::Used => "used",
            Self::Tested => "tested",
            Self::New => "new",
        }
    }
}

impl BackendCounts {
    pub(crate) fn count(&mut self, state: BackendState, is_pinned: bool, close_needed: bool) {
        self.pinned += usize::from(is_pinned);
        self.close_needed += usize::from(close_needed);
        *match state {
            BackendState::Active => &mut self.active,
            BackendState::BeingCanceled => &mut self.being_canceled,
            BackendState::Idle => &mut self.idle,
            BackendState::Used => &mut self.used,
            BackendState::Tested => &mut self.tested,
            BackendState::New => &mut self.login,
        } += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.active += other.active;
        self.being_canceled += other.being_canceled;
        self.idle += other.idle;
        self.used += other.used;
        self.tested += other.tested;
        self.login += other.login;
        self.pinned += other.pinned;
        self.close_needed += other.close_needed;
    }

    /// All of them.
    pub(crate) fn total(&self) -> usize {
        let Self { active, being_canceled, idle, used, tested, login, .. } = self;
        active + being_canceled + idle + used + tested + login
    }

    /// Those that no client holds.
    pub(crate) fn free(&self) -> usize {
        self.idle + self.used
    }
}

/// The backends of one core at one node.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NodeReport {
    pub(crate) backends: BackendCounts,
    pub(crate) waiting: usize,
}

/// What was done for the clients of one database on one core.
#[derive(Debug)]
pub(crate) struct DatabaseTally {
    pub(crate) database: Box<str>,
    /// Since the start.
    pub(crate) total: Tally,
    /// Since a while ago, which is `over`.
    pub(crate) recent: Tally,
    pub(crate) over: Duration,
}

/// Which side of pgherd a connection is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Backend,
}

/// One end of a connection. Of a Unix socket there is no address, and of a client's, or of our own side,
/// no port: `listen.port` stands for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) ip: Option<IpAddr>,
    pub(crate) port: Option<u16>,
}

impl From<Option<SocketAddr>> for End {
    fn from(at: Option<SocketAddr>) -> Self {
        Self { ip: at.map(|at| at.ip()), port: at.map(|at| at.port()) }
    }
}

impl From<&Address> for End {
    fn from(at: &Address) -> Self {
        Self { ip: at.ip(), port: Some(at.port()) }
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) side: Side,
    pub(crate) state: &'static str,
    /// Whether it has only begun: `SHOW CLIENTS` leaves it out.
    pub(crate) is_logging_in: bool,
    pub(crate) user: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) peer: End,
    pub(crate) local: End,
    pub(crate) connected_at: Instant,
    pub(crate) requested_at: Instant,
    pub(crate) waits_since: Option<Instant>,
    pub(crate) close_needed: bool,
    pub(crate) id: u64,
    /// Which it is, and which it is linked to, as long as they last.
    pub(crate) key: u64,
    pub(crate) link: Option<u64>,
    pub(crate) remote_pid: u32,
    /// What it is encrypted with; empty in plain.
    pub(crate) tls: String,
    pub(crate) application_name: String,
    /// What it replicates.
    pub(crate) replication: Option<Replication>,
    pub(crate) prepared: usize,
    /// The node of a backend, or of the one that the client holds.
    pub(crate) node: Option<String>,
    pub(crate) is_pinned: bool,
    /// Bytes that were read and not passed on yet.
    pub(crate) unread: usize,
    /// Bytes that its socket has not taken yet.
    pub(crate) unsent: usize,
}
