//! One connection and the right to move its bytes.
//!
//! tokio-postgres hands out a `Connection` that somebody must poll. A task of its own does, and
//! so does whoever waits for an answer (see `turn`), and whoever releases a lease: what the
//! client object has queued is then on the socket, and known to the tap, before anything is
//! concluded from the backend's standing.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio_postgres::{AsyncMessage, Connection, Notification};
use tracing::debug;

use super::heard::{Heard, Ready};
use super::socket::TappedSocket;
use super::tls::Bound;
use super::turn::{Caller, Turn};
use crate::mutex::Mutex;

type TappedConnection = Connection<TappedSocket, Bound<TappedSocket>>;
type Hear = Box<dyn Fn(Notification) + Send + Sync>;

/// See the module's header.
pub(super) struct Line {
    node: Arc<str>,
    heard: Arc<Heard>,
    turn: Turn,
    // `None` once it has ended.
    connection: Mutex<Option<TappedConnection>>,
    // Who is told of notifications. The first to ask is, for good.
    hear: OnceLock<Hear>,
}

/// Some work on a line, whose bytes are moved meanwhile. See [`Line::drive`].
pub(crate) struct Drive<'d, F> {
    line: &'d Line,
    work: Pin<&'d mut F>,
    // Once it has begun.
    caller: Option<Caller<'d>>,
}

impl<F: Future> Future for Drive<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { line, work, caller } = &mut *self;
        let caller = caller.get_or_insert_with(|| line.turn.enter());
        let wait = |cx: &mut Context<'_>| work.as_mut().poll(cx);
        let move_bytes = || {
            if line.poll().is_ready() {
                // It has the end to deal with.
                line.turn.wake_task();
            }
        };
        caller.poll(cx, wait, move_bytes)
    }
}

impl Line {
    pub(super) fn new(node: Arc<str>, connection: TappedConnection, heard: Arc<Heard>) -> Self {
        let connection = Mutex::new(Some(connection));
        Self { node, heard, turn: Turn::new(), connection, hear: OnceLock::new() }
    }

    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// To wait for a ReadyForQuery, or for the end.
    pub(super) fn ready(&self) -> Ready<'_> {
        let ready = self.heard.begin_to_wait();
        // Whoever moves bytes holds the lock: what they have told is seen from here on, or they see
        // that somebody waits.
        drop(self.connection.lock());
        ready
    }

    /// Calls `hear` for each notification from now on.
    pub(super) fn on_notification(&self, hear: Hear) {
        // A backend that listens has one listener.
        let _ = self.hear.set(hear);
    }

    /// Moves bytes until the connection ends, whenever nobody else does.
    pub(super) async fn run(&self) {
        poll_fn(|cx| if self.turn.is_the_tasks(cx) { self.poll() } else { self.poll_ended() })
            .await;
        self.cut();
    }

    /// Does some work on this line, and moves its bytes meanwhile.
    ///
    /// Pinned by the caller: what is handed from one future to the next would be copied each time.
    ///
    /// Dropping the future leaves the bytes to the line's task.
    pub(super) fn drive<'d, F: Future>(&'d self, work: Pin<&'d mut F>) -> Drive<'d, F> {
        Drive { line: self, work, caller: None }
    }

    /// Moves what can be moved now: afterwards all that the client object had queued is on the
    /// socket, or the tap says that something is owed.
    pub(super) fn pump(&self) {
        // Whoever has taken the turn to move holds the lock until it has.
        if !self.turn.is_to_move() && !self.connection.is_locked() {
            // What they have done before they let it go is seen from here on.
            fence(Ordering::Acquire);
            return;
        }
        // Unconstrained: in a task that has used up its budget every socket claims to be
        // pending, and the queue would stay where it is.
        let polled = pin!(tokio::task::unconstrained(poll_fn(|_| self.poll())));
        if Future::poll(polled, &mut self.turn.moves()).is_ready() {
            self.turn.wake_task();
        }
    }

    /// Closes the socket at once, whatever is under way; whether there still was one.
    pub(super) fn cut(&self) -> bool {
        let connection = self.connection.lock().take();
        let was_open = connection.is_some();
        drop(connection);
        self.turn.wake_task();
        self.heard.tell_end();
        was_open
    }

    fn poll_ended(&self) -> Poll<()> {
        if self.connection.lock().is_none() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Moves what can be moved, if there may be anything, up to the end of the connection.
    fn poll(&self) -> Poll<()> {
        let mut held = self.connection.lock();
        let Some(connection) = &mut *held else { return Poll::Ready(()) };
        // Under the lock: whoever finds nothing to do here knows that it is done.
        if !self.turn.begin() {
            return Poll::Pending;
        }
        let mut cx = self.turn.moves();
        loop {
            match connection.poll_message(&mut cx) {
                Poll::Ready(Some(Ok(message))) => self.take(message),
                Poll::Ready(Some(Err(error))) => {
                    debug!(node = &*self.node, %error, "connection ended");
                    break;
                }
                Poll::Ready(None) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        *held = None;
        Poll::Ready(())
    }

    fn take(&self, message: AsyncMessage) {
        match message {
            AsyncMessage::Notice(notice) => {
                let (code, text) = (notice.code().code(), notice.message());
                debug!(node = &*self.node, code, text, "notice");
            }
            AsyncMessage::Notification(notification) => {
                if let Some(hear) = self.hear.get() {
                    hear(notification);
                }
            }
            _ => {}
        }
    }
}
