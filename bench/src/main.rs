//! pgherd beside its peers, measured. Run by `cargo x bench`.
//!
//! In: the name of a benchmark. Out: a document with the method and the tables.
//!
//! A ratio compares what ran in turn in the same process, round by round: whatever else the
//! machine does hits all of them.

mod contender;
mod document;
mod idle;
mod measure;
mod route;
mod server;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["pool"] => pool(),
        _ => bail!("usage: pgherd-bench pool"),
    }
}

fn pool() -> Result<()> {
    let load = document::load();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut tables = runtime.block_on(idle::run())?;
    drop(runtime);
    let (version, more) = server::run()?;
    tables.extend(more);
    print!("{}", document::pool(&tables, &route::run()?, &version, &load)?);
    Ok(())
}
