//! What a cancel request does to a client that it names.

use pgherd_wire::backend::{self, Report, Severity};
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::{Frame, HEADER, TxStatus, frontend, sqlstate};

use super::Phase;
use crate::reactor::{Driver, Todo, Worker};

impl<D: Driver> Worker<D> {
    /// What a cancel request is for: `None` if it fits no client here, else the backend that
    /// runs the client's query, if any.
    pub(in crate::reactor) fn cancel_target(
        &self,
        key: usize,
        secret: &[u8],
    ) -> Option<Option<usize>> {
        let client = self.clients.get(key)?;
        if client.greeting || client.told_secret() != secret {
            return None;
        }
        match client.phase {
            Phase::Holding { backend } if !self.backends[backend].is_asked() => Some(Some(backend)),
            _ => Some(None),
        }
    }

    /// Cancels what a client waits for: in the queue, or until a backend has its parameters.
    pub(in crate::reactor) fn cancel_waiting(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.is_console() {
            return self.cancel_console(key);
        }
        let pool = match client.phase {
            Phase::Waiting { pool, .. } => Some(pool),
            Phase::Syncing { .. } if !client.called_off => None,
            // Its session is being asked what it holds.
            Phase::Holding { .. } => None,
            _ => return,
        };
        let Some(end) = end_of_batch(&client.stash) else { return };
        if begins_anew(&client.stash) {
            client.relay.statements.end_unnamed();
        }
        client.stash.drain(..end);
        let code = sqlstate::QUERY_CANCELED;
        let mut out = Vec::new();
        Report {
            severity: Severity::Error,
            code,
            message: "canceling statement due to user request",
            detail: "it was still waiting for a backend",
            hint: "",
        }
        .put(&mut out);
        backend::put_ready(&mut out, TxStatus::Idle);
        client.send([&out[..]].into_iter());
        self.note_error(key, code, "canceling statement due to user request");
        let client = &mut self.clients[key];
        let Some(pool) = pool else {
            client.called_off = matches!(client.phase, Phase::Syncing { .. });
            return;
        };
        client.phase = Phase::Idle;
        client.resume();
        self.pool(pool).pool.forget(&key);
        self.publish(pool);
        self.todo.push_back(Todo::Client(key));
    }

    /// The client has no use any more for the backend that it was to be given.
    pub(in crate::reactor) fn called_off(&mut self, key: usize) {
        let client = &mut self.clients[key];
        client.phase = Phase::Idle;
        client.replay.end();
        client.resume();
        self.todo.push_back(Todo::Client(key));
    }

    /// Whether the client has cancelled what it was to be given a backend for. Asked once.
    pub(in crate::reactor) fn take_called_off(&mut self, key: usize) -> bool {
        std::mem::take(&mut self.clients[key].called_off)
    }
}

/// Whether the first of these messages ends the unnamed statement, also if it is cancelled: a Query,
/// and a Parse of the next one.
///
/// Source: PostgreSQL, `exec_simple_query` and `exec_parse_message` drop it before anything else.
fn begins_anew(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(&frontend::QUERY) => true,
        Some(&frontend::PARSE) => bytes.get(HEADER) == Some(&0),
        _ => false,
    }
}

/// Where the first batch in these bytes ends, if all of it is there: what an error in its first message
/// makes the server skip. A Query ends a batch of its own only.
fn end_of_batch(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let frame = Frame::read(&bytes[at..], MAX_MESSAGE).ok()??;
        let is_first = at == 0;
        at += frame.size;
        if at > bytes.len() {
            return None;
        }
        let is_alone = is_first && matches!(frame.tag, frontend::QUERY | frontend::FUNCTION_CALL);
        if is_alone || frame.tag == frontend::SYNC {
            return Some(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_behind_parse_is_skipped_with_it() {
        let message = |tag: u8| [tag, 0, 0, 0, 5, 0];
        let bytes = |tags: &str| tags.bytes().flat_map(message).collect::<Vec<u8>>();
        for (tags, messages) in
            [("QQ", Some(1)), ("FS", Some(1)), ("PBES", Some(4)), ("PEQSQ", Some(4)), ("PEQ", None)]
        {
            assert_eq!(end_of_batch(&bytes(tags)), messages.map(|count| 6 * count), "{tags}");
        }
        assert_eq!(end_of_batch(&bytes("Q")[..5]), None);
    }
}
