//! pgbench through the proxy: 50 clients over a pool of 20.

use anyhow::{Result, ensure};
use pgherd_lab::{Pgbench, PgbenchReport, Progress};

use super::screen::Screen;
use super::stage::Stage;

/// pgbench's TPC-B, all of it on the primary, then its select-only load, all on replicas.
pub(super) fn run(screen: Screen, stage: &Stage, seconds: u32) -> Result<()> {
    screen.heading("pgbench through the proxy: 50 clients, and at most 20 backends on each node");
    // A thread for each client: pgbench prepares in a blocking call.
    let tpc_b = ["-c", "50", "-j", "50", "-M", "prepared"];
    one(screen, stage, "TPC-B, which writes", &tpc_b, seconds)?;
    // Whoever reads from a replica now reads what was written.
    stage.cluster.wait_caught_up()?;
    let select = ["-S", "-c", "50", "-j", "2", "-M", "prepared"];
    one(screen, stage, "select-only", &select, seconds)?;
    Ok(())
}

fn one(screen: Screen, stage: &Stage, name: &str, load: &[&str], seconds: u32) -> Result<()> {
    let step = screen.begin(name);
    let report = pgbench(stage, load, seconds, |line| step.progress(line))?;
    let PgbenchReport { transactions, failed, tps, latency_ms, .. } = report;
    ensure!(failed == 0, "{failed} of {transactions} transactions of {name} failed");
    let backends = "select count(*) from pg_stat_activity \
                    where usename = 'app' and application_name not like 'pgherd/%'";
    let on_primary = stage.cluster.coordinator().psql(backends)?;
    step.done(&format!(
        "{name}: {transactions} transactions, 0 failed, {tps:.0}/s, mean {latency_ms:.1} ms; \
         {on_primary} backends on the primary"
    ));
    Ok(())
}

/// Runs pgbench against the proxy; `progress` is given a line a second.
pub(super) fn pgbench(
    stage: &Stage,
    load: &[&str],
    seconds: u32,
    mut progress: impl FnMut(&str),
) -> Result<PgbenchReport> {
    let seconds = seconds.to_string();
    let arguments = [&["-n", "-P", "1", "-T", &seconds], load].concat();
    Pgbench::new(stage.server.address(), &arguments).run(|line| {
        if let Some(Progress { seconds, tps, latency_ms, failed }) = Progress::parse(line) {
            let line =
                format!("{seconds:.0} s: {tps:.0}/s, mean {latency_ms:.1} ms, {failed} failed");
            progress(&line);
        }
    })
}
