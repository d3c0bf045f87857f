//! How the nodes are: asked on demand, and watched all the time.
//!
//! `cargo run -p pgherd --example health`

mod world;

use anyhow::{Context, Result, ensure};
use pgherd::{DistributedPool, HealthReport};
use tracing::info;
use world::{Shape, World, until};

fn main() -> Result<()> {
    world::run(Shape { shards: 1, replicas: 1 }, health)
}

async fn health(world: &World) -> Result<()> {
    let pool = DistributedPool::from_env()?;
    for _ in 0..10 {
        pool.read().query("SELECT 1", &[]).await?;
    }

    // Every node is asked now. As JSON it is what a health endpoint of yours would answer.
    let report = pool.health_check().await;
    println!("{}", serde_json::to_string_pretty(&report)?);
    log(&report);
    ensure!(report.is_healthy(), "a node does not answer");
    ensure!(report.statistics.reads == 10, "{:?}", report.statistics);

    if let Some(lab) = world.lab() {
        let name = "coordinator-r1";
        let replica = lab.node(name)?;
        let id = pool.topology().node_named(name).context("the pool knows its nodes")?.id;

        replica.kill()?;
        let report = pool.health_check().await;
        log(&report);
        ensure!(!report.replicas[0].healthy && report.coordinator.healthy);
        // Some failures in a row, and nothing is routed to it any more.
        let is_out = async || Ok(!pool.topology().health(id).is_healthy());
        until("the dead replica is out of rotation", is_out).await?;
        pool.read().query("SELECT 1", &[]).await?;

        replica.start()?;
        let is_in = async || Ok(pool.topology().is_readable_replica(id));
        until("the replica is back in rotation", is_in).await?;
        let report = pool.health_check().await;
        log(&report);
        ensure!(report.is_healthy());
    }

    let statistics = pool.statistics();
    info!(counters = ?statistics.counters, mean_seconds = statistics.mean_latency_seconds, "done");
    ensure!(statistics.counters.errors == 0, "no read has failed");
    pool.close().await;
    Ok(())
}

fn log(report: &HealthReport) {
    for node in &report.nodes {
        info!(
            node = node.name,
            healthy = node.healthy,
            in_rotation = node.in_rotation,
            rtt_seconds = node.rtt_seconds,
            lag_bytes = node.lag_bytes,
            last_error = node.last_error,
            "asked"
        );
    }
}
