//! What travels between a client and the backend it holds, in both directions.
//!
//! In: bytes that were read, the state of both sides.
//! Out: which of those bytes go on unchanged, and what is written between them ([`Splice`]).
//!
//! Pure: no sockets, no clock. Messages are forwarded from the buffer they arrived in; rows
//! are never decoded, and a message longer than the buffer passes through in parts.

pub mod begun;
pub mod downstream;
pub mod parameters;
pub mod splice;
pub mod statements;
pub mod survey;
pub mod suspicion;
pub mod unnamed;
pub mod upstream;

pub use begun::Begun;
pub use parameters::Parameters;
pub use splice::Splice;
pub use statements::{BackendStatements, ClientStatements, StatementTable};
pub use suspicion::{Classify, Suspicion};

use pgherd_core::settings::ByteSize;
use pgherd_wire::TxStatus;
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::replies::{Replies, Show};

/// Replies that a backend may owe before its client is held back: 4,096. More than a pipeline needs
/// to be kept full, and no more than 100 kB.
pub(crate) const MOST_OWED: usize = 4096;

/// The longest message that is let through, as its length field tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimit(pub u32);

impl Default for MessageLimit {
    fn default() -> Self {
        Self(MAX_MESSAGE)
    }
}

impl MessageLimit {
    /// By `listen.message_limit`. The type byte is not counted in the field.
    pub fn of(bytes: ByteSize) -> Self {
        Self(u32::try_from(bytes.0.saturating_sub(1)).unwrap_or(MAX_MESSAGE).min(MAX_MESSAGE))
    }
}

/// The client's side of a relay: what outlives a lease.
#[derive(Debug, Default)]
pub struct ClientRelay {
    /// The client's prepared statements, by its own names.
    pub statements: ClientStatements,
    /// The longest message that is taken from it.
    pub limit: MessageLimit,
    /// Whether it may send no Query.
    pub refuses_queries: bool,
    /// Bytes of the current message that are still to come and go on as they are.
    passing: usize,
}

impl ClientRelay {
    /// Whether the client has sent a message in full, so that another may follow.
    pub fn is_between_messages(&self) -> bool {
        self.passing == 0
    }

    /// The message that is half relayed is going to be relayed again from its beginning.
    pub fn rewind(&mut self) {
        self.passing = 0;
        self.statements.rewind();
    }
}

/// The backend's side of a relay.
#[derive(Debug, Default)]
pub struct BackendRelay {
    /// Replies still owed.
    pub replies: Replies,
    /// The state of the last ReadyForQuery.
    pub tx: TxStatus,
    /// Statements prepared on this backend.
    pub statements: BackendStatements,
    /// The longest message that is taken from it.
    pub limit: MessageLimit,
    /// What it may hold of its client.
    pub suspicion: Suspicion,
    /// Whether what runs is our own, and its rows are for the observer.
    pub tells_rows: bool,
    /// Whether the client is not told that a transaction is open: it may not have one.
    pub refuses_blocks: bool,
    /// What was sent that begins a transaction which only a Sync, still to come, will end.
    pub begun: Begun,
    /// Whether the client's last command about parameters set some back. Which ones, the node
    /// reports before it is ready.
    pub resets: bool,
    /// Whether its last error ended the connection, and was shown.
    pub said_goodbye: bool,
    /// Whether what it was streaming for replication has ended, and nothing has followed yet.
    pub has_ended_stream: bool,
    /// Whether replies since the lease began hold more than what precedes rows.
    pub shown: bool,
    /// What it has relayed of prepared statements, since somebody took that over.
    pub work: Work,
    /// Bytes of the current message that are still to come, and whether the client sees them.
    passing: (usize, Option<Show>),
}

/// How often something was relayed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Work {
    /// A client has prepared a statement.
    pub client_parses: u64,
    /// A node was told to.
    pub server_parses: u64,
    /// A client has bound one.
    pub binds: u64,
}

impl BackendRelay {
    /// Whether nothing is owed and no transaction is open.
    pub fn is_quiet(&self) -> bool {
        self.tx.is_idle() && self.is_answered()
    }

    /// Whether nothing is owed and nothing was begun that only a Sync will end.
    pub fn is_answered(&self) -> bool {
        self.owes_nothing() && self.begun == Begun::Nothing
    }

    /// Whether its client has asked by a Flush for the answers to all it has sent, has them, and has
    /// done nothing but prepare statements under names, outside of a transaction. It may be long before
    /// it goes on, and whatever that will be is not bound to this backend.
    pub fn has_only_named(&self) -> bool {
        self.tx.is_idle() && self.owes_nothing() && self.begun == Begun::Naming { is_flushed: true }
    }

    /// Whether all that was sent is answered.
    pub fn owes_nothing(&self) -> bool {
        self.replies.is_empty() && !self.replies.is_skipping()
    }

    /// Whether so many replies are owed that its client is not to send more before some have come,
    /// which they will: one of the batches has ended. Not while it reads a COPY: then it waits for
    /// the client.
    pub fn owes_a_lot(&self) -> bool {
        let replies = &self.replies;
        replies.len() > MOST_OWED && replies.is_ready_owed() && !replies.is_copying_in()
    }

    /// Whether its client has seen the beginning of a message and not yet the end.
    pub fn is_mid_message(&self) -> bool {
        matches!(self.passing, (1.., Some(Show::Client)))
    }

    /// A Query, FunctionCall or Sync is being sent, which ends what was begun before it.
    fn end_stretch(&mut self, client: &mut ClientRelay) {
        self.begun = Begun::Nothing;
        self.statements.end_stretch();
        client.statements.end_stretch();
    }

    /// Begins a lease: another client's unnamed statement is none of this one's.
    pub fn begin_lease(&mut self) {
        self.shown = false;
        self.statements.forget_unnamed();
        self.suspicion.begin_lease();
    }
}

#[cfg(test)]
pub(crate) mod recorded;
#[cfg(test)]
mod tests;
