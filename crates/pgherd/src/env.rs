//! Reads the process environment for [`DistributedPool::from_env`].
//!
//! Which variables exist, and what they mean, is defined in `pgherd_core::settings`.

use std::ffi::OsString;

use pgherd_core::Settings;

use crate::{DistributedPool, Error};

impl DistributedPool {
    /// A pool from `COORDINATOR_HOST`, `WORKER_HOSTS`, `WORKER_SHARD_IDS`, `REPLICA_HOSTS` and
    /// their companions, all in `docs/environment.md`. An empty variable is the same as an absent
    /// one, one that is not UTF-8 too.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) with every problem and the variable
    /// it is about, names that are nearly one of ours included;
    /// [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime) outside of tokio.
    pub fn from_env() -> Result<Self, Error> {
        let settings = Settings::from_variables(variables())?;
        Self::from_settings(settings)
    }
}

/// The environment, without what is not UTF-8.
fn variables() -> impl Iterator<Item = (String, String)> {
    let texts = |(name, value): (OsString, OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    std::env::vars_os().filter_map(texts)
}
