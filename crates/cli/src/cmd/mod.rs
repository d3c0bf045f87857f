//! The commands, one file each.

pub(crate) mod convert;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod init;
pub(crate) mod pgbouncer;
pub(crate) mod pgbouncer_config;
pub(crate) mod route;
pub(crate) mod serve;
pub(crate) mod shard_of;
pub(crate) mod txn;
