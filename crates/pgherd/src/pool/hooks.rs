//! What a program has added to the life of a backend.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio_postgres::Client;

use super::PoolEvent;

/// Why a hook on open did not want a backend. See [`Builder::on_open`](crate::Builder::on_open).
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// What a hook on acquire or release wants done with a backend. See
/// [`Builder::on_acquire`](crate::Builder::on_acquire).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Lend it, or keep it.
    Keep,
    /// Close it. An acquire goes on with another.
    Close,
}

pub(crate) type OpenHook =
    Arc<dyn for<'c> Fn(&'c Client) -> BoxFuture<'c, Result<(), HookError>> + Send + Sync>;
pub(crate) type LeaseHook = Arc<dyn Fn(&Client) -> Verdict + Send + Sync>;

/// Called with the name of the node.
pub(crate) type Observer = Arc<dyn Fn(&str, PoolEvent<'_>) + Send + Sync>;

/// See the module's header.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    pub(crate) on_open: Option<OpenHook>,
    pub(crate) on_acquire: Option<LeaseHook>,
    pub(crate) on_release: Option<LeaseHook>,
    pub(crate) observer: Option<Observer>,
}
