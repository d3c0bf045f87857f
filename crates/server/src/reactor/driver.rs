//! What the loop needs from the world: sockets, the other cores, randomness.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use pgherd_core::hosts::Address;
use tokio::sync::oneshot;

use crate::admin::{Order, Report, Scope};
use crate::auth::Answer;
use crate::reactor::backends::Backend;
use crate::reactor::pools::PoolKey;

/// What a socket's event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Token {
    /// A client.
    Client(Entry),
    /// A backend.
    Backend(Entry),
    /// A connection that carries a cancel request to a node.
    Cancel(Entry),
}

/// An entry of a slab. Keys are used again, also between the moment an event was told and the
/// moment it is looked at; the serial tells whether it still means the same entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The key in its slab.
    pub key: usize,
    serial: u32,
}

impl Entry {
    /// Bits of the serial that are kept.
    pub(super) const SERIAL_BITS: u32 = 24;

    /// The entry at `key`, whose serial this is.
    pub(super) fn new(key: usize, serial: u64) -> Self {
        let kept = serial & ((1 << Self::SERIAL_BITS) - 1);
        Self { key, serial: u32::try_from(kept).expect("24 bits fit into 32") }
    }

    /// The bits that tell it from others at the same key.
    pub(super) fn serial(self) -> u32 {
        self.serial
    }
}

/// How a client has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Over TCP.
    Tcp,
    /// Over a Unix socket: from this host, without TLS.
    Unix,
    /// From the process that has taken over: nothing but requests to cancel.
    Successor,
}

/// A client that another core does something for: a connection that carries a cancel request to
/// pgherd, or a console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requester {
    /// Its core.
    pub core: usize,
    /// The client there.
    pub entry: Entry,
}

/// What became of a socket, or several things at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read, be it the end or an error.
    pub readable: bool,
    /// The peer has closed its side, or the connection broke: behind what there is to read
    /// comes the end.
    pub ended: bool,
    /// There is room to write, or a connect has finished.
    pub writable: bool,
}

/// Where the control plane waits for the report of a core: an empty one if none was asked for.
pub type ReportSender = oneshot::Sender<Report>;

/// A message from one core to another.
#[derive(Debug)]
pub enum Mail<S> {
    /// A new client to serve.
    Client(S, Via),
    /// A request to cancel what one of the receiver's clients runs.
    Cancel {
        /// The key of the client at the receiver.
        client: usize,
        /// The secret that must be the client's.
        secret: Vec<u8>,
        /// Who has asked.
        by: Requester,
    },
    /// What the receiver's client has asked to cancel is cancelled, or there was nothing.
    Cancelled(Entry),
    /// A backend that changes cores, free.
    Backend(PoolKey, Box<Backend<S>>),
    /// The sender has waiters and the receiver may have an idle backend, or the sender gave
    /// back a slot the receiver's waiters can use.
    Balance(PoolKey),
    /// A waiter of the sender, in this pool, is held up by a limit that the receiver's idle backends
    /// count against: close one of them, and tell the sender to balance.
    MakeRoom {
        /// The sender.
        core: usize,
        /// Its pool.
        pool: PoolKey,
    },
    /// A console has the receiver do something and tell what there is then.
    Order {
        /// What it is to do.
        order: Order,
        /// How much it wants to know.
        scope: Scope,
        /// The console.
        by: Requester,
        /// Which of its questions it is.
        round: u64,
    },
    /// What was ordered is done, and this is what there is on the sender.
    Reported {
        /// The console that has asked.
        to: Entry,
        /// Which of its questions it was.
        round: u64,
        /// The answer.
        report: Box<Report>,
    },
    /// What has come of the question of a client's login.
    Answer {
        /// The client.
        to: Entry,
        /// What it is to be told.
        answer: Answer,
    },
    /// Tell this one that you are there; and what there is, if a scope is given.
    Tell(Option<Scope>, ReportSender),
    /// Lend the listening sockets to who wants to take over. No answer: there are none any more.
    LendDoors(oneshot::Sender<Vec<OwnedFd>>),
    /// Another process has taken over: accept no more, and end with the last client. At the core that
    /// accepts with what requests to cancel arrive at from now on, and who hears that it is done.
    HandedOver(Option<(TcpListener, oneshot::Sender<()>)>),
    /// Look again what is set, and what is paused.
    Follow,
    /// Close what is idle, let the rest finish, and stop.
    Drain,
}

/// Sockets, the other cores, and randomness. The real one is over `mio`; a simulated one can
/// run the same loop.
///
/// Streams never block. Readiness is edge-triggered: it is told once, until a read or write
/// has said `WouldBlock` or has come up short.
pub trait Driver {
    /// A connection.
    type Stream: Read + Write + std::fmt::Debug;

    /// Begins to connect and registers the stream; a writable event tells that it is done.
    ///
    /// # Errors
    /// What the system says when it fails at once.
    fn connect(&mut self, to: &Address, token: Token) -> io::Result<Self::Stream>;

    /// Whether a connect has succeeded; `false` while it is still under way.
    ///
    /// # Errors
    /// Why it failed.
    fn is_connected(&mut self, stream: &Self::Stream) -> io::Result<bool>;

    /// Asks for the events of a stream that is not registered here. What it is ready for already
    /// is told as well.
    ///
    /// # Errors
    /// What the system says.
    fn register(&mut self, stream: &mut Self::Stream, token: Token) -> io::Result<()>;

    /// No more events of this stream, which is kept. One that is dropped tells none anyway.
    fn deregister(&mut self, stream: &mut Self::Stream);

    /// Tells the peer that nothing more will be written.
    fn shutdown_write(&mut self, stream: &Self::Stream);

    /// Sends a message to another core.
    fn post(&self, core: usize, mail: Mail<Self::Stream>);

    /// Fills `bytes` with randomness fit for secrets.
    fn random(&mut self, bytes: &mut [u8]);

    /// The addresses of a stream's two ends, the peer's first, where there are some.
    fn ends(&self, stream: &Self::Stream) -> (Option<SocketAddr>, Option<SocketAddr>);

    /// The number of the system's user at the other end of a Unix socket, where the system tells.
    fn system_user(&self, _: &Self::Stream) -> Option<u32> {
        None
    }

    /// The process there, where the system tells.
    fn process(&self, _: &Self::Stream) -> Option<u32> {
        None
    }

    /// Bytes of memory that the process holds, where the system tells.
    fn resident(&mut self) -> Option<u64> {
        None
    }
}
