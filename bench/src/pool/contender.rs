//! One of those that are compared.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Backends, or what stands for them, in each pool.
pub(super) const SIZE: usize = 8;

/// Tasks that share them.
pub(super) const TASKS: usize = 64;

/// How long an acquire may wait: every pool has to keep the time.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

type Turn = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A pool under its name. `run` acquires, does its work and releases, so many times.
#[derive(Clone)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    run: Arc<dyn Fn(usize) -> Turn + Send + Sync>,
}

impl Contender {
    /// `run(turns)` does its turns one after the other.
    pub(super) fn new<F>(
        name: &'static str,
        run: impl Fn(usize) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self { name, run: Arc::new(move |turns| Box::pin(run(turns))) }
    }

    /// So many turns, one after the other.
    pub(super) fn run(&self, turns: usize) -> Turn {
        (self.run)(turns)
    }
}
