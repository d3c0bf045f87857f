//! What a console has the cores do.

use crate::databases::DatabaseId;

/// What a console has every core do. Each core answers with a report when it has done it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Nothing but to tell what there is.
    Tell,
    /// Look again which databases are paused, whether all is suspended, and what is set.
    Follow,
    /// Dismiss the clients of this database, or of all, and close its backends.
    Kill(Option<DatabaseId>),
    /// Dismiss the client with this id.
    KillClient(u64),
    /// Close the backends of this database, or of all, as soon as they are free.
    Reconnect(Option<DatabaseId>),
    /// End when the last client that is no console has left. No more are accepted.
    AwaitClients,
    /// End when those that hold a backend have finished.
    Drain,
    /// End now.
    Halt,
}
