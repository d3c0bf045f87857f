//! What a pool does not know of its backends.

use std::sync::Arc;

use super::CloseReason;
use crate::ConnectError;

/// Opens, checks and closes what a [`Pool`](super::Pool) lends. See [`Pool`](super::Pool).
///
/// The library's own dials nodes; another makes a pool of anything, in a test or a benchmark
/// without a network.
pub trait Manager: Send + Sync + Sized + 'static {
    /// What is lent.
    type Backend: Send + Sync + 'static;

    /// What the errors and events of the pool call the node.
    fn node(&self) -> &Arc<str>;

    /// Opens one, in a task of its own. `on_end` is called, once, if it is found to have ended.
    ///
    /// The pool drops the future only with its runtime.
    fn open(
        &self,
        on_end: impl FnOnce() + Send + 'static,
    ) -> impl Future<Output = Result<Self::Backend, ConnectError>> + Send;

    /// Whether it is there and may be lent, without asking it.
    fn is_alive(&self, backend: &Self::Backend) -> bool;

    /// Asks it whether it is there. The pool limits the time.
    fn check(&self, backend: &Self::Backend) -> impl Future<Output = bool> + Send;

    /// Whether the borrower-to-be should have it; asked after everything else has been.
    fn may_lend(&self, _backend: &Self::Backend) -> bool {
        true
    }

    /// What is to become of it now that its lease ends.
    fn fate(&self, backend: &Self::Backend) -> Fate;

    /// Waits, in a task of its own, for what [`Fate::Settle`] said has to be waited for. Said
    /// again, it is closed.
    fn settle(&self, _backend: &Self::Backend) -> impl Future<Output = Fate> + Send {
        std::future::ready(Fate::Close(CloseReason::Unclean))
    }

    /// Closes it. It may be in any state.
    fn close(&self, backend: Self::Backend, reason: CloseReason);

    /// An open failed.
    fn on_failed_open(&self, _error: &ConnectError) {}
}

/// What becomes of a backend whose lease ends. See [`Pool`](super::Pool).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The next one may have it.
    Keep,
    /// Nobody may.
    Close(CloseReason),
    /// That is not known yet: see [`Manager::settle`].
    Settle,
}
