//! The loop over real sockets.

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener};
use mio::{Events, Interest, Poll, Waker};
use pgherd_core::hosts::Address;
use rustix::io::Errno;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::sync::oneshot;

use super::driver::{Entry, Via};
use super::socket_options::SocketOptions;
use super::{Driver, Mail, Proxy, Readiness, TICK, Token, Worker};
use crate::listeners::{Listener, SocketFile, unix_address};

/// Events taken from the system at once.
const EVENTS: usize = 1024;

// Above it each listener has one.
const MAILBOX: mio::Token = mio::Token(usize::MAX - 64);

/// Where other threads leave messages for a core.
///
/// The lock guards the queue and is held for a push or a swap. What is in it is bounded by the
/// connections there are: each message carries or concerns one.
#[derive(Debug)]
pub struct Mailbox {
    queue: Mutex<VecDeque<Mail<TcpStream>>>,
    waker: Waker,
}

impl Mailbox {
    /// Leaves a message and wakes the core.
    pub fn post(&self, mail: Mail<TcpStream>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(mail);
        if let Err(error) = self.waker.wake() {
            tracing::error!(%error, "cannot wake a core");
        }
    }

    fn take(&self) -> VecDeque<Mail<TcpStream>> {
        std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sockets of one core.
///
/// A connection over a Unix socket is a [`TcpStream`] as well: all that is done with either is to read,
/// to write and to close it, and a type for each would be asked for at each read. It has no addresses.
#[derive(Debug)]
pub struct MioDriver {
    registry: mio::Registry,
    // For connections to nodes.
    options: SocketOptions,
    mailboxes: Arc<[Mailbox]>,
    randomness: Randomness,
}

impl Driver for MioDriver {
    type Stream = TcpStream;

    fn connect(&mut self, to: &Address, token: Token) -> io::Result<TcpStream> {
        let mut stream = match to {
            Address::Tcp(at) => connect_tcp(*at, &self.options)?,
            Address::Unix(host) => connect_unix(&host.socket_path())?,
        };
        self.register(&mut stream, token)?;
        Ok(stream)
    }

    fn is_connected(&mut self, stream: &TcpStream) -> io::Result<bool> {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        // Not the stream's own question, which knows no Unix sockets.
        match SockRef::from(stream).peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn register(&mut self, stream: &mut TcpStream, token: Token) -> io::Result<()> {
        self.registry.register(stream, to_mio(token), Interest::READABLE | Interest::WRITABLE)
    }

    fn deregister(&mut self, stream: &mut TcpStream) {
        // Fails only if it was not registered, and then there is nothing to undo.
        let _ = self.registry.deregister(stream);
    }

    fn shutdown_write(&mut self, stream: &TcpStream) {
        // Fails only if the connection is gone already.
        let _ = stream.shutdown(Shutdown::Write);
    }

    fn post(&self, core: usize, mail: Mail<TcpStream>) {
        self.mailboxes[core].post(mail);
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.randomness.fill(bytes);
    }

    fn ends(&self, stream: &TcpStream) -> (Option<SocketAddr>, Option<SocketAddr>) {
        // One that is gone has none.
        (stream.peer_addr().ok(), stream.local_addr().ok())
    }

    #[cfg(target_os = "linux")]
    fn system_user(&self, stream: &TcpStream) -> Option<u32> {
        let who = rustix::net::sockopt::socket_peercred(stream).ok()?;
        Some(who.uid.as_raw())
    }

    #[cfg(target_os = "linux")]
    fn process(&self, stream: &TcpStream) -> Option<u32> {
        let who = rustix::net::sockopt::socket_peercred(stream).ok()?;
        u32::try_from(who.pid.as_raw_nonzero().get()).ok()
    }

    fn resident(&mut self) -> Option<u64> {
        resident()
    }
}

/// Begins to connect. The options are set before that: the window that is offered to the node with the first
/// packet is by the size of the buffers then; see `tcp(7)`.
fn connect_tcp(to: SocketAddr, options: &SocketOptions) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    options.apply(&SockRef::from(&socket))?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from(OwnedFd::from(socket))),
    }
}

/// Connects to a Unix socket. Where the queue of who listens is full that fails at once: the system begins
/// nothing that could be waited for.
fn connect_unix(place: &str) -> io::Result<TcpStream> {
    let address = unix_address(place)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address)?;
    Ok(TcpStream::from(OwnedFd::from(socket)))
}

/// Bytes of memory that the process holds, where the system tells.
pub(crate) fn resident() -> Option<u64> {
    resident_of(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Random bytes fetched ahead: a system call for dozens of logins. None is given out twice.
struct Randomness {
    ahead: [u8; Self::AHEAD],
    used: usize,
}

impl Randomness {
    /// 1 KiB: what 20 to 30 logins take.
    const AHEAD: usize = 1024;

    fn new() -> Self {
        Self { ahead: [0; Self::AHEAD], used: Self::AHEAD }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        const WORKS: &str = "the system's random source works once it has started";
        if bytes.len() > Self::AHEAD {
            return getrandom::fill(bytes).expect(WORKS);
        }
        if bytes.len() > Self::AHEAD - self.used {
            getrandom::fill(&mut self.ahead).expect(WORKS);
            self.used = 0;
        }
        let given = &mut self.ahead[self.used..self.used + bytes.len()];
        bytes.copy_from_slice(given);
        // A secret is nowhere but with whom it was made for.
        given.fill(0);
        self.used += bytes.len();
    }
}

// What is fetched ahead stays out of logs.
impl std::fmt::Debug for Randomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Randomness").field("used", &self.used).finish_non_exhaustive()
    }
}

/// Reads `/proc/PID/status`; see `proc_pid_status(5)`.
fn resident_of(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

// The two lowest bits tell what kind of entry it is, the next ones its serial, the rest its key.
fn to_mio(token: Token) -> mio::Token {
    let (entry, kind) = match token {
        Token::Client(entry) => (entry, 0),
        Token::Backend(entry) => (entry, 1),
        Token::Cancel(entry) => (entry, 2),
    };
    let serial = entry.serial() as usize;
    mio::Token(entry.key << (Entry::SERIAL_BITS + 2) | serial << 2 | kind)
}

fn from_mio(token: mio::Token) -> Token {
    let entry = Entry::new(token.0 >> (Entry::SERIAL_BITS + 2), token.0 as u64 >> 2);
    match token.0 & 3 {
        0 => Token::Client(entry),
        1 => Token::Backend(entry),
        _ => Token::Cancel(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_is_accepted_has_the_options_of_the_settings() {
        let text = "node = [{ host = \"h\", role = \"coordinator\" }]\nuser = [{ name = \"u\" }]\n\
                    [listen]\ntcp_user_timeout = \"7s\"\n\
                    [tcp]\nkeepalive_after = \"90s\"\nbuffer = \"32KiB\"\n";
        let settings = pgherd_core::Settings::from_toml(text, "test").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let options = SocketOptions::of_clients(&settings);
        let acceptor = Acceptor::new(vec![Listener::Tcp(listener)], options).unwrap();
        let _client = std::net::TcpStream::connect(at).unwrap();
        let mut accepted = Vec::new();
        while accepted.is_empty() {
            acceptor.accept(1, |_, stream, _| accepted.push(stream));
        }
        let socket = SockRef::from(&accepted[0]);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(7)));
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(90));
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert!((32 * 1024..=64 * 1024).contains(&socket.recv_buffer_size().unwrap()));
    }

    #[test]
    fn the_options_of_a_connection_to_a_node_are_set_before_it_begins() {
        let text = "node = [{ host = \"h\", role = \"coordinator\" }]\nuser = [{ name = \"u\" }]\n";
        let mut settings = pgherd_core::Settings::from_toml(text, "test").unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let at = listener.local_addr().unwrap();
        // More than the system takes, and than the settings do.
        settings.tcp.keepalive_after = Duration::from_secs(1 << 20);
        connect_tcp(at, &SocketOptions::of_nodes(&settings)).unwrap_err();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        settings.tcp.keepalive_after = Duration::from_secs(90);
        let stream = connect_tcp(at, &SocketOptions::of_nodes(&settings)).unwrap();
        listener.accept().unwrap();
        let after = SockRef::from(&stream).tcp_keepalive_time().unwrap();
        assert_eq!(after, Duration::from_secs(90));
    }

    #[test]
    fn the_memory_that_is_held_is_read_in_bytes() {
        let status = "Name:\tx\nVmHWM:\t    9999 kB\nVmRSS:\t    2048 kB\nThreads:\t5\n";
        assert_eq!(resident_of(status), Some(2 * 1024 * 1024));
        assert_eq!(resident_of("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn no_random_bytes_are_given_out_twice() {
        let mut randomness = Randomness::new();
        let mut given = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut bytes = [0; 16];
            randomness.fill(&mut bytes);
            assert!(bytes != [0; 16] && given.insert(bytes));
        }
        let mut many = [0; Randomness::AHEAD + 1];
        randomness.fill(&mut many);
        assert!(many.chunks_exact(16).all(|bytes| bytes != [0; 16]));
    }

    #[test]
    fn tokens_come_back_as_they_went() {
        for key in [0, 1, 77, (1 << 25) - 1] {
            for serial in [0, 1, (1 << 24) - 1, 1 << 24, u64::MAX] {
                let entry = Entry::new(key, serial);
                for token in [Token::Client(entry), Token::Backend(entry), Token::Cancel(entry)] {
                    assert_eq!(from_mio(to_mio(token)), token);
                    assert!(to_mio(token).0 < MAILBOX.0);
                }
            }
        }
    }
}

/// One core before it runs.
#[derive(Debug)]
pub struct Core {
    number: usize,
    poll: Poll,
}

/// Makes `count` cores and their mailboxes.
///
/// # Errors
/// What the system says when it has no more descriptors.
pub fn cores(count: usize) -> io::Result<(Vec<Core>, Arc<[Mailbox]>)> {
    let cores: Vec<Core> = (0..count)
        .map(|number| Ok(Core { number, poll: Poll::new()? }))
        .collect::<io::Result<_>>()?;
    let mailboxes: Vec<Mailbox> = cores
        .iter()
        .map(|core| {
            let waker = Waker::new(core.poll.registry(), MAILBOX)?;
            Ok(Mailbox { queue: Mutex::default(), waker })
        })
        .collect::<io::Result<_>>()?;
    Ok((cores, mailboxes.into()))
}

/// Whether what is accepted has the options of the socket that listened: seven system calls less
/// for each client.
///
/// Source: Linux, `tcp(7)` and `socket(7)` say so of single options only; the kernel makes the new
/// socket as a copy of the listening one (`sk_clone_lock`).
const INHERITS: bool = cfg!(target_os = "linux");

/// Accepts clients and deals them out to the cores in turn.
#[derive(Debug)]
pub struct Acceptor {
    doors: Vec<Door>,
    options: SocketOptions,
    next: AtomicUsize,
}

/// A listening socket of an [`Acceptor`].
#[derive(Debug)]
enum Door {
    Tcp(TcpListener),
    // The file is gone with it.
    Unix(
        UnixListener,
        #[expect(dead_code, reason = "it is removed when it is dropped")] Option<SocketFile>,
    ),
    Successor(TcpListener),
}

impl Door {
    fn new(listener: Listener, options: &SocketOptions) -> io::Result<Self> {
        SockRef::from(&listener).set_nonblocking(true)?;
        Ok(match listener {
            Listener::Tcp(listener) => {
                if INHERITS {
                    options.apply(&SockRef::from(&listener))?;
                }
                Self::Tcp(TcpListener::from_std(listener))
            }
            Listener::Unix(listener, file) => Self::Unix(UnixListener::from_std(listener), file),
        })
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) | Self::Successor(listener) => listener,
            Self::Unix(listener, _) => listener,
        }
    }

    fn accept(&self) -> io::Result<(TcpStream, Via)> {
        match self {
            Self::Tcp(listener) => Ok((listener.accept()?.0, Via::Tcp)),
            Self::Unix(listener, _) => {
                let stream = OwnedFd::from(listener.accept()?.0);
                Ok((stream.into(), Via::Unix))
            }
            Self::Successor(listener) => Ok((listener.accept()?.0, Via::Successor)),
        }
    }
}

impl Acceptor {
    /// Deals out the clients of listening sockets, set up like this.
    pub(crate) fn new(listeners: Vec<Listener>, options: SocketOptions) -> io::Result<Self> {
        let door = |listener| Door::new(listener, &options);
        let doors = listeners.into_iter().map(door).collect::<io::Result<_>>()?;
        Ok(Self { doors, options, next: AtomicUsize::new(0) })
    }

    /// Takes requests to cancel for clients of this process, which another one has taken over.
    fn for_cancels(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let door = Door::Successor(TcpListener::from_std(listener));
        let options = SocketOptions::default();
        Ok(Self { doors: vec![door], options, next: AtomicUsize::new(0) })
    }

    fn lend(&self) -> io::Result<Vec<OwnedFd>> {
        let lend = |door: &Door| match door {
            Door::Tcp(listener) | Door::Successor(listener) => {
                listener.as_fd().try_clone_to_owned()
            }
            Door::Unix(listener, _) => listener.as_fd().try_clone_to_owned(),
        };
        self.doors.iter().map(lend).collect()
    }

    /// Accepts no more. A socket that another process has as well would go on to tell this one of
    /// who comes, were it not deregistered.
    fn close(mut self, registry: &mio::Registry) {
        for mut door in self.doors.drain(..) {
            // Fails only if it was not registered.
            let _ = registry.deregister(door.source());
        }
    }

    fn register(&mut self, registry: &mio::Registry) -> io::Result<()> {
        for (number, door) in self.doors.iter_mut().enumerate() {
            let token = mio::Token(MAILBOX.0 + 1 + number);
            registry.register(door.source(), token, Interest::READABLE)?;
        }
        Ok(())
    }

    /// Accepts all that wait, and deals each to one of `cores`. `true` if accepting has to pause
    /// because the system has no more descriptors.
    fn accept(&self, cores: usize, mut deal: impl FnMut(usize, TcpStream, Via)) -> bool {
        let accept = |door| self.accept_at(door, cores, &mut deal);
        self.doors.iter().map(accept).fold(false, |late, now| late | now)
    }

    fn accept_at(
        &self,
        door: &Door,
        cores: usize,
        deal: &mut impl FnMut(usize, TcpStream, Via),
    ) -> bool {
        loop {
            match door.accept() {
                Ok((stream, via)) => {
                    if !INHERITS
                        && via == Via::Tcp
                        && let Err(error) = self.options.apply(&SockRef::from(&stream))
                    {
                        tracing::debug!(%error, "a client was gone before it was served");
                        continue;
                    }
                    deal(self.next.fetch_add(1, Ordering::Relaxed) % cores, stream, via);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    tracing::error!(%error, "cannot accept clients; trying again in 100 ms");
                    return true;
                }
            }
        }
    }
}

fn lend(acceptor: Option<&Acceptor>, to: oneshot::Sender<Vec<OwnedFd>>) {
    match acceptor.map(Acceptor::lend) {
        // Who has asked may have gone; and who hears nothing knows that there is nothing.
        Some(Ok(doors)) => drop(to.send(doors)),
        Some(Err(error)) => tracing::error!(%error, "cannot hand the sockets over"),
        None => {}
    }
}

fn cancel_door(listener: std::net::TcpListener, registry: &mio::Registry) -> Option<Acceptor> {
    let open = || {
        let mut acceptor = Acceptor::for_cancels(listener)?;
        acceptor.register(registry)?;
        Ok(acceptor)
    };
    let failed = |error: &io::Error| {
        tracing::error!(%error, "requests to cancel do not reach this process any more");
    };
    open().inspect_err(failed).ok()
}

impl Core {
    /// Runs the loop until it is told to drain and its last client has gone, or until
    /// `drain_limit` after that.
    ///
    /// One core gets the `acceptor`.
    ///
    /// # Errors
    /// What the system says when waiting for events fails.
    pub fn run(
        mut self,
        proxy: Arc<Proxy>,
        mailboxes: Arc<[Mailbox]>,
        mut acceptor: Option<Acceptor>,
        drain_limit: Duration,
    ) -> io::Result<()> {
        let registry = self.poll.registry().try_clone()?;
        if let Some(acceptor) = &mut acceptor {
            acceptor.register(&registry)?;
        }
        let driver = MioDriver {
            registry,
            options: proxy.to_nodes.clone(),
            mailboxes: Arc::clone(&mailboxes),
            randomness: Randomness::new(),
        };
        let started = Instant::now();
        let shared = Arc::clone(&proxy);
        let mut worker = Worker::new(proxy, self.number, driver, started);
        let mut events = Events::with_capacity(EVENTS);
        let mut next_tick = started + TICK;
        let mut drain_until = None;
        let mut accepts_late = false;
        let number = self.number;
        let dealt_out = &shared.dealt_out;
        let accept = |acceptor: &Acceptor, worker: &mut Worker<MioDriver>, now| {
            acceptor.accept(mailboxes.len(), |core, stream, via| match core == number {
                true => worker.on_mail(Mail::Client(stream, via), now),
                false => {
                    dealt_out.fetch_add(1, Ordering::Relaxed);
                    mailboxes[core].post(Mail::Client(stream, via));
                }
            })
        };
        loop {
            let before = Instant::now();
            let wait = match worker.has_work() {
                true => Duration::ZERO,
                false => {
                    let until = worker.wakes_at().map_or(next_tick, |at| at.min(next_tick));
                    until.saturating_duration_since(before)
                }
            };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                return Err(error);
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    MAILBOX => {
                        for mail in mailboxes[self.number].take() {
                            match mail {
                                Mail::LendDoors(to) => lend(acceptor.as_ref(), to),
                                Mail::HandedOver(Some((cancels, done))) => {
                                    if let Some(before) = acceptor.take() {
                                        before.close(self.poll.registry());
                                    }
                                    acceptor = cancel_door(cancels, self.poll.registry());
                                    worker.on_mail(Mail::HandedOver(None), now);
                                    // Who does not hear it has gone.
                                    let _ = done.send(());
                                }
                                mail @ Mail::Client(..) => {
                                    worker.on_mail(mail, now);
                                    dealt_out.fetch_sub(1, Ordering::Release);
                                }
                                mail => worker.on_mail(mail, now),
                            }
                        }
                    }
                    mio::Token(token) if token > MAILBOX.0 => {
                        if let Some(acceptor) = &acceptor {
                            accepts_late = accept(acceptor, &mut worker, now);
                        }
                    }
                    token => {
                        let ended = event.is_read_closed() || event.is_error();
                        let ready = Readiness {
                            readable: event.is_readable() || ended,
                            ended,
                            writable: event.is_writable() || event.is_write_closed(),
                        };
                        worker.on_ready(from_mio(token), ready, now);
                    }
                }
            }
            worker.go_on(now);
            if worker.accepts_no_more()
                && let Some(acceptor) = acceptor.take()
            {
                acceptor.close(self.poll.registry());
            }
            if worker.is_draining() && drain_until.is_none() {
                drain_until = Some(now + drain_limit);
            }
            if now >= next_tick {
                next_tick = now + TICK;
                worker.on_tick(now);
                if accepts_late && let Some(acceptor) = &acceptor {
                    accepts_late = accept(acceptor, &mut worker, now);
                }
            }
            // In this order: a client that was dealt out is counted by its core before it is not on its way.
            let is_drained = dealt_out.load(Ordering::Acquire) == 0 && worker.is_drained();
            if is_drained || drain_until.is_some_and(|until| now >= until) {
                return Ok(());
            }
        }
    }
}
