//! What a console has the cores do.

use std::sync::Arc;

use crate::databases::DatabaseId;

/// What a console has every core do. Each core answers with a report when it has done it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Nothing but to tell what there is.
    Tell,
    /// Look again which databases are paused, whether all is suspended, and what is set.
    Follow,
    /// Dismiss the clients of these databases, or of all, and close their backends.
    Kill(Option<Arc<[DatabaseId]>>),
    /// Dismiss the client with this id.
    KillClient(u64),
    /// Close all backends as soon as they are free.
    Reconnect,
    /// End when the last client that is no console has left. No more are accepted.
    AwaitClients,
    /// End when those that hold a backend have finished.
    Drain,
    /// End now.
    Halt,
}
