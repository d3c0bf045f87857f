//! LISTEN on a connection of its own.
//!
//! In: channels, and the group whose primary is listened to. Out: notifications as they come, and
//! a word wherever some may be missing: the connection was lost and is there again, or the reader
//! was too slow.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use futures_util::task::AtomicWaker;
use pgherd_core::NodeId;
use pgherd_core::retry::RetryConfig;
use pgherd_core::route::QuerySpec;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Notification;
use tracing::{debug, warn};

use super::backlog::{Backlog, Next};
use super::{Ask, Progress};
use crate::cluster::Inner;
use crate::conn::Backend;
use crate::error::Cause;
use crate::health::Follower;
use crate::mutex::Mutex;
use crate::txn::quote_identifier;
use crate::{DistributedPool, Error, ListenerStatistics};

/// PostgreSQL cuts longer names, silently: one would listen to another channel.
const LONGEST_NAME: usize = 63;

/// Between two tries to reconnect, whatever `[retry]` says.
const LEAST_WAIT: Duration = Duration::from_millis(100);

/// What a [`Listener`] tells. See [`Listener`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ListenEvent {
    /// Somebody has called `NOTIFY`.
    Notification(Notification),
    /// The connection was lost, and the channels are listened to again, on whichever node is the
    /// primary now. What was notified in between is lost: look at the data themselves.
    Reconnected,
    /// The reader was too slow: so many events were dropped, the oldest first.
    Missed(u64),
}

/// Notifications of some channels as they come: a [`Stream`] of [`ListenEvent`]. Made by
/// [`DistributedPool::listen`] and [`Request::listen`](crate::Request::listen).
///
/// It has a connection of its own, beside those of the pool. A lost one is opened again, however
/// long that takes, with the waits of `[retry]`; and so is one to a node that is not the primary any
/// more, also when that node is frozen and says nothing. The newest
/// events wait for a reader, as many as `pool.listener_backlog`; the node itself is never made to
/// wait, because its queue of notifications is everybody's.
///
/// The stream ends when the pool is closed or dropped. Dropping it closes the connection.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// use futures_util::StreamExt;
/// use pgherd::ListenEvent;
///
/// let mut news = pool.listen(["orders"]).await?;
/// while let Some(event) = news.next().await {
///     match event {
///         ListenEvent::Notification(order) => println!("order {}", order.payload()),
///         // Some may be missing: what is new has to be looked up.
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "events do nothing unless they are read"]
pub struct Listener {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

pub(super) struct Shared {
    channels: Vec<String>,
    // Held for one push or one pop.
    state: Mutex<State>,
    reader: AtomicWaker,
}

struct State {
    backlog: Backlog<ListenEvent>,
    is_over: bool,
}

impl Listener {
    /// The channels that are listened to.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let news = pool.listen(["orders", "payments"]).await?;
    /// assert_eq!(news.channels(), ["orders", "payments"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn channels(&self) -> &[String] {
        &self.shared.channels
    }
}

impl Stream for Listener {
    type Item = ListenEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<ListenEvent>> {
        // Registered before looking, so that an event in between is not missed.
        self.shared.reader.register(cx.waker());
        let mut state = self.shared.state.lock();
        match state.backlog.pop() {
            Some(Next::Event(event)) => Poll::Ready(Some(event)),
            Some(Next::Missed(events)) => Poll::Ready(Some(ListenEvent::Missed(events))),
            None if state.is_over => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        self.shared.state.lock().is_over = true;
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("channels", &self.channels()).finish_non_exhaustive()
    }
}

impl Shared {
    fn push(&self, event: ListenEvent) {
        self.state.lock().backlog.push(event);
        self.reader.wake();
    }

    /// How its reader keeps up; `None` once it is over.
    pub(super) fn statistics(&self) -> Option<ListenerStatistics> {
        let state = self.state.lock();
        (!state.is_over).then(|| ListenerStatistics {
            channels: self.channels.clone(),
            backlog: state.backlog.len(),
            limit: state.backlog.limit(),
            dropped: state.backlog.dropped(),
        })
    }
}

/// Begins to listen on the node where `ask` leads, within its time.
pub(super) async fn listen(
    pool: &DistributedPool,
    ask: &Ask,
    channels: Vec<String>,
) -> Result<Listener, Error> {
    let bad = channels.iter().find(|name| name.is_empty() || name.len() > LONGEST_NAME);
    if let Some(bad) = bad {
        let problem = format!(
            "channel `{bad}` has {} bytes: a channel's name has 1 to {LONGEST_NAME}",
            bad.len()
        );
        return Err(Error::new(Cause::Usage(problem)));
    }
    let backlog = Backlog::new(pool.settings().pool.listener_backlog as usize);
    let state = Mutex::new(State { backlog, is_over: false });
    let shared = Arc::new(Shared { channels, state, reader: AtomicWaker::new() });
    let listening = Listening { spec: ask.query.clone(), shared: shared.clone() };
    let retry = *pool.retry_config();
    let progress = Progress::of(ask);
    let connected = progress.within(pin!(listening.begin(pool, retry, &progress))).await?;
    pool.listeners().note(&shared);
    let (weak, closing) = (pool.downgrade(), pool.closing());
    let follower = pool.health().follower();
    let task = pool.runtime().spawn(listening.go_on(connected, weak, follower, closing, retry));
    Ok(Listener { shared, task })
}

struct Listening {
    spec: QuerySpec,
    shared: Arc<Shared>,
}

/// A connection that listens, and the node it leads to.
struct Connected {
    backend: Backend,
    node: NodeId,
}

impl Listening {
    /// Tries by the schedule.
    async fn begin(
        &self,
        pool: &DistributedPool,
        retry: RetryConfig,
        progress: &Progress,
    ) -> Result<Connected, Error> {
        let mut tries = 1;
        loop {
            let error = match self.connect(pool, progress, tries).await {
                Ok(connected) => return Ok(connected),
                Err(error) => error,
            };
            let delay = retry.delay(tries + 1, crate::random::fraction());
            let Some(delay) = delay.filter(|_| error.retry().is_worthwhile()) else {
                return Err(error.after_tries(tries));
            };
            progress.failed(error);
            tokio::time::sleep(delay).await;
            progress.begins_anew();
            tries += 1;
        }
    }

    /// One try, on the primary of this moment.
    async fn connect(
        &self,
        pool: &DistributedPool,
        progress: &Progress,
        tries: u32,
    ) -> Result<Connected, Error> {
        let route = pool.route_now(&self.spec).await?;
        progress.waits_at(pool.node_pool(route.node), tries);
        let dialer = pool.node_pool(route.node).dialer();
        let backend = dialer.open(|| ()).await.map_err(|error| {
            let (node, connect) = (dialer.node().clone(), Arc::new(error));
            Error::from(crate::AcquireError::NotOpened { node, connect })
        })?;
        if backend.process_id().is_none() {
            let problem = format!(
                "{} is behind a pooler, which gives nobody a connection of their own, as LISTEN \
                 needs: name the node itself for it",
                dialer.node()
            );
            return Err(Error::new(Cause::Usage(problem)).at(dialer.node().clone()));
        }
        let shared = self.shared.clone();
        backend.on_notification(move |one| shared.push(ListenEvent::Notification(one)));
        let listen = |channel| format!("LISTEN {};", quote_identifier(channel));
        let script: String = self.shared.channels.iter().map(|channel| listen(channel)).collect();
        match backend.client().batch_execute(&script).await {
            Ok(()) => Ok(Connected { backend, node: route.node }),
            Err(error) => {
                let is_lost = backend.is_dead();
                // LISTEN may be said twice.
                Err(Error::statement(error, dialer.node().clone(), is_lost, false))
            }
        }
    }

    /// Keeps listening until the pool is gone.
    async fn go_on(
        self,
        mut connected: Connected,
        pool: Weak<Inner>,
        follower: Follower,
        mut closing: watch::Receiver<bool>,
        retry: RetryConfig,
    ) {
        // `Err` is a pool that was dropped, which is as closed.
        let closed = async { drop(closing.wait_for(|is_closed| *is_closed).await) };
        let listen = async {
            loop {
                let Connected { backend, node } = connected;
                tokio::select! {
                    () = backend.ended() => {}
                    () = follower.deposed(node) => debug!("a listener leaves a deposed primary"),
                }
                backend.cut();
                let Some(next) = self.reconnect(&pool, retry).await else { return };
                connected = next;
                self.shared.push(ListenEvent::Reconnected);
            }
        };
        tokio::select! {
            () = closed => {}
            () = listen => {}
        }
        self.shared.state.lock().is_over = true;
        self.shared.reader.wake();
    }

    /// Tries until it works; `None` when there is no pool any more.
    async fn reconnect(&self, pool: &Weak<Inner>, retry: RetryConfig) -> Option<Connected> {
        let without_end = RetryConfig { max_retries: u32::MAX, ..retry };
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let delay =
                without_end.delay(tries, crate::random::fraction()).unwrap_or(retry.max_backoff);
            // The node that refuses is not hammered.
            let least = if tries > 1 { LEAST_WAIT } else { Duration::ZERO };
            tokio::time::sleep(delay.max(least)).await;
            let pool = pool.upgrade().map(DistributedPool::of)?;
            match self.connect(&pool, &Progress::unlimited(), tries).await {
                Ok(connected) => return Some(connected),
                Err(error) if tries == 1 => debug!(%error, "a listener has no connection"),
                Err(error) => warn!(%error, tries, "a listener has no connection"),
            }
        }
    }
}
