//! The library's pool beside deadpool, bb8 and sqlx.

mod contender;
mod document;
mod idle;
mod measure;
mod route;
mod server;

use anyhow::Result;

pub(crate) use server::{Case, turns};

use crate::machine;

/// Runs it all; what is to be said of it.
pub(crate) fn run() -> Result<String> {
    let load = machine::load();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut tables = runtime.block_on(idle::run())?;
    drop(runtime);
    let (version, more) = server::run()?;
    tables.extend(more);
    document::write(&tables, &route::run()?, &version, &load)
}
