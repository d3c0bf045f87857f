//! pgherd beside its peers, measured. Run by `cargo x bench`.
//!
//! In: the name of a benchmark. Out: a part of a document, with the method and the tables.
//!
//! A ratio compares what ran in turn, round by round: whatever else the machine does hits all of
//! them.

mod machine;
mod part;
mod pool;
mod proxy;
mod rounds;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(bin_name = "cargo x bench")]
struct Arguments {
    /// The folder of benchmarks.md; without it, what would be written there is printed
    #[arg(long, global = true, hide = true, value_name = "FOLDER")]
    docs: Option<PathBuf>,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// The library's pool beside deadpool, bb8 and sqlx
    Pool,
    /// The proxy beside other poolers, with pgbench as their client
    ///
    /// Without options that make it a quick look it writes its part of docs/benchmarks.md, which
    /// takes ten minutes; with one, it prints it.
    Proxy(proxy::Options),
    /// What thousands of idle clients cost the proxy and other poolers, and those beside them
    ///
    /// Without options that make it a quick look it writes its part of docs/benchmarks.md, which
    /// takes three minutes.
    Idle(proxy::idle::Options),
    /// The idle clients of `idle`
    #[command(hide = true)]
    Hold {
        /// The port of a pooler, on 127.0.0.1
        port: u16,
        /// How many
        count: u32,
    },
    /// One process of `pool`, on a server that is there
    #[command(hide = true)]
    Turns {
        /// What to measure
        case: pool::Case,
        /// Where the server listens
        host: String,
        /// The port it listens on
        port: u16,
    },
    /// The blind forwarder that takes part in `proxy`
    #[command(hide = true)]
    Forward {
        /// The port to listen on, on 127.0.0.1
        port: u16,
        /// The server's port
        to: u16,
    },
}

fn main() -> Result<()> {
    let Arguments { docs, benchmark } = Arguments::parse();
    match benchmark {
        Benchmark::Pool => keep(docs.as_deref(), "pool", &pool::run()?),
        Benchmark::Proxy(options) => {
            let report = proxy::run(&options)?;
            let docs = docs.filter(|_| options.is_record());
            if let Some(docs) = &docs {
                std::fs::write(docs.join(proxy::PLOT), report.plot)?;
            }
            keep(docs.as_deref(), "proxy", &report.text)
        }
        Benchmark::Idle(options) => {
            let text = proxy::idle::run(&options)?;
            keep(docs.filter(|_| options.is_record()).as_deref(), "idle", &text)
        }
        Benchmark::Turns { case, host, port } => pool::turns(case, &host, port),
        Benchmark::Hold { port, count } => proxy::idle::hold::run(port, count),
        Benchmark::Forward { port, to } => proxy::forward::run(port, to),
    }
}

/// Puts a part into the document, or prints it.
fn keep(docs: Option<&Path>, name: &str, text: &str) -> Result<()> {
    let Some(docs) = docs else {
        print!("{text}");
        return Ok(());
    };
    let path = docs.join("benchmarks.md");
    let read = std::fs::read_to_string(&path);
    let document = read.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(std::fs::write(&path, part::replace(&document, name, text)?)?)
}
