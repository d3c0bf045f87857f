//! Reads the process environment for [`DistributedPool::from_env`].
//!
//! Which variables exist, and what they mean, is defined in `pgherd_core::settings`.

use pgherd_core::Settings;

use crate::{DistributedPool, Error};

impl DistributedPool {
    /// A pool from `COORDINATOR_HOST`, `WORKER_HOSTS`, `WORKER_SHARD_IDS`, `REPLICA_HOSTS` and
    /// their companions. An empty variable is the same as an absent one, one that is not
    /// UTF-8 too.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) with every problem and the variable
    /// it is about; [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime) outside of tokio.
    pub fn from_env() -> Result<Self, Error> {
        let settings = Settings::from_env(|name| std::env::var(name).ok())?;
        Self::from_settings(settings)
    }
}
