//! What a core tells a console of itself.

use std::mem::size_of;

use super::backends::Backend;
use super::clients::{Client, Standing};
use super::{Driver, Worker};
use crate::admin::report::{BackendState, Connection, NodeReport, PoolReport, Report, Scope, Side};

/// Bytes of a client, and of a backend.
pub(crate) fn sizes() -> [usize; 2] {
    [size_of::<Client<mio::net::TcpStream>>(), size_of::<Backend<mio::net::TcpStream>>()]
}

impl<D: Driver> Worker<D> {
    /// What there is on this core.
    pub(super) fn report(&mut self, scope: Scope) -> Report {
        let mut report = Report { tallies: self.tally_report(), ..Report::default() };
        let nodes = self.proxy.topology.load().nodes().len();
        report.nodes.resize(nodes, NodeReport::default());
        for (key, pool) in &self.pools {
            let entry = report.pools.entry((key.database, key.user));
            let of_pool = entry.or_insert_with(|| PoolReport::new(&pool.database, pool.plan.mode));
            let waiting = pool.pool.load().waiting;
            of_pool.counts.waiting += waiting;
            report.nodes[key.node.index()].waiting += waiting;
            let oldest = of_pool.counts.oldest_wait.into_iter().chain(pool.pool.oldest_wait());
            of_pool.counts.oldest_wait = oldest.min();
        }
        for (_, backend) in &self.backends {
            let state = self.state_of(backend);
            let (is_pinned, close_needed) = (backend.is_pinned, self.now >= backend.expires_at);
            let node = &mut report.nodes[backend.pool.node.index()];
            node.backends.count(state, is_pinned, close_needed);
            if let Some(pool) = report.pools.get_mut(&(backend.pool.database, backend.pool.user)) {
                pool.counts.backends.count(state, is_pinned, close_needed);
            }
            report.unsent += usize::from(!backend.takes_more());
        }
        self.count_clients(&mut report);
        for (_, cancel) in &self.cancels {
            if let Some(peer) = cancel.peer() {
                report.for_peers.entry(peer).or_default()[usize::from(!cancel.has_left())] += 1;
            }
            let backend = cancel.backend().and_then(|key| self.backends.get(key));
            let pool = backend.map(|backend| (backend.pool.database, backend.pool.user));
            if let Some(pool) = pool.and_then(|pool| report.pools.get_mut(&pool)) {
                pool.counts.cancels[usize::from(!cancel.has_left())] += 1;
            }
        }
        if scope == Scope::Connections {
            report.connections = self.connections();
        }
        report
    }

    fn count_clients(&self, report: &mut Report) {
        for (_, client) in &self.clients {
            report.unsent += usize::from(client.unsent() > 0);
            match client.standing() {
                Standing::LoggingIn => report.logging_in += 1,
                Standing::Console => report.consoles += 1,
                Standing::Cancelling | Standing::Leaving => {}
                Standing::Idle | Standing::Waiting | Standing::Linked { .. } => {
                    report.clients += 1;
                    let Some(account) = client.seat() else { continue };
                    // Those that wait are counted with their pool.
                    let is_waiting = client.standing() == Standing::Waiting;
                    let entry = report.pools.entry((account.id, account.login));
                    let pool =
                        entry.or_insert_with(|| PoolReport::new(&account.database, account.mode));
                    pool.counts.clients += usize::from(!is_waiting);
                }
            }
        }
    }

    fn state_of(&self, backend: &Backend<D::Stream>) -> BackendState {
        backend.state(self.stale_before)
    }

    /// Which connection it is, among all of the process, as long as it lasts. None is 0, which looks
    /// like none.
    fn key_of(&self, side: Side, key: usize) -> u64 {
        let side = u64::from(side == Side::Backend);
        (self.core as u64) << 40 | side << 39 | (key as u64 + 1)
    }

    /// Which it is, never given to another: told apart by the core, and cut to what fits a column of
    /// the type int4.
    pub(super) fn public_id(&self, serial: u64) -> u64 {
        (serial * self.proxy.cores as u64 + self.core as u64) & i32::MAX.unsigned_abs() as u64
    }

    fn connections(&self) -> Vec<Connection> {
        let clients = self.clients.iter().map(|(key, client)| self.of_client(key, client));
        let backends = self.backends.iter().map(|(key, backend)| self.of_backend(key, backend));
        clients.chain(backends).collect()
    }

    fn of_client(&self, key: usize, client: &Client<D::Stream>) -> Connection {
        let standing = client.standing();
        let (peer, local) = self.driver.ends(client.stream());
        let backend = match standing {
            Standing::Linked { backend } => self.backends.get(backend).map(|b| (backend, b)),
            _ => None,
        };
        let account = client.seat();
        let user = client.user().map(|user| self.proxy.users.get(user).name.clone());
        let database = match (account, standing) {
            (Some(account), _) => Some(account.database.name.to_string()),
            (None, Standing::Console) => Some(crate::admin::DATABASES[0].to_owned()),
            (None, _) => None,
        };
        Connection {
            side: Side::Client,
            state: match standing {
                Standing::LoggingIn => "login",
                Standing::Console | Standing::Linked { .. } => "active",
                Standing::Idle | Standing::Leaving => "idle",
                Standing::Waiting => "waiting",
                Standing::Cancelling => "active_cancel_req",
            },
            is_logging_in: matches!(standing, Standing::LoggingIn | Standing::Leaving),
            user,
            database,
            peer: peer.into(),
            local: local.into(),
            connected_at: client.connected_at(),
            requested_at: backend.map_or(client.waits_since(), |(_, b)| b.began_at),
            waits_since: (standing == Standing::Waiting).then(|| client.waits_since()),
            close_needed: false,
            id: self.public_id(client.serial),
            key: self.key_of(Side::Client, key),
            link: backend.map(|(key, _)| self.key_of(Side::Backend, key)),
            remote_pid: 0,
            tls: client.encryption(),
            application_name: name_in(&client.parameters),
            replication: client.replication(),
            prepared: client.relay.statements.len(),
            node: backend.map(|(_, backend)| self.node_name(backend.pool)),
            is_pinned: false,
            unread: client.unread(),
            unsent: client.unsent(),
        }
    }

    fn of_backend(&self, key: usize, backend: &Backend<D::Stream>) -> Connection {
        let (_, local) = self.driver.ends(backend.link.socket());
        let client = backend.client();
        Connection {
            side: Side::Backend,
            state: self.state_of(backend).name(),
            is_logging_in: false,
            user: Some(self.proxy.users.get(backend.pool.user).name.clone()),
            database: Some(backend.database.name.to_string()),
            peer: (&backend.address).into(),
            local: local.into(),
            connected_at: backend.opened_at,
            requested_at: backend.changed_at,
            waits_since: None,
            close_needed: self.now >= backend.expires_at,
            id: self.public_id(backend.serial),
            key: self.key_of(Side::Backend, key),
            link: client.map(|client| self.key_of(Side::Client, client)),
            remote_pid: backend.pid,
            tls: backend.link.described(),
            application_name: name_in(&backend.applied),
            replication: backend.replication(),
            prepared: backend.relay.statements.len(),
            node: Some(self.node_name(backend.pool)),
            is_pinned: backend.is_pinned,
            unread: backend.unread(),
            unsent: backend.unsent(),
        }
    }
}

fn name_in(parameters: &crate::relay::Parameters) -> String {
    parameters.get("application_name").unwrap_or_default().to_owned()
}
