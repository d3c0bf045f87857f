//! `pgherd demo`: the main job, on real servers, with real load.
//!
//! One file for each scene. A scene that does not see what it promises fails the demo.

mod failover;
mod load;
mod promises;
mod routing;
mod screen;
mod stage;
mod transfer;

use std::path::{Path, PathBuf};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use pgherd_lab::cluster::{DATABASE, PASSWORD, USER};
use pgherd_lab::guardian::Guardian;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use screen::Screen;
use stage::Stage;

/// Show the main job: a cluster of real servers, the proxy, the library, real load
///
/// Brings up a coordinator, 2 shards and 2 replicas of PostgreSQL, and ends them again. On a
/// terminal it stays up at the end, to be tried, until Ctrl-C.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How long each load runs, in seconds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
}

impl Demo {
    /// Fails if a scene does not see what it promises.
    pub(crate) fn run(self) -> Result<()> {
        let folder = std::env::temp_dir().join(format!("pgherd-demo-{}", std::process::id()));
        let interruption = Arc::new(Interruption::default());
        interruption.watch(folder.clone())?;
        let result = self.play(Screen::new(), &folder, &interruption);
        if interruption.is_there() {
            // Whatever failed did so because the cluster is being ended, and so is the process.
            park_forever();
        }
        result
    }

    fn play(&self, screen: Screen, folder: &Path, interruption: &Interruption) -> Result<()> {
        screen.heading("pgherd: one door to a coordinator, 2 shards and 2 replicas");
        let stage = Stage::set_up(screen, folder)?;
        load::run(screen, &stage, self.seconds)?;
        stage.runtime.block_on(routing::run(screen, &stage))?;
        stage.runtime.block_on(transfer::run(screen, &stage))?;
        failover::run(screen, &stage)?;
        let all_kept = promises::run(screen, &stage, self.seconds)?;
        if screen.is_terminal() {
            interruption.is_welcome.store(all_kept, Ordering::Relaxed);
            stay_up(screen, &stage);
        }
        stage.tear_down()?;
        if !all_kept {
            bail!("a promise was broken: see the table above");
        }
        screen.heading("All of it is gone again: servers, proxy, folder");
        Ok(())
    }
}

/// Ctrl-C, or SIGTERM.
#[derive(Debug, Default)]
struct Interruption {
    came: AtomicBool,
    // The demo is over and waits for it: then it is no failure.
    is_welcome: AtomicBool,
}

impl Interruption {
    /// Ends the cluster in `folder` and then the process when it comes, wherever the demo is.
    fn watch(self: &Arc<Self>, folder: PathBuf) -> Result<()> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot take signals")?;
        let own = Arc::clone(self);
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                own.came.store(true, Ordering::SeqCst);
                eprintln!("\nending the cluster");
                end_cluster(&folder);
                exit(if own.is_welcome.load(Ordering::Relaxed) { 0 } else { 128 + signal });
            }
        });
        Ok(())
    }

    fn is_there(&self) -> bool {
        self.came.load(Ordering::SeqCst)
    }
}

/// Whatever the demo has started so far works in its folder, and the cluster's own guardian ends
/// what is started meanwhile, once this process is gone.
fn end_cluster(folder: &Path) {
    match Guardian::set_on(folder) {
        Ok(guardian) => drop(guardian),
        Err(error) => eprintln!("{error:#}"),
    }
}

fn park_forever() -> ! {
    loop {
        std::thread::park();
    }
}

/// Tells what to try, until Ctrl-C.
fn stay_up(screen: Screen, stage: &Stage) -> ! {
    let address = stage.server.address();
    screen.heading("It stays up until Ctrl-C. Try:");
    screen.say(&format!("psql postgresql://{USER}:{PASSWORD}@{address}/{DATABASE}"));
    screen.say("  select inet_server_port();  -- on a replica, each time the next one");
    screen.say("  begin; select inet_server_port(); commit;  -- on the primary");
    park_forever()
}
