//! Clients that replicate: each has a backend for itself, from its login to its end.
//!
//! The backend is opened with what the client asked for at its login, so there is nothing to set on it,
//! to ask it, or to reset; what it says is passed on as it is. The client's time is not limited:
//! a stream is one command that goes on for as long as it is wanted.

use super::{Client, Phase};
use crate::reactor::pools::OwnerId;
use crate::reactor::{Driver, Todo, Worker};
use crate::session::Replication;

/// What a client has that replicates.
#[derive(Debug, Clone, Copy)]
pub(in crate::reactor) struct Replicating {
    /// What it has asked for.
    pub(in crate::reactor) kind: Replication,
    /// Whose its pools are.
    pub(super) owner: OwnerId,
}

impl<S> Client<S> {
    /// What replication it has asked for.
    pub(in crate::reactor) fn replication(&self) -> Option<Replication> {
        self.replicating.map(|replicating| replicating.kind)
    }
}

impl<D: Driver> Worker<D> {
    /// A client that replicates has its backend: it is told that it is logged in.
    pub(super) fn begin_replication(&mut self, key: usize, backend_key: usize) {
        self.greet_as(key, backend_key);
        // No other backend could go on with anything.
        let client = &mut self.clients[key];
        client.replay.end();
        client.resume();
        self.todo.push_back(Todo::Client(key));
    }

    /// Sees a client off whose stream would keep pgherd from stopping; it is going to come back, and find
    /// another. `false` if it does not stream.
    pub(in crate::reactor) fn dismiss_if_streaming(&mut self, key: usize) -> bool {
        let phase = self.clients.get(key).map(|client| &client.phase);
        let Some(Phase::Holding { backend }) = phase else { return false };
        let streams = self.backends[*backend].relay.replies.is_copying_both();
        if streams {
            self.dismiss_because_of_stop(key);
        }
        streams
    }
}
