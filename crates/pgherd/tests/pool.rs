//! The life of backends, as settings and hooks shape it, against a real server.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgherd::{AcquireError, ErrorKind, QueryType, Start, Verdict};
use world::{Shape, World, until};

#[tokio::test]
async fn a_pool_that_fails_fast_has_a_backend_on_each_node_or_is_not_built() {
    let world = World::start(Shape { shards: 1, ..Shape::default() });
    let pool = world.builder().min_idle(2).start(Start::FailFast).await.unwrap();
    for node in pool.statistics().nodes {
        assert!(node.idle >= 2, "{node:?}");
    }
    world.kill("shard-0");
    let error = world.builder().start(Start::FailFast).await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::Acquire, Some("shard-0")));
    let lazy = world.builder().start(Start::Lazy).await.unwrap();
    lazy.write().query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn what_the_hook_on_open_sets_every_borrower_finds_and_its_error_closes_the_backend() {
    let world = World::start(Shape::default());
    let count = Arc::new(AtomicU32::new(0));
    let builder = world.builder().pool_size(1).on_open({
        let count = count.clone();
        move |client| {
            let first = count.fetch_add(1, Ordering::Relaxed) == 0;
            Box::pin(async move {
                if first {
                    return Err("not this one".into());
                }
                client.batch_execute("SET application_name = 'set by a hook'").await?;
                Ok(())
            })
        }
    });
    let pool = builder.build().unwrap();
    let lease = pool.acquire(QueryType::Write, None).await;
    let lease = match lease {
        Ok(lease) => lease,
        Err(error) => panic!("tried again after the hook's error: {error:#}"),
    };
    drop(lease);
    for _ in 0..3 {
        let row = pool.write().query_one("SHOW application_name", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "set by a hook");
    }
    let node = &pool.statistics().nodes[0];
    assert_eq!((node.opens, node.failed_opens), (1, 1), "the backend is clean, and kept");
}

#[tokio::test]
async fn hooks_on_acquire_and_release_may_close_a_backend() {
    let world = World::start(Shape::default());
    let (refuse, dismiss) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let once = |flag: &AtomicU32| match flag.swap(0, Ordering::Relaxed) {
        0 => Verdict::Keep,
        _ => Verdict::Close,
    };
    let builder = world.builder().on_acquire({
        let refuse = refuse.clone();
        move |_| once(&refuse)
    });
    let builder = builder.on_release({
        let dismiss = dismiss.clone();
        move |_| once(&dismiss)
    });
    let pool = builder.build().unwrap();
    let pid = async || -> i32 {
        pool.write().query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
    };
    let first = pid().await;
    refuse.store(1, Ordering::Relaxed);
    let second = pid().await;
    assert_ne!(first, second, "another is lent instead");
    dismiss.store(1, Ordering::Relaxed);
    assert_eq!(pid().await, second);
    assert_ne!(pid().await, second, "closed at its release");
}

#[tokio::test]
async fn a_backend_that_froze_while_it_was_idle_costs_no_statement() {
    let world = World::start(Shape::default());
    let pool = world
        .builder()
        .with_settings(|settings| settings.pool.check_after = Duration::ZERO)
        .build()
        .unwrap();
    let pid = "SELECT pg_backend_pid()";
    let frozen: i32 = pool.write().query_one(pid, &[]).await.unwrap().get(0);
    world.signal(frozen, "STOP");
    let next: i32 = pool.write().query_one(pid, &[]).await.unwrap().get(0);
    world.signal(frozen, "CONT");
    assert_ne!(frozen, next);
    assert_eq!(pool.statistics().counters.retries, 0, "the acquire replaced it");
}

#[tokio::test]
async fn a_pool_is_resized_while_it_is_used() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    let first = pool.acquire(QueryType::Write, None).await.unwrap();
    let second = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(QueryType::Write, None).await.unwrap() }
    });
    until("the second waits", async || pool.statistics().nodes[0].waiting == 1).await;
    pool.resize(2);
    let second = second.await.unwrap();
    pool.resize(1);
    drop((first, second));
    let node = &pool.statistics().nodes[0];
    assert_eq!((node.idle, node.busy, node.closes), (1, 0, 1));
    assert_eq!(pool.close_within(Duration::from_secs(10)).await, 0);
}

#[tokio::test]
async fn a_lease_that_is_held_for_too_long_is_named_and_the_next_one_told_why_it_waits() {
    let world = World::start(Shape::default());
    let events = Arc::new(Mutex::new(BTreeSet::new()));
    let pool = world
        .builder()
        .pool_size(1)
        .acquire_timeout(Duration::from_millis(100))
        .with_settings(|settings| settings.pool.leak_after = Duration::from_millis(200))
        .with_settings(|settings| settings.pool.max_waiting = 1)
        .on_pool_event({
            let events = events.clone();
            move |node, event| {
                let name = format!("{event:?}");
                let name = name.split(' ').next().unwrap_or_default().to_owned();
                events.lock().unwrap().insert(format!("{node} {name}"));
            }
        })
        .build()
        .unwrap();
    // Opening it may take longer than the acquires of this pool wait.
    until("it is open", async || pool.acquire(QueryType::Write, None).await.is_ok()).await;
    let lease = pool.acquire(QueryType::Write, None).await.unwrap();
    until("it is reported", async || pool.statistics().nodes[0].overdue_total == 1).await;
    let node = &pool.statistics().nodes[0];
    assert!(node.overdue[0].taken_at.contains("tests/pool.rs"), "{node:?}");

    let (first, second) =
        tokio::join!(pool.acquire(QueryType::Write, None), pool.acquire(QueryType::Write, None));
    let (first, second) = (first.unwrap_err(), second.unwrap_err());
    let (first, second) = (first.acquire_error().unwrap(), second.acquire_error().unwrap());
    assert!(matches!(first, AcquireError::TimedOut { .. }), "{first}");
    assert!(matches!(second, AcquireError::QueueFull { .. }), "{second}");
    drop(lease);
    let events = events.lock().unwrap();
    for name in ["Opened", "Acquired", "Overdue", "TimedOut", "QueueFull", "Released"] {
        assert!(events.contains(&format!("coordinator {name}")), "{name}: {events:?}");
    }
}
