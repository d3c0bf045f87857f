//! Where an example runs: the cluster that the environment names, or one of its own.
//!
//! In: `COORDINATOR_HOST` and its companions (docs/environment.md), also from a file `.env` in the
//! current folder. Without them a cluster of real servers of the shape that the example asks
//! for is brought up, the environment is made to name it, and it ends with the example.
//!
//! Logs go to standard error: each statement with its node, its attempt and the rule that
//! decided. `RUST_LOG` shows more or less.

// Each example uses a part of it.
#![allow(dead_code)]

use std::io::IsTerminal;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgherd::{NodeRole, Settings};
use pgherd_lab::{Cluster, ClusterSpec};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// How long something that is sure to happen may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The nodes an example needs beside the coordinator.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) shards: usize,
    pub(crate) replicas: usize,
}

/// The cluster that an example runs on.
pub(crate) struct World {
    lab: Option<Cluster>,
}

/// Runs an example to its end, in a world of this shape.
///
/// # Errors
/// What did not hold.
pub(crate) fn run(shape: Shape, example: impl AsyncFnOnce(&World) -> Result<()>) -> Result<()> {
    start_logging();
    // Before the runtime has threads: the environment is changed here, and read by them.
    let world = World::enter(shape)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(example(&world))?;
    info!("all that the example shows holds");
    Ok(())
}

impl World {
    fn enter(shape: Shape) -> Result<Self> {
        let file = Path::new(".env");
        if file.exists() {
            dotenvy::from_path(file).context("cannot read .env")?;
        }
        let lab = match variable("COORDINATOR_HOST") {
            Some(_) => None,
            None => Some(bring_up(shape)?),
        };
        let nodes = Settings::from_env(variable)?.nodes;
        let count = |role| nodes.iter().filter(|node| node.role == role).count();
        let (shards, replicas) = (count(NodeRole::Worker), count(NodeRole::Replica));
        ensure!(
            shards >= shape.shards && replicas >= shape.replicas,
            "this example needs {} shards and {} replicas, and WORKER_HOSTS and REPLICA_HOSTS \
             name {shards} and {replicas}; without COORDINATOR_HOST it brings up its own",
            shape.shards,
            shape.replicas
        );
        Ok(Self { lab })
    }

    /// The cluster to do harm to, if it is the example's own.
    pub(crate) fn lab(&self) -> Option<&Cluster> {
        if self.lab.is_none() {
            info!("the cluster is yours: nothing in it is killed");
        }
        self.lab.as_ref()
    }
}

/// A variable of the environment.
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Waits until something is so that is sure to become so.
///
/// # Errors
/// When it has not within a minute.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await? {
        ensure!(Instant::now() < deadline, "did not happen within {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn bring_up(shape: Shape) -> Result<Cluster> {
    let Shape { shards, replicas } = shape;
    info!(shards, replicas, "no COORDINATOR_HOST: bringing up a cluster");
    let spec = ClusterSpec {
        shards: shards.try_into()?,
        coordinator_replicas: replicas.try_into()?,
        ..ClusterSpec::default()
    };
    let cluster = Cluster::start(&spec)?;
    let file = cluster.folder().join(".env");
    std::fs::write(&file, cluster.settings_env())?;
    dotenvy::from_path(&file)?;
    info!(version = cluster.version(), nodes = cluster.nodes().len(), "the cluster is up");
    Ok(cluster)
}

fn start_logging() {
    let filter = EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| EnvFilter::new("info,pgherd::session=debug"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}
