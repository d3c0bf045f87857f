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
    /// It is what a turn is made of, and no pool: no peer.
    pub(super) is_floor: bool,
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
        Self { name, is_floor: false, run: Arc::new(move |turns| Box::pin(run(turns))) }
    }

    /// The same, as what a pool's turn is made of.
    pub(super) fn into_floor(self) -> Self {
        Self { is_floor: true, ..self }
    }

    /// So many turns, one after the other.
    pub(super) fn run(&self, turns: usize) -> Turn {
        (self.run)(turns)
    }
}
