//! A TCP link that fails on command.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// Bytes carried at once.
const CHUNK: usize = 16 * 1024;

/// What the link does to what travels over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Carries everything.
    Healthy,
    /// Carries nothing, keeps connections open: a frozen peer.
    Stalled,
    /// Carries each chunk of up to 16 KiB late, and so many bytes a second each way.
    Slow {
        /// How long a chunk waits.
        delay: Duration,
        /// The rate; `u32::MAX` is as good as none.
        bytes_per_second: u32,
    },
    /// Swallows what the node sends, its end included: requests arrive, answers do not.
    HalfOpen,
    /// Accepts nobody: connections are closed as soon as they are made.
    Closed,
}

/// Stands between a client and a node. Dropping it closes every connection.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    // Guards mode and connections; held to look at them, never while waiting for a socket.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    ended: bool,
    connections: Vec<Connection>,
    made: usize,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    node: TcpStream,
    // Its pumps then close without saying so: what is left to close sends a reset.
    is_reset: Arc<AtomicBool>,
}

/// Which way a pump carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToNode,
    ToClient,
}

/// What becomes of the end of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Told,
    Swallowed,
}

impl Link {
    /// A healthy link to `target`, listening on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn to(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").context("cannot listen for a link")?;
        let address = listener.local_addr()?;
        let state = State { mode: Mode::Healthy, ended: false, connections: Vec::new(), made: 0 };
        let shared = Arc::new(Shared { target, state: Mutex::new(state), changed: Condvar::new() });
        let acceptor = Arc::clone(&shared);
        std::thread::spawn(move || acceptor.accept(&listener));
        Ok(Self { address, shared })
    }

    /// Where to connect instead of to the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the link does, also to connections that exist.
    pub fn set(&self, mode: Mode) {
        self.shared.lock().mode = mode;
        self.shared.changed.notify_all();
    }

    /// Closes every connection properly, on both sides.
    pub fn cut(&self) {
        for Connection { client, node, .. } in self.shared.lock().connections.drain(..) {
            // An error means that it is closed already.
            let _ = client.shutdown(Shutdown::Both);
            let _ = node.shutdown(Shutdown::Both);
        }
    }

    /// Resets every connection on both sides: the peers get an error and not an end.
    pub fn reset(&self) {
        for Connection { client, node, is_reset } in self.shared.lock().connections.drain(..) {
            is_reset.store(true, Ordering::Release);
            for stream in [client, node] {
                // With no time to linger, closing sends a reset. An error means that it is
                // closed already.
                let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                let _ = stream.shutdown(Shutdown::Read);
            }
        }
    }

    /// The number of connections that were made so far.
    pub fn made(&self) -> usize {
        self.shared.lock().made
    }

    /// The number of connections it carries.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections.len()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        self.cut();
        // Wakes the acceptor, who sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming().flatten() {
            let mode = {
                let state = self.lock();
                if state.ended {
                    return;
                }
                state.mode
            };
            if mode == Mode::Closed {
                continue;
            }
            let Ok(node) = TcpStream::connect(self.target) else { continue };
            // A link that cannot carry a connection closes it, as one does that is broken.
            let _ = self.carry(client, node);
        }
    }

    fn carry(self: &Arc<Self>, client: TcpStream, node: TcpStream) -> std::io::Result<()> {
        client.set_nodelay(true)?;
        node.set_nodelay(true)?;
        let is_reset = Arc::new(AtomicBool::new(false));
        let connection = Connection {
            client: client.try_clone()?,
            node: node.try_clone()?,
            is_reset: Arc::clone(&is_reset),
        };
        let mut state = self.lock();
        state.made += 1;
        state.connections.push(connection);
        drop(state);
        let ways = [
            (client.try_clone()?, node.try_clone()?, Direction::ToNode),
            (node, client, Direction::ToClient),
        ];
        for (from, to, direction) in ways {
            let (shared, is_reset) = (Arc::clone(self), Arc::clone(&is_reset));
            std::thread::spawn(move || {
                // Who cannot be written to is gone.
                let end = shared.pump(&from, &to, direction).unwrap_or(End::Told);
                if end == End::Told && !is_reset.load(Ordering::Acquire) {
                    let _ = to.shutdown(Shutdown::Write);
                    shared.forget_if_over(&from);
                }
            });
        }
        Ok(())
    }

    fn pump(
        &self,
        mut from: &TcpStream,
        mut to: &TcpStream,
        direction: Direction,
    ) -> std::io::Result<End> {
        let mut chunk = [0; CHUNK];
        loop {
            // A connection that breaks is one that ends.
            let read = from.read(&mut chunk).unwrap_or(0);
            match self.wait_while_stalled() {
                Mode::HalfOpen if direction == Direction::ToClient => {
                    if read == 0 {
                        return Ok(End::Swallowed);
                    }
                    continue;
                }
                Mode::Slow { delay, bytes_per_second } => {
                    let seconds = read as f64 / f64::from(bytes_per_second.max(1));
                    std::thread::sleep(delay + Duration::from_secs_f64(seconds));
                }
                _ => {}
            }
            if read == 0 {
                return Ok(End::Told);
            }
            to.write_all(&chunk[..read])?;
        }
    }

    fn wait_while_stalled(&self) -> Mode {
        let state = self
            .changed
            .wait_while(self.lock(), |state| state.mode == Mode::Stalled && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        state.mode
    }

    fn forget_if_over(&self, ended: &TcpStream) {
        let Ok(address) = ended.peer_addr() else {
            // Not connected any more: whoever closed it has forgotten it.
            self.lock().connections.retain(|Connection { client, node, .. }| {
                client.peer_addr().is_ok() && node.peer_addr().is_ok()
            });
            return;
        };
        self.lock().connections.retain(|Connection { client, node, .. }| {
            client.peer_addr().ok() != Some(address) && node.peer_addr().ok() != Some(address)
        });
    }
}

#[cfg(test)]
mod tests;
