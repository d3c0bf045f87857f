//! What becomes of a client whose backend was lost, or that got none.

use std::time::Duration;

use pgherd_wire::backend::{Report, Severity};
use pgherd_wire::sqlstate;

use super::{Phase, TRIES};
use crate::reactor::backends::{LastSeen, Loss, fatal};
use crate::reactor::{Driver, PoolKey, Worker, node_bit};
use crate::relay::Parameters;
use crate::relay::survey::Access;

impl<D: Driver> Worker<D> {
    /// The backend of this client was lost: another serves it, or it is told.
    pub(in crate::reactor) fn lost_backend(
        &mut self,
        key: usize,
        pool_key: PoolKey,
        loss: &Loss,
        last: LastSeen,
    ) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if !matches!(client.phase, Phase::Holding { .. } | Phase::Syncing { .. }) {
            return;
        }
        let waited_for_parameters = matches!(client.phase, Phase::Syncing { .. });
        client.phase = Phase::Idle;
        let is_pinned = last == LastSeen::IdleWithState;
        if self.take_called_off(key) && !is_pinned && !matches!(loss, Loss::Parameters { .. }) {
            return self.called_off(key);
        }
        let client = &mut self.clients[key];
        if let Loss::Parameters { said, raw } = loss
            && !is_pinned
        {
            if !client.parameters.has_prepared() {
                client.send([&raw[..]].into_iter());
                return self.leave(key, &format!("its parameters cannot be set: {said}"));
            }
            // What a statement names may be gone. Whoever runs it is told that it is, too.
            if self.has_room_for_a_line() {
                tracing::info!(said, "what a client made with PREPARE cannot be made again");
            }
            let mut parameters = (*self.clients[key].parameters).clone();
            parameters.set_prepared_of(&Parameters::default());
            self.set_parameters(key, parameters);
        }
        if matches!(loss, Loss::TooLong { .. }) && last != LastSeen::HalfAMessage {
            // From whatever node it comes.
            self.counts(pool_key.node).errors.add_one();
            let detail = "whether the statement took effect is not known";
            let hint = "ask for less at once, or raise listen.message_limit";
            let code = sqlstate::PROTOCOL_VIOLATION;
            return self.dismiss(key, &fatal(code, &loss.to_string(), detail, hint));
        }
        let Self { clients, judge, .. } = self;
        let client = &mut clients[key];
        if !is_pinned && (waited_for_parameters || client.may_move(judge)) {
            if matches!(loss, Loss::ReadOnly(_)) {
                client.strike(judge);
                client.one_batch = false;
            }
            let mut bytes = client.replay.take_bytes();
            bytes.append(&mut client.stash);
            client.stash = bytes;
            client.relay.rewind();
            self.counts(pool_key.node).retries.add_one();
            return self.acquire_elsewhere(key, pool_key);
        }
        self.counts(pool_key.node).errors.add_one();
        let node = self.node_name(pool_key);
        let (during, detail, hint) = match last {
            // Nobody understands what is said in the middle of a message.
            LastSeen::Goodbye | LastSeen::HalfAMessage => {
                return self.leave(key, &format!("its connection to node {node} was lost: {loss}"));
            }
            // A node that stops ends its streams and closes: that is all that there is to say.
            LastSeen::EndOfStream => {
                return self.leave(key, &format!("node {node} has ended the stream"));
            }
            LastSeen::Replication => (
                "while it served replication",
                "whatever was not confirmed is sent again",
                "connect again",
            ),
            LastSeen::IdleInTransaction => (
                "while a transaction was open and no statement ran",
                "the transaction is rolled back",
                "connect again and repeat the transaction",
            ),
            LastSeen::IdleWithState => (
                "between two statements, and with it what the session held",
                "settings, temporary relations, advisory locks or channels are gone",
                "connect again",
            ),
            LastSeen::Unfinished => (
                "while a statement was running",
                "whether the statement took effect is not known",
                "connect again, and check before repeating a write",
            ),
        };
        let message = format!("connection to node {node} lost {during}: {loss}");
        self.dismiss(key, &fatal(sqlstate::CONNECTION_FAILURE, &message, detail, hint));
    }

    /// The node of this pool failed a client before it saw anything: another one serves it.
    pub(in crate::reactor) fn acquire_elsewhere(&mut self, key: usize, pool_key: PoolKey) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let access = match client.phase {
            Phase::Waiting { access, .. } => access,
            _ if client.one_batch => Access::ReadOnly,
            _ => Access::ReadWrite,
        };
        client.excluded |= node_bit(pool_key.node);
        client.tries += 1;
        if client.tries > TRIES {
            self.counts(pool_key.node).errors.add_one();
            let node = self.node_name(pool_key);
            let message = format!("no node could serve the statement after {TRIES} tries");
            let detail = format!("the last one tried was {node}");
            let hint = "SHOW NODES at the console tells why";
            return self.dismiss(key, &fatal(sqlstate::CANNOT_CONNECT, &message, &detail, hint));
        }
        self.acquire(key, access);
    }

    /// A waiter's time is up.
    pub(in crate::reactor) fn waited_too_long(
        &mut self,
        key: usize,
        pool_key: PoolKey,
        waited: Duration,
    ) {
        self.counts(pool_key.node).errors.add_one();
        let node = self.node_name(pool_key);
        let pool = self.pool(pool_key);
        let limit = pool.plan.acquire_timeout;
        let retry_at = pool.pool.retry_at();
        // Open, or being opened, over all cores; the waiters are those of this one.
        let fullness = pool.fullness();
        let waiting = pool.pool.load().waiting + 1;
        let (pool_name, now) = (self.pool_name(pool_key), self.now);
        let message = format!(
            "no free backend on node {node} after {waited:.1?} (limit {limit:?}; {fullness}, \
             {waiting} waiting in the pool of {pool_name})"
        );
        let pins = self.proxy.pins.described(pool_key, self.now);
        let pool = self.pool(pool_key);
        let (detail, hint) = match &pool.last_error {
            _ if pool.pool.is_held() => (
                "the database is paused, or all of them are".to_owned(),
                "RESUME at the console lets clients go on",
            ),
            Some(error) => (
                match retry_at.and_then(|at| at.checked_duration_since(now)) {
                    Some(wait) => format!(
                        "the last try to open one failed: {error}; the next is in {wait:.1?} \
                         (pool.open_retry)"
                    ),
                    None => format!("the last try to open one failed: {error}"),
                },
                "see whether the node is up and has connections left",
            ),
            None if !pins.is_empty() => (
                pins,
                "raise the pool's size, lower pool.pin_limit, or let what is held end with its \
                 transaction",
            ),
            None => {
                (String::new(), "raise the pool's size, or look for transactions that stay open")
            }
        };
        self.dismiss(key, &fatal(sqlstate::TOO_MANY_CONNECTIONS, &message, &detail, hint));
    }

    /// A waiter is told that it waits.
    pub(in crate::reactor) fn tell_waiter(&mut self, key: usize, pool_key: PoolKey) {
        let Some(client) = self.clients.get(key) else { return };
        // Before a login is done it would be taken for a part of that.
        if client.greeting {
            return;
        }
        let waited = self.now.saturating_duration_since(client.since);
        let (node, pool_name) = (self.node_name(pool_key), self.pool_name(pool_key));
        let pool = self.pool(pool_key);
        let fullness = pool.fullness();
        let (waiting, limit) = (pool.pool.load().waiting, pool.plan.acquire_timeout);
        let message = format!(
            "the client is queued: it has waited for {waited:.1?} for a backend on node {node} (limit \
             {limit:?}; {fullness}, {waiting} waiting in the pool of {pool_name})"
        );
        let mut out = Vec::new();
        Report {
            severity: Severity::Notice,
            code: sqlstate::WARNING,
            message: &message,
            detail: "",
            hint: "",
        }
        .put(&mut out);
        self.clients[key].send([&out[..]].into_iter());
    }

    /// The node refused the login for good; `raw` is what it said, if it said anything.
    pub(in crate::reactor) fn refuse_waiter(
        &mut self,
        key: usize,
        pool_key: PoolKey,
        raw: &[u8],
        loss: &Loss,
    ) {
        self.counts(pool_key.node).errors.add_one();
        if raw.is_empty() {
            let message = format!("node {} cannot be used: {loss}", self.node_name(pool_key));
            return self.dismiss(key, &fatal(loss.code(), &message, "", ""));
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.send([raw].into_iter());
            let node = self.node_name(pool_key);
            // Which says that the login was refused.
            self.leave(key, &format!("node {node}: {loss}"));
        }
    }
}
