//! Notifications, from servers that are killed.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use futures_util::StreamExt;
use pgherd::{ErrorKind, ListenEvent, Listener, QueryType, ShardId};
use world::{Shape, World, until};

async fn next(listener: &mut Listener) -> (String, String) {
    match listener.next().await {
        Some(ListenEvent::Notification(one)) => {
            (one.channel().to_owned(), one.payload().to_owned())
        }
        other => panic!("{other:?}"),
    }
}

const LISTENERS: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'";

#[tokio::test]
async fn notifications_come_in_order_from_the_node_that_was_asked() {
    let world = World::start(Shape { shards: 1, ..Shape::ONE });
    let pool = world.pool();
    let mut news = pool.listen(["news", "Odd \"Name\""]).await.unwrap();
    assert_eq!(news.channels(), ["news", "Odd \"Name\""]);
    let mut shard = pool.write().shard(ShardId(0)).listen(["news"]).await.unwrap();
    for n in 0..3 {
        pool.write().execute("SELECT pg_notify('news', $1)", &[&format!("{n}")]).await.unwrap();
    }
    let odd = "SELECT pg_notify('Odd \"Name\"', '')";
    pool.write().execute(odd, &[]).await.unwrap();
    pool.write().shard(ShardId(0)).batch("NOTIFY news, 'of the shard'").await.unwrap();
    for n in 0..3 {
        assert_eq!(next(&mut news).await, ("news".to_owned(), n.to_string()));
    }
    assert_eq!(next(&mut news).await, ("Odd \"Name\"".to_owned(), String::new()));
    assert_eq!(next(&mut shard).await, ("news".to_owned(), "of the shard".to_owned()));

    assert_eq!(world.sql("coordinator", LISTENERS), "1");
    drop(news);
    until("its session ends", async || world.sql("coordinator", LISTENERS) == "0").await;
    // The pool's own end ends the stream.
    pool.close().await;
    assert!(shard.next().await.is_none());
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_said() {
    let world = World::start(Shape::default());
    let pool = world.pool();
    let mut news = pool.listen(["news"]).await.unwrap();
    world.terminate_pooled("coordinator");
    assert!(matches!(news.next().await, Some(ListenEvent::Reconnected)));
    let notify = "NOTIFY news, 'again'";
    world.sql("coordinator", notify);
    assert_eq!(next(&mut news).await.1, "again");

    world.kill("coordinator");
    world.start_node("coordinator");
    assert!(matches!(news.next().await, Some(ListenEvent::Reconnected)));
    world.sql("coordinator", notify);
    assert_eq!(next(&mut news).await.1, "again");
    drop(pool);
    assert!(news.next().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_leaves_a_frozen_primary_when_another_node_is_promoted() {
    let world = World::start(Shape { replicas: 1, ..Shape::ONE });
    let soon = |settings: &mut pgherd::Settings| {
        settings.health.timeout = Duration::from_millis(500);
    };
    let pool = world.builder().with_settings(soon).build().unwrap();
    let mut news = pool.listen(["news"]).await.unwrap();
    world.freeze("coordinator");
    world.promote("coordinator-r1");
    assert!(matches!(news.next().await, Some(ListenEvent::Reconnected)));
    world.sql("coordinator-r1", "NOTIFY news, 'of the new one'");
    assert_eq!(next(&mut news).await.1, "of the new one");
    world.thaw("coordinator");
}

#[tokio::test]
async fn a_reader_who_is_too_slow_is_told_how_much_went_and_gets_the_newest() {
    let world = World::start(Shape::default());
    let small = |settings: &mut pgherd::Settings| settings.pool.listener_backlog = 100;
    let pool = world.builder().with_settings(small).build().unwrap();
    let mut slow = pool.listen(["news"]).await.unwrap();
    let mut quick = pool.listen(["news"]).await.unwrap();
    let all = 50_000;
    let notify = "SELECT count(pg_notify('news', n::text)) FROM generate_series(1, $1::int4) n";
    pool.write().execute(notify, &[&all]).await.unwrap();
    let mut seen = 0;
    while seen < all {
        seen = match quick.next().await.unwrap() {
            ListenEvent::Notification(one) => one.payload().parse().unwrap(),
            ListenEvent::Missed(_) => seen,
            other => panic!("{other:?}"),
        };
    }
    until("the slow one has all that it will get", async || {
        let listeners = pool.statistics().listeners;
        assert!(listeners.iter().all(|one| one.limit == 100 && one.backlog <= 100));
        listeners.iter().any(|one| one.backlog == 100 && one.dropped == all as u64 - 100)
    })
    .await;
    drop(quick);
    let listeners = pool.statistics().listeners;
    assert_eq!((listeners.len(), &*listeners[0].channels), (1, &["news".to_owned()][..]));
    let (mut missed, mut told) = (0, 0);
    while missed + told < u64::try_from(all).unwrap() {
        match slow.next().await.unwrap() {
            ListenEvent::Notification(one) => {
                told += 1;
                assert_eq!(one.payload().parse(), Ok(missed + told), "in order behind the gap");
            }
            ListenEvent::Missed(events) => missed += events,
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0 && told > 0, "{missed} missed, {told} told");
}

#[tokio::test]
async fn what_cannot_be_listened_to_is_refused() {
    let world = World::start(Shape::default());
    let pool = world.pool();
    for name in ["", &"x".repeat(64)] {
        let error = pool.listen([name]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
    }
    let error = pool.write().shard(ShardId(7)).listen(["news"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Route);
    // A lease that listens is no listener.
    let lease = pool.acquire(QueryType::Write, None).await.unwrap();
    lease.batch_execute("LISTEN news").await.unwrap();
    drop(lease);
    world.kill("coordinator");
    let once = world.builder().retry(pgherd::RetryConfig::never()).build().unwrap();
    let error = once.listen(["news"]).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (ErrorKind::Acquire, 1));
}
