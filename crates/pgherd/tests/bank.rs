//! Money between shards, while the program and the shards are killed.
//!
//! A child process transfers money between random accounts of three shards, in 32 tasks, and
//! tells every outcome before it goes on. Its parent kills it with SIGKILL at each step of the
//! commit in turn, and kills and restarts shards. In the end the sum is what it was, nothing is
//! left prepared, and each transfer is where it was said to be, on both shards or on neither.
//!
//! `PGHERD_BANK_KILLS` is how often the child is killed at each step: 2, or as it says.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgherd::{CommitStep, DistributedPool, Error, ErrorKind, Key, Settings, ShardFunction};
use pgherd_lab::node::StopMode;
use pgherd_lab::{Cluster, ClusterSpec};

const SHARDS: u16 = 3;
const ACCOUNTS: usize = 10;
const OPENING: i64 = 1000;
const TASKS: u64 = 32;
const STEPS: [&str; 5] = ["preparing", "prepared", "deciding", "decided", "finished"];

fn name_of(step: CommitStep) -> &'static str {
    match step {
        CommitStep::Preparing => "preparing",
        CommitStep::Prepared(_) => "prepared",
        CommitStep::Deciding => "deciding",
        CommitStep::Decided => "decided",
        _ => "finished",
    }
}

/// The owners of the accounts of each shard.
fn accounts() -> Vec<Vec<String>> {
    let mut all = vec![Vec::new(); usize::from(SHARDS)];
    for number in 0.. {
        let owner = format!("account {number}");
        let bucket = ShardFunction::Md5.bucket(&Key::from(owner.as_str()), u32::from(SHARDS));
        let of_shard = &mut all[bucket as usize];
        if of_shard.len() < ACCOUNTS {
            of_shard.push(owner);
        }
        if all.iter().all(|of_shard| of_shard.len() == ACCOUNTS) {
            break;
        }
    }
    all
}

fn settings(toml: &str) -> Settings {
    let more = "[pool]\nsize = 50\n[health]\ninterval = \"200ms\"\n[transactions]\n\
                grace = \"1s\"\nrecovery_interval = \"300ms\"\ndeadlock_interval = \"100ms\"\n";
    Settings::from_toml(&format!("{toml}\n{more}"), "bank").unwrap()
}

// The child.

/// Said before anything else is done about it.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{line}").unwrap();
    out.flush().unwrap();
}

#[test]
#[ignore = "run by the_books_balance_whoever_is_killed in a process of its own"]
fn child() {
    // More threads than tasks that may be stopped at the step at the same time.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(4).enable_all().build().unwrap().block_on(transfer_forever());
}

async fn transfer_forever() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let (step, number) = (variable("BANK_STEP"), variable("BANK_CHILD"));
    let after: u32 = variable("BANK_AFTER").parse().unwrap();
    let settings = settings(&variable("BANK_SETTINGS"));
    let seen = Arc::new(AtomicU32::new(0));
    let hook = move |_: &str, at: CommitStep| {
        if name_of(at) == step && seen.fetch_add(1, Ordering::SeqCst) >= after {
            tell("at the step");
            // Until the parent kills all of it.
            loop {
                std::thread::park();
            }
        }
    };
    let pool = DistributedPool::builder()
        .with_settings(|all| *all = settings.clone())
        .user(settings.users[0].name.clone())
        .password(settings.users[0].password.expose())
        .on_commit_step(hook)
        .build()
        .unwrap();
    let tasks = (0..TASKS).map(|task| {
        let (pool, number) = (pool.clone(), number.clone());
        tokio::spawn(async move {
            let mut random = Random(task ^ number.parse::<u64>().unwrap() << 20);
            let accounts = accounts();
            for turn in 0.. {
                let id = format!("{number}-{task}-{turn}");
                match transfer(&pool, &accounts, &mut random, &id).await {
                    Ok(()) => tell(&format!("committed {id}")),
                    Err(error) => {
                        if error.sqlstate() == Some("40P01") {
                            tell("deadlock");
                        }
                        match error.kind() {
                            ErrorKind::InDoubt => tell(&format!("unknown {id}")),
                            _ => tell(&format!("rolled-back {id}")),
                        }
                    }
                }
            }
        })
    });
    futures_util::future::join_all(tasks).await;
}

async fn transfer(
    pool: &DistributedPool,
    accounts: &[Vec<String>],
    random: &mut Random,
    id: &str,
) -> Result<(), Error> {
    let from = random.below(accounts.len());
    let to = (from + 1 + random.below(accounts.len() - 1)) % accounts.len();
    let from = &accounts[from][random.below(ACCOUNTS)];
    let to = &accounts[to][random.below(ACCOUNTS)];
    let amount = i64::try_from(1 + random.below(50)).unwrap();
    let transaction = pool.distributed_transaction([from.as_str(), to.as_str()]).await?;
    for (owner, amount) in [(from, -amount), (to, amount)] {
        let cursor = transaction.for_key(owner.as_str())?;
        let sql = "UPDATE accounts SET balance = balance + $2 WHERE owner = $1";
        cursor.execute(sql, &[owner, &amount]).await?;
        cursor.execute("INSERT INTO transfers VALUES ($1)", &[&id]).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// SplitMix64: small, and the same everywhere for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % limit as u64).unwrap()
    }
}

// The parent.

/// What the children have said.
#[derive(Default)]
struct Told {
    committed: BTreeSet<String>,
    rolled_back: BTreeSet<String>,
    unknown: u64,
    deadlocks: u64,
}

impl Told {
    /// Listens until the child is at its step, or has ended.
    fn listen(&mut self, child: &mut Child, mut each: impl FnMut()) -> bool {
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            // libtest's own words may stand before ours.
            let Some(at) = line.find('@') else { continue };
            match line[at + 1..].split_once(' ') {
                Some(("committed", id)) => drop(self.committed.insert(id.to_owned())),
                Some(("rolled-back", id)) => drop(self.rolled_back.insert(id.to_owned())),
                Some(("unknown", _)) => self.unknown += 1,
                Some(("at", _)) => return true,
                _ => self.deadlocks += 1,
            }
            each();
        }
        false
    }
}

fn spawn(toml: &str, number: usize, step: &str, after: usize) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture"])
        .env("BANK_SETTINGS", toml)
        .env("BANK_CHILD", number.to_string())
        .env("BANK_STEP", step)
        .env("BANK_AFTER", after.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn the_books_balance_whoever_is_killed() {
    let kills: usize = std::env::var("PGHERD_BANK_KILLS").map_or(2, |kills| kills.parse().unwrap());
    let spec = ClusterSpec { shards: SHARDS, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let toml = cluster.settings_toml("");
    let pool = DistributedPool::from_settings(settings(&toml)).unwrap();
    open_accounts(&pool).await;

    let mut told = Told::default();
    let mut killed: BTreeMap<&str, usize> = BTreeMap::new();
    let mut restarts = 0;
    let mut random = Random(7);
    for round in 0..kills {
        for (place, step) in STEPS.into_iter().enumerate() {
            let number = round * STEPS.len() + place;
            let mut child = spawn(&toml, number, step, 30 + random.below(60));
            // In every third round a shard dies under it, too, and comes back.
            let victim = (number % 3 == 2).then(|| cluster.workers().nth(random.below(3)).unwrap());
            let mut said = 0;
            let is_there = told.listen(&mut child, || {
                said += 1;
                if let (10, Some(victim)) = (said, victim) {
                    victim.kill().unwrap();
                    victim.start().unwrap();
                    restarts += 1;
                }
            });
            assert!(is_there, "child {number} has ended by itself before {step}");
            child.kill().unwrap();
            child.wait().unwrap();
            *killed.entry(step).or_default() += 1;
        }
    }
    // One more, of which nothing is stopped: it ends once it has said enough.
    let mut child = spawn(&toml, 1_000_000, "never", 0);
    let enough = told.committed.len() + 300;
    let mut last = child.stdout.take().map(BufReader::new).unwrap().lines();
    let mut count = told.committed.len();
    while count < enough {
        let line = last.next().unwrap().unwrap();
        if let Some((_, id)) = line.split_once("@committed ") {
            told.committed.insert(id.to_owned());
            count += 1;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    cluster.workers().for_each(|node| node.restart(StopMode::Immediate).unwrap());

    wait_recovered(&cluster, &pool).await;
    let total: i64 = cluster
        .workers()
        .map(|node| node.psql("SELECT sum(balance) FROM accounts").unwrap().parse::<i64>().unwrap())
        .sum();
    assert_eq!(total, OPENING * i64::from(SHARDS) * i64::try_from(ACCOUNTS).unwrap());
    check_transfers(&cluster, &told);
    println!(
        "{} transfers committed, {} rolled back, {} unknown, {} deadlocks ended; killed at each \
         step: {killed:?}; shards killed and restarted: {restarts}",
        told.committed.len(),
        told.rolled_back.len(),
        told.unknown,
        told.deadlocks,
    );
}

async fn open_accounts(pool: &DistributedPool) {
    pool.install_decision_table(&[]).await.unwrap();
    for (shard, owners) in (0..).map(pgherd::ShardId).zip(accounts()) {
        let request = || pool.write().shard(shard);
        request()
            .batch(
                "CREATE TABLE accounts (owner text PRIMARY KEY, balance int8 NOT NULL); \
                 CREATE TABLE transfers (id text PRIMARY KEY)",
            )
            .await
            .unwrap();
        for owner in owners {
            let open = "INSERT INTO accounts VALUES ($1, $2)";
            request().execute(open, &[&owner, &OPENING]).await.unwrap();
        }
    }
}

/// Recovery runs by itself; it is waited for.
async fn wait_recovered(cluster: &Cluster, pool: &DistributedPool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let left = || -> u64 {
        let count = |node: &pgherd_lab::Node| {
            let sql = "SELECT count(*) FROM pg_prepared_xacts";
            node.psql(sql).unwrap().parse::<u64>().unwrap()
        };
        cluster.workers().map(count).sum()
    };
    while left() > 0 {
        assert!(Instant::now() < deadline, "still prepared after a minute: {}", left());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let recovered = pool.recover(Duration::ZERO).await;
    assert_eq!(recovered.problems, Vec::<String>::new());
}

fn check_transfers(cluster: &Cluster, told: &Told) {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for node in cluster.workers() {
        let ids = node.psql("SELECT id FROM transfers").unwrap();
        ids.lines().for_each(|id| *places.entry(id.to_owned()).or_default() += 1);
    }
    let halves: Vec<_> = places.iter().filter(|(_, count)| **count != 2).collect();
    assert!(halves.is_empty(), "on one shard only: {halves:?}");
    let lost: Vec<_> = told.committed.iter().filter(|id| !places.contains_key(*id)).collect();
    assert!(lost.is_empty(), "said to be committed, and not there: {lost:?}");
    let risen: Vec<_> = told.rolled_back.iter().filter(|id| places.contains_key(*id)).collect();
    assert!(risen.is_empty(), "said to be rolled back, and there: {risen:?}");
}
