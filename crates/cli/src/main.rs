//! The `pgherd` program.
//!
//! In: arguments ([`args`]), one file per command ([`cmd`]). Out: what the command prints, and
//! an exit code: 0 when it did what it was asked, 1 when it failed, 2 for wrong arguments.

mod args;
mod cmd;
mod line;
mod outlet;
mod output;
mod pgbouncer_files;
#[cfg(test)]
mod reference;
mod settings;
mod syslog;
mod systemd;

use std::io;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match args::Args::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pgherd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads our output has seen enough of it, as `head` does.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let cause = error.root_cause().downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
