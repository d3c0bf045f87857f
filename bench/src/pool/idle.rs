//! Acquire and release alone: pools of things that do nothing.

use std::sync::Arc;

use anyhow::Result;
use pgherd::ConnectError;
use pgherd::pool::{CloseReason, Fate, Limits, Manager, Pool};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

use super::contender::{ACQUIRE_TIMEOUT, Contender, SIZE, TASKS};
use super::measure::{Plan, Table, compare};

/// What is lent.
struct Nothing;

struct Ours(Arc<str>);

impl Manager for Ours {
    type Backend = Nothing;

    fn node(&self) -> &Arc<str> {
        &self.0
    }

    async fn open(&self, _: impl FnOnce() + Send + 'static) -> Result<Nothing, ConnectError> {
        Ok(Nothing)
    }

    fn is_alive(&self, _: &Nothing) -> bool {
        true
    }

    async fn check(&self, _: &Nothing) -> bool {
        true
    }

    fn fate(&self, _: &Nothing) -> Fate {
        Fate::Keep
    }

    fn close(&self, _: Nothing, _: CloseReason) {}
}

struct Deadpools;

impl deadpool::managed::Manager for Deadpools {
    type Type = Nothing;
    type Error = std::convert::Infallible;

    async fn create(&self) -> Result<Nothing, Self::Error> {
        Ok(Nothing)
    }

    async fn recycle(
        &self,
        _: &mut Nothing,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Self::Error> {
        Ok(())
    }
}

struct Bb8s;

impl bb8::ManageConnection for Bb8s {
    type Connection = Nothing;
    type Error = std::convert::Infallible;

    async fn connect(&self) -> Result<Nothing, Self::Error> {
        Ok(Nothing)
    }

    async fn is_valid(&self, _: &mut Nothing) -> Result<(), Self::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Nothing) -> bool {
        false
    }
}

/// Holds for as long as another task's turn, or not at all.
async fn hold(holds: bool) {
    if holds {
        yield_now().await;
    }
}

async fn contenders(holds: bool) -> Result<Vec<Contender>> {
    let limits = Limits { size: SIZE, acquire_timeout: ACQUIRE_TIMEOUT, ..Limits::default() };
    let ours = Pool::new(Ours("none".into()), limits, Handle::current());
    let ours = Contender::new("pgherd", move |turns| {
        let pool = ours.clone();
        async move {
            for _ in 0..turns {
                let lent = pool.acquire().await.expect("nothing can fail");
                hold(holds).await;
                drop(lent);
            }
        }
    });

    let managed: deadpool::managed::Pool<Deadpools> = deadpool::managed::Pool::builder(Deadpools)
        .max_size(SIZE)
        .wait_timeout(Some(ACQUIRE_TIMEOUT))
        .runtime(deadpool::Runtime::Tokio1)
        .build()?;
    let managed = Contender::new("deadpool, managed", move |turns| {
        let pool = managed.clone();
        async move {
            for _ in 0..turns {
                let lent = pool.get().await.expect("nothing can fail");
                hold(holds).await;
                drop(lent);
            }
        }
    });

    let config = deadpool::unmanaged::PoolConfig {
        max_size: SIZE,
        timeout: Some(ACQUIRE_TIMEOUT),
        runtime: Some(deadpool::Runtime::Tokio1),
    };
    let unmanaged = deadpool::unmanaged::Pool::from_config(&config);
    for _ in 0..SIZE {
        unmanaged.try_add(Nothing).map_err(|(_, error)| error)?;
    }
    let unmanaged = Contender::new("deadpool, unmanaged", move |turns| {
        let pool = unmanaged.clone();
        async move {
            for _ in 0..turns {
                let lent = pool.get().await.expect("nothing can fail");
                hold(holds).await;
                drop(lent);
            }
        }
    });

    let bb8 = bb8::Pool::builder()
        .max_size(SIZE as u32)
        .connection_timeout(ACQUIRE_TIMEOUT)
        .test_on_check_out(false)
        .build(Bb8s)
        .await?;
    let bb8 = Contender::new("bb8", move |turns| {
        let pool = bb8.clone();
        async move {
            for _ in 0..turns {
                let lent = pool.get().await.expect("nothing can fail");
                hold(holds).await;
                drop(lent);
            }
        }
    });
    let permits = Arc::new(Semaphore::new(SIZE));
    let floor = Contender::new("tokio's semaphore, which lends nothing", move |turns| {
        let permits = permits.clone();
        async move {
            for _ in 0..turns {
                let permit = permits.acquire().await.expect("it is never closed");
                hold(holds).await;
                drop(permit);
            }
        }
    });
    Ok(vec![ours, managed, unmanaged, bb8, floor.into_floor()])
}

pub(super) async fn run() -> Result<Vec<Table>> {
    let (at_once, held) = (contenders(false).await?, contenders(true).await?);
    let one = Plan { tasks: 1, batch: 100, batches: 500, rounds: 61, processes: 1 };
    let many = Plan { tasks: TASKS, batches: 15, ..one };
    let queued = Plan { tasks: TASKS, batch: 1, batches: 750, ..one };
    let mut tables = Vec::new();
    for (title, plan, contenders) in [
        ("1 task", one, &at_once),
        ("64 tasks over 8, released at once", many, &at_once),
        ("64 tasks over 8, each held for another task's turn", queued, &held),
    ] {
        tables.push(Table { title, plan, rows: compare(title, plan, contenders).await? });
    }
    Ok(tables)
}
