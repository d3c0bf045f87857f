//! Failed logins, for all cores.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgherd_core::guard::{Guard, GuardConfig};

/// See [`Guard`]. The lock is held for a look at it; where nobody has failed it is not taken.
#[derive(Debug)]
pub struct LoginGuard {
    guard: Mutex<Guard>,
    is_empty: AtomicBool,
}

impl LoginGuard {
    /// Nobody has failed yet.
    pub fn new(config: GuardConfig) -> Self {
        Self { guard: Mutex::new(Guard::new(config)), is_empty: AtomicBool::new(true) }
    }

    /// Whether nobody has failed, so that there is no need to know who comes.
    pub fn is_empty(&self) -> bool {
        self.is_empty.load(Ordering::Relaxed)
    }

    /// See [`Guard::barred`].
    pub fn barred(&self, address: Option<IpAddr>, name: &str, now: Instant) -> Option<Duration> {
        self.with(|guard| guard.barred(address, name, now))
    }

    /// See [`Guard::failed`].
    pub fn failed(&self, address: Option<IpAddr>, name: &str, now: Instant) -> Duration {
        self.is_empty.store(false, Ordering::Relaxed);
        self.with(|guard| guard.failed(address, name, now))
    }

    /// See [`Guard::succeeded`].
    pub fn succeeded(&self, address: Option<IpAddr>, name: &str) {
        self.with(|guard| guard.succeeded(address, name));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Guard) -> T) -> T {
        work(&mut self.guard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
