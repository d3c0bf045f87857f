//! One connection and the right to move its bytes.
//!
//! tokio-postgres hands out a `Connection` that somebody must poll. A task of its own does,
//! and so may whoever releases a lease: what the client object has queued is then on the
//! socket, and known to the tap, before anything is concluded from the backend's standing.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio_postgres::{AsyncMessage, Connection, Notification};
use tracing::debug;

use super::socket::TappedSocket;
use super::tap::Tap;
use super::tls::Bound;
use crate::mutex::Mutex;

type TappedConnection = Connection<TappedSocket, Bound<TappedSocket>>;
type Hear = Box<dyn Fn(Notification) + Send + Sync>;
type Message = Option<Result<AsyncMessage, tokio_postgres::Error>>;

/// See the module's header.
pub(super) struct Line {
    tap: Arc<Tap>,
    moving: Mutex<Moving>,
    // Who is told of notifications. The first to ask is, for good.
    hear: OnceLock<Hear>,
}

struct Moving {
    // `None` once it has ended.
    connection: Option<TappedConnection>,
    // That of the task: whoever else polls does so in its name, and no wake-up is lost.
    waker: Waker,
}

impl Line {
    pub(super) fn new(connection: TappedConnection, tap: Arc<Tap>) -> Self {
        let waker = Waker::noop().clone();
        let moving = Mutex::new(Moving { connection: Some(connection), waker });
        Self { tap, moving, hear: OnceLock::new() }
    }

    pub(super) fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Calls `hear` for each notification that [`Self::run`] comes by.
    pub(super) fn on_notification(&self, hear: Hear) {
        // A backend that listens has one listener.
        let _ = self.hear.set(hear);
    }

    /// Moves bytes until the connection ends.
    pub(super) async fn run(&self, node: &str) {
        loop {
            let message = poll_fn(|cx| {
                let mut moving = self.moving.lock();
                moving.waker.clone_from(cx.waker());
                moving.poll(cx)
            });
            match message.await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    let (code, text) = (notice.code().code(), notice.message());
                    debug!(node, code, text, "notice");
                }
                Some(Ok(AsyncMessage::Notification(notification))) => {
                    if let Some(hear) = self.hear.get() {
                        hear(notification);
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    debug!(node, %error, "connection ended");
                    break;
                }
                None => break,
            }
        }
        self.cut();
    }

    /// Moves what can be moved now: afterwards all that the client object had queued is on the
    /// socket, or the tap says that writing is stalled.
    pub(super) fn pump(&self) {
        let mut moving = self.moving.lock();
        let waker = moving.waker.clone();
        let mut cx = Context::from_waker(&waker);
        // Unconstrained: in a task that has used up its budget every socket claims to be
        // pending, and the queue would stay where it is.
        let mut polled = pin!(tokio::task::unconstrained(poll_fn(|cx| moving.poll_through(cx))));
        let _ = Future::poll(polled.as_mut(), &mut cx);
    }

    /// Closes the socket at once, whatever is under way; whether there still was one.
    pub(super) fn cut(&self) -> bool {
        let (connection, waker) = {
            let mut moving = self.moving.lock();
            (moving.connection.take(), moving.waker.clone())
        };
        let was_open = connection.is_some();
        drop(connection);
        waker.wake();
        self.tap.ready().notify_waiters();
        was_open
    }
}

impl Moving {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Message> {
        let Some(connection) = &mut self.connection else { return Poll::Ready(None) };
        let polled = connection.poll_message(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(_)))) {
            self.connection = None;
        }
        polled
    }

    /// Polls past notices, which nobody waits for at this point.
    fn poll_through(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.poll(cx) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(None | Some(Err(_))) => {
                    // Its task learns of the end when it polls next.
                    self.waker.wake_by_ref();
                    return Poll::Ready(());
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
