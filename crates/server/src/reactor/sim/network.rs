//! Connections that are nothing but memory, and the time in which they are slow.
//!
//! Each has a proxy's end, which the loop sees as a [`Stream`], and a peer's: a simulated client or
//! server. What a peer sends arrives in pieces, late, and in order; what the proxy sends waits until
//! its peer takes it, and a pipe holds only so much. Ends are closed or reset as TCP does it: who
//! closes without having read everything resets, and a reset discards what was under way.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, IoSlice, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::random::Random;
use crate::reactor::{Readiness, Token};

/// A connection's number. None is used twice.
pub(super) type Conn = usize;

/// Something that is going to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    /// So many bytes of the peer's arrive at the proxy.
    Arrive(Conn, usize),
    /// The end of what the peer sends arrives.
    End(Conn),
    /// The connection turns out to be broken.
    Break(Conn),
    /// A connect of the proxy's is accepted, refused, or neither.
    Connect(Conn),
    /// A connect of the proxy's is refused by the address.
    Refuse(Conn),
    /// The peer looks at the connection.
    Peer(Conn),
    /// A server goes on with what it has put off.
    Server(Conn),
    /// A client does what it does next.
    Client(usize),
    /// A core looks at its time-outs.
    Tick(usize),
    /// Something breaks.
    Fault,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Client(usize),
    /// A cancel request of this client's.
    Canceller(usize),
    Node(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connect {
    UnderWay,
    Done,
    Refused,
}

#[derive(Debug, Default)]
struct Pipe {
    // Sent; the first `arrived` bytes are there.
    bytes: VecDeque<u8>,
    arrived: usize,
    capacity: usize,
    // Nothing follows these bytes, and whether that has arrived.
    ends: bool,
    ended: bool,
    // The sender was refused a byte.
    is_short: bool,
}

impl Pipe {
    fn room(&self) -> usize {
        self.capacity.saturating_sub(self.bytes.len())
    }

    fn put(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let mut put = 0;
        for slice in slices {
            let n = slice.len().min(self.room());
            self.bytes.extend(&slice[..n]);
            put += n;
            if n < slice.len() {
                self.is_short = true;
                break;
            }
        }
        put
    }

    fn take(&mut self, n: usize, mut into: impl FnMut(&[u8])) {
        let (first, second) = self.bytes.as_slices();
        let from_first = n.min(first.len());
        into(&first[..from_first]);
        into(&second[..n - from_first]);
        self.bytes.drain(..n);
        self.arrived = self.arrived.saturating_sub(n);
    }

    fn discard(&mut self) {
        self.bytes.clear();
        self.arrived = 0;
    }
}

#[derive(Debug)]
struct Connection {
    peer: Peer,
    connect: Connect,
    to_proxy: Pipe,
    to_peer: Pipe,
    is_broken: bool,
    proxy_holds: bool,
    peer_holds: bool,
    // The core that watches it.
    watched: Option<(usize, Token)>,
    is_ready: bool,
    edges: Readiness,
    // The peer is going to look at it.
    is_awaited: bool,
    // When the last of the peer's bytes arrives.
    last_arrival: Instant,
}

const NOTHING: Readiness = Readiness { readable: false, ended: false, writable: false };

/// All connections, and all that is going to happen.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) now: Instant,
    connections: Vec<Option<Box<Connection>>>,
    ready: Vec<VecDeque<Conn>>,
    agenda: BinaryHeap<Reverse<(Instant, u64, Event)>>,
    events: u64,
    random: Random,
    // As epoll does: all that a connection is ready for. Else what is new.
    tells_all: bool,
    // One call in so many is interrupted; 0 for none.
    interrupts: usize,
    /// The port of the one address that lets nobody in, if there is one.
    pub(super) closed: Option<u16>,
}

pub(super) type SharedNetwork = Rc<RefCell<Network>>;

impl Network {
    pub(super) fn new(cores: usize, now: Instant, mut random: Random) -> Self {
        let tells_all = random.one_in(2);
        let interrupts = *random.pick(&[0, 50, 1000]);
        Self {
            now,
            connections: Vec::new(),
            ready: (0..cores).map(|_| VecDeque::new()).collect(),
            agenda: BinaryHeap::new(),
            events: 0,
            random,
            tells_all,
            interrupts,
            closed: None,
        }
    }

    pub(super) fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Instant, event: Event) {
        self.events += 1;
        self.agenda.push(Reverse((at, self.events, event)));
    }

    /// When something happens next.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.agenda.peek().map(|Reverse((at, ..))| *at)
    }

    /// What happens next; time goes on to then.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let Reverse((at, _, event)) = self.agenda.pop()?;
        self.now = self.now.max(at);
        Some(event)
    }

    fn get(&mut self, conn: Conn) -> Option<&mut Connection> {
        self.connections.get_mut(conn)?.as_deref_mut()
    }

    /// A connection between the proxy and `peer`.
    pub(super) fn open(&mut self, peer: Peer, connect: Connect) -> Conn {
        let capacity = match self.random.below(20) {
            0 => 16,
            1..4 => 300,
            4..10 => 4096,
            _ => 65_536,
        };
        let pipe = || Pipe { capacity, ..Pipe::default() };
        self.connections.push(Some(Box::new(Connection {
            peer,
            connect,
            to_proxy: pipe(),
            to_peer: pipe(),
            is_broken: false,
            proxy_holds: true,
            peer_holds: true,
            watched: None,
            is_ready: false,
            edges: NOTHING,
            is_awaited: false,
            last_arrival: self.now,
        })));
        self.connections.len() - 1
    }

    /// Connections that are open at one end or the other.
    pub(super) fn open_connections(&self) -> usize {
        self.connections.iter().flatten().count()
    }

    pub(super) fn peer_of(&self, conn: Conn) -> Option<Peer> {
        Some(self.connections.get(conn)?.as_ref()?.peer)
    }

    fn forget_if_over(&mut self, conn: Conn) {
        if self
            .get(conn)
            .is_some_and(|connection| !connection.proxy_holds && !connection.peer_holds)
        {
            self.connections[conn] = None;
        }
    }

    // The proxy's end.

    pub(super) fn watch(&mut self, conn: Conn, core: usize, token: Token) {
        let Some(connection) = self.get(conn) else { return };
        connection.watched = Some((core, token));
        connection.edges = connection.state();
        self.make_ready(conn, NOTHING);
    }

    pub(super) fn unwatch(&mut self, conn: Conn) {
        if let Some(connection) = self.get(conn) {
            connection.watched = None;
        }
    }

    fn make_ready(&mut self, conn: Conn, edges: Readiness) {
        let Some(connection) = self.get(conn) else { return };
        connection.edges.readable |= edges.readable;
        connection.edges.writable |= edges.writable;
        if let Some((core, _)) = connection.watched
            && !std::mem::replace(&mut connection.is_ready, true)
        {
            self.ready[core].push_back(conn);
        }
    }

    pub(super) fn has_ready(&self, core: usize) -> bool {
        !self.ready[core].is_empty()
    }

    /// What up to `most` connections have become ready for.
    pub(super) fn poll(&mut self, core: usize, most: usize) -> Vec<(Conn, Token, Readiness)> {
        let mut found = Vec::new();
        for _ in 0..most.min(self.ready[core].len()) {
            let Some(conn) = self.ready[core].pop_front() else { break };
            let tells_all = self.tells_all;
            let Some(connection) = self.get(conn) else { continue };
            connection.is_ready = false;
            let edges = std::mem::replace(&mut connection.edges, NOTHING);
            let state = connection.state();
            let told = match tells_all {
                true => state,
                false => Readiness {
                    readable: edges.readable && state.readable,
                    ended: state.ended,
                    writable: edges.writable && state.writable,
                },
            };
            if let Some((watcher, token)) = connection.watched
                && watcher == core
                && (told.readable || told.ended || told.writable)
            {
                let readable = told.readable || told.ended;
                found.push((conn, token, Readiness { readable, ..told }));
            }
        }
        found
    }

    fn is_interrupted(&mut self) -> bool {
        self.interrupts > 0 && self.random.one_in(self.interrupts)
    }

    fn read(&mut self, conn: Conn, buffer: &mut [u8]) -> io::Result<usize> {
        if self.is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let Some(connection) = self.get(conn) else { return Ok(0) };
        if connection.is_broken {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let pipe = &mut connection.to_proxy;
        let n = pipe.arrived.min(buffer.len());
        if n == 0 {
            return if pipe.ended { Ok(0) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        let mut at = 0;
        pipe.take(n, |part| {
            buffer[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        });
        if std::mem::take(&mut pipe.is_short) {
            self.await_peer(conn);
        }
        Ok(n)
    }

    fn write(&mut self, conn: Conn, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.is_interrupted() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let now = self.now;
        let Some(connection) = self.get(conn) else { return Ok(0) };
        if connection.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if connection.connect != Connect::Done {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !connection.peer_holds {
            self.schedule_at(now, Event::Break(conn));
            return Ok(slices.iter().map(|slice| slice.len()).sum());
        }
        match connection.to_peer.put(slices) {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            n => {
                self.await_peer(conn);
                Ok(n)
            }
        }
    }

    /// Whether a connect is done.
    pub(super) fn is_connected(&mut self, conn: Conn) -> io::Result<bool> {
        match self.get(conn).map(|connection| connection.connect) {
            Some(Connect::Done) => Ok(true),
            Some(Connect::UnderWay) => Ok(false),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    pub(super) fn shut(&mut self, conn: Conn) {
        if let Some(connection) = self.get(conn) {
            connection.to_peer.ends = true;
            self.await_peer(conn);
        }
    }

    fn drop_proxys(&mut self, conn: Conn) {
        let Some(connection) = self.get(conn) else { return };
        connection.proxy_holds = false;
        connection.watched = None;
        if connection.to_proxy.bytes.is_empty() {
            connection.to_peer.ends = true;
        } else {
            connection.to_peer.discard();
            connection.is_broken = true;
        }
        self.await_peer(conn);
        self.forget_if_over(conn);
    }

    // The peer's end.

    /// The peer looks at the connection soon.
    fn await_peer(&mut self, conn: Conn) {
        let Some(connection) = self.get(conn) else { return };
        if connection.peer_holds && !std::mem::replace(&mut connection.is_awaited, true) {
            let after = Duration::from_micros(self.random.within(10, 120));
            self.schedule(after, Event::Peer(conn));
        }
    }

    /// The peer is looking at it.
    pub(super) fn peer_looks(&mut self, conn: Conn) {
        if let Some(connection) = self.get(conn) {
            connection.is_awaited = false;
        }
    }

    /// Up to `most` bytes for the peer.
    pub(super) fn peer_reads(&mut self, conn: Conn, most: usize, into: &mut Vec<u8>) {
        let Some(connection) = self.get(conn) else { return };
        let pipe = &mut connection.to_peer;
        pipe.take(pipe.bytes.len().min(most), |part| into.extend_from_slice(part));
        if std::mem::take(&mut pipe.is_short) {
            self.make_ready(conn, Readiness { writable: true, ..NOTHING });
        }
    }

    /// What else there is to read for the peer.
    pub(super) fn peer_has_more(&mut self, conn: Conn) -> bool {
        self.get(conn).is_some_and(|connection| !connection.to_peer.bytes.is_empty())
    }

    /// Whether the proxy will send nothing more than there is.
    pub(super) fn peer_sees_end(&mut self, conn: Conn) -> bool {
        self.get(conn).is_none_or(|connection| connection.to_peer.ends || connection.is_broken)
    }

    /// The peer sends as much as there is room for, in pieces; returns how much.
    pub(super) fn peer_writes(&mut self, conn: Conn, bytes: &[u8]) -> usize {
        let pieces = if self.random.one_in(3) { self.random.within(2, 5) } else { 1 };
        let Some(connection) = self.get(conn) else { return bytes.len() };
        if !connection.proxy_holds || connection.is_broken {
            // As TCP: it is answered by a reset, and what was under way is lost.
            connection.is_broken = true;
            connection.to_peer.discard();
            self.await_peer(conn);
            return bytes.len();
        }
        let sent = connection.to_proxy.put(&[IoSlice::new(bytes)]);
        let mut left = sent;
        for piece in 0..pieces {
            let length = match piece + 1 == pieces {
                true => left,
                false => self.random.below(left.max(1)),
            };
            if length > 0 {
                self.arrives(conn, Event::Arrive(conn, length));
                left -= length;
            }
        }
        sent
    }

    fn arrives(&mut self, conn: Conn, event: Event) {
        let micros = match self.random.below(30) {
            0 => self.random.within(500, 5000),
            _ => self.random.within(10, 100),
        };
        let after = self.now + Duration::from_micros(micros);
        let Some(connection) = self.get(conn) else { return };
        let at = connection.last_arrival.max(after);
        connection.last_arrival = at;
        self.schedule_at(at, event);
    }

    /// The peer sends nothing more, and goes on reading.
    pub(super) fn peer_shuts(&mut self, conn: Conn) {
        if let Some(connection) = self.get(conn) {
            connection.to_proxy.ends = true;
            self.arrives(conn, Event::End(conn));
        }
    }

    /// The peer closes, or its host is gone (`breaks`).
    pub(super) fn peer_closes(&mut self, conn: Conn, breaks: bool) {
        let Some(connection) = self.get(conn) else { return };
        let unread = !connection.to_peer.bytes.is_empty();
        connection.to_peer.discard();
        let had_ended = std::mem::replace(&mut connection.to_proxy.ends, true);
        connection.peer_holds = false;
        match breaks || unread {
            true => self.arrives(conn, Event::Break(conn)),
            false if had_ended => {}
            false => self.arrives(conn, Event::End(conn)),
        }
        self.forget_if_over(conn);
    }

    /// A connect is done, or refused.
    pub(super) fn connects(&mut self, conn: Conn, connect: Connect) {
        if let Some(connection) = self.get(conn) {
            connection.connect = connect;
            self.make_ready(conn, Readiness { writable: true, ..NOTHING });
        }
    }

    /// A connect is refused.
    pub(super) fn refuse(&mut self, conn: Conn) {
        self.connects(conn, Connect::Refused);
        self.peer_closes(conn, true);
    }

    /// What happens on the way.
    pub(super) fn happens(&mut self, event: Event) {
        let edges = Readiness { readable: true, ..NOTHING };
        match event {
            Event::Arrive(conn, bytes) => {
                if let Some(connection) = self.get(conn) {
                    let pipe = &mut connection.to_proxy;
                    pipe.arrived = (pipe.arrived + bytes).min(pipe.bytes.len());
                    self.make_ready(conn, edges);
                }
            }
            Event::End(conn) => {
                if let Some(connection) = self.get(conn) {
                    connection.to_proxy.ended = true;
                    self.make_ready(conn, edges);
                }
            }
            Event::Break(conn) => {
                if let Some(connection) = self.get(conn) {
                    connection.is_broken = true;
                    connection.to_proxy.discard();
                    connection.to_peer.discard();
                    self.make_ready(conn, Readiness { writable: true, ..edges });
                    self.await_peer(conn);
                }
            }
            _ => {}
        }
    }
}

impl Connection {
    fn state(&self) -> Readiness {
        let refused = self.connect == Connect::Refused;
        let ended = self.to_proxy.ended || self.is_broken || refused;
        Readiness {
            readable: ended || self.to_proxy.arrived > 0,
            ended,
            writable: refused
                || self.is_broken
                || self.connect == Connect::Done && self.to_peer.room() > 0,
        }
    }
}

/// The proxy's end of a connection.
pub(super) struct Stream {
    pub(super) conn: Conn,
    network: SharedNetwork,
}

impl Stream {
    pub(super) fn new(network: &SharedNetwork, conn: Conn) -> Self {
        Self { conn, network: Rc::clone(network) }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("conn", &self.conn).finish_non_exhaustive()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.network.borrow_mut().read(self.conn, buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.network.borrow_mut().write(self.conn, slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.network.borrow_mut().drop_proxys(self.conn);
    }
}
