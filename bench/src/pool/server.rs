//! Acquire, `SELECT 1` and release, on a real server.

use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use pgherd::{DistributedPool, QueryType};
use pgherd_lab::{Cluster, ClusterSpec, Node, cluster};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tokio::runtime::Builder;
use tokio_postgres::NoTls;

use super::contender::{ACQUIRE_TIMEOUT, Contender, SIZE, TASKS};
use super::measure::{Plan, Row, Table, compare};

/// One round trip in the simple protocol for each of them: drivers that cache what they have
/// prepared are not compared with those that do not.
const SQL: &str = "SELECT 1";

fn pgherd(host: &str, port: u16) -> Result<DistributedPool, pgherd::Error> {
    DistributedPool::builder()
        .coordinator(host, port)
        .database(cluster::DATABASE)
        .user(cluster::USER)
        .password(cluster::PASSWORD)
        .pool_size(SIZE as u32)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .build()
}

fn driver(host: &str, port: u16) -> tokio_postgres::Config {
    let mut config = tokio_postgres::Config::new();
    config
        .host(host)
        .port(port)
        .dbname(cluster::DATABASE)
        .user(cluster::USER)
        .password(cluster::PASSWORD);
    config
}

/// What one task's turn consists of: the driver alone, and the same on a backend of pgherd's that is
/// not given back in between.
async fn floors(host: &str, port: u16) -> Result<[Contender; 2]> {
    let (client, connection) = driver(host, port).connect(NoTls).await?;
    tokio::spawn(connection);
    let client = Arc::new(client);
    let driver = Contender::new("tokio-postgres, without a pool", move |turns| {
        let client = client.clone();
        async move {
            for _ in 0..turns {
                client.simple_query(SQL).await.expect("it answers");
            }
        }
    });
    let lease = Arc::new(pgherd(host, port)?.acquire(QueryType::Read, None).await?);
    let held = Contender::new("pgherd, one lease for all turns", move |turns| {
        let lease = lease.clone();
        async move {
            for _ in 0..turns {
                lease.simple_query(SQL).await.expect("it answers");
            }
        }
    });
    Ok([driver.into_floor(), held.into_floor()])
}

async fn contenders(host: &str, port: u16) -> Result<Vec<Contender>> {
    let ours = pgherd(host, port)?;
    let ours = Contender::new("pgherd", move |turns| {
        let pool = ours.clone();
        async move {
            for _ in 0..turns {
                let lease = pool.acquire(QueryType::Read, None).await.expect("the server is up");
                lease.simple_query(SQL).await.expect("it answers");
            }
        }
    });

    let config = driver(host, port);
    let manager = deadpool_postgres::ManagerConfig {
        recycling_method: deadpool_postgres::RecyclingMethod::Fast,
    };
    let manager = deadpool_postgres::Manager::from_config(config.clone(), NoTls, manager);
    let deadpool = deadpool_postgres::Pool::builder(manager)
        .max_size(SIZE)
        .wait_timeout(Some(ACQUIRE_TIMEOUT))
        .runtime(deadpool_postgres::Runtime::Tokio1)
        .build()?;
    let deadpool = Contender::new("deadpool-postgres", move |turns| {
        let pool = deadpool.clone();
        async move {
            for _ in 0..turns {
                let client = pool.get().await.expect("the server is up");
                client.simple_query(SQL).await.expect("it answers");
            }
        }
    });

    let bb8 = bb8::Pool::builder()
        .max_size(SIZE as u32)
        .connection_timeout(ACQUIRE_TIMEOUT)
        .test_on_check_out(false)
        .build(bb8_postgres::PostgresConnectionManager::new(config, NoTls))
        .await?;
    let bb8 = Contender::new("bb8-postgres", move |turns| {
        let pool = bb8.clone();
        async move {
            for _ in 0..turns {
                let client = pool.get().await.expect("the server is up");
                client.simple_query(SQL).await.expect("it answers");
            }
        }
    });

    let options = sqlx::postgres::PgConnectOptions::new()
        .host(host)
        .port(port)
        .database(cluster::DATABASE)
        .username(cluster::USER)
        .password(cluster::PASSWORD);
    let sqlx = sqlx::postgres::PgPoolOptions::new()
        .max_connections(SIZE as u32)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .connect_with(options)
        .await?;
    let sqlx = Contender::new("sqlx", move |turns| {
        let pool = sqlx.clone();
        async move {
            for _ in 0..turns {
                let mut connection = pool.acquire().await.expect("the server is up");
                let query = sqlx::raw_sql(SQL);
                query.execute(&mut *connection).await.expect("it answers");
            }
        }
    });
    Ok(vec![ours, deadpool, bb8, sqlx])
}

/// What is measured on a real server.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Case {
    /// One task, and the server on the same processor.
    OneProcessor,
    /// One task, on all processors.
    OneTask,
    /// Many tasks, on all processors.
    ManyTasks,
}

impl Case {
    fn title(self) -> &'static str {
        match self {
            Self::OneProcessor => "`SELECT 1`, 1 task, all on one processor",
            Self::OneTask => "`SELECT 1`, 1 task",
            Self::ManyTasks => "`SELECT 1`, 64 tasks over 8",
        }
    }

    fn plan(self) -> Plan {
        let one = Plan { tasks: 1, batch: 1, batches: 500, rounds: 21, processes: 15 };
        match self {
            Self::OneProcessor => one,
            // Which processors they find themselves on seldom changes within a round: more of them.
            Self::OneTask => Plan { batches: 100, rounds: 105, ..one },
            Self::ManyTasks => Plan { tasks: TASKS, batches: 40, ..one },
        }
    }

    /// The rounds of one process, beside a server that is there.
    async fn rounds(self, host: &str, port: u16) -> Result<Vec<Row>> {
        let mut contenders = contenders(host, port).await?;
        if matches!(self, Self::OneProcessor) {
            contenders.extend(floors(host, port).await?);
        }
        compare(self.title(), self.plan(), &contenders).await
    }

    /// All processes, one after the other.
    fn measure(self, server: &Node) -> Result<Table> {
        let (title, plan) = (self.title(), self.plan());
        let mut table = Table { title, plan, rows: Vec::new() };
        for number in 1..=plan.processes {
            eprintln!("{title}: process {number} of {}", plan.processes);
            let name = self.to_possible_value().context("a case has no name")?;
            let mut process = Command::new(std::env::current_exe()?);
            process.args(["turns", name.get_name(), &server.host, &server.port.to_string()]);
            let output = process.stderr(Stdio::inherit()).output()?;
            ensure!(output.status.success(), "a process of {title} failed: {}", output.status);
            table.add(serde_json::from_slice(&output.stdout)?);
        }
        Ok(table)
    }
}

/// One process of [`Case::measure`]: prints its rows.
pub(crate) fn turns(case: Case, host: &str, port: u16) -> Result<()> {
    let mut runtime = match case {
        Case::OneProcessor => Builder::new_current_thread(),
        Case::OneTask | Case::ManyTasks => Builder::new_multi_thread(),
    };
    let rows = runtime.enable_all().build()?.block_on(case.rounds(host, port))?;
    Ok(serde_json::to_writer(std::io::stdout(), &rows)?)
}

/// PostgreSQL's version, and the tables.
pub(super) fn run() -> Result<(String, Vec<Table>)> {
    let on_one = on_one_processor(|| {
        let cluster = Cluster::start(&ClusterSpec::default())?;
        Case::OneProcessor.measure(cluster.coordinator())
    })?;
    let cluster = Cluster::start(&ClusterSpec::default())?;
    let server = cluster.coordinator();
    let tables = vec![on_one, Case::OneTask.measure(server)?, Case::ManyTasks.measure(server)?];
    Ok((cluster.version().to_owned(), tables))
}

/// Runs something that starts no thread, and the processes it starts, on one processor: what
/// takes turns need not be woken from afar, which takes longer than the rest, or not, by chance.
fn on_one_processor<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = sched_getaffinity(None)?;
    let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).unwrap_or(0);
    let mut only = CpuSet::new();
    only.set(first);
    sched_setaffinity(None, &only)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    done
}
