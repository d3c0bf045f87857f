//! The byte stream to a node, TCP or Unix, with a tap on it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::has_budget_remaining;

use pgherd_core::hosts::Address;

use super::exchange::Exchange;
use super::tap::Tap;
use super::transport::Transport;
use super::watch::Watch;

/// How long a connection is silent before the kernel asks whether the other end is there, and
/// how often it asks again: a node that vanished is noticed in a minute, not in two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long to wait before another try where a Unix socket has no place in its queue: 10 ms, in which
/// PostgreSQL accepts dozens.
const FULL_QUEUE: Duration = Duration::from_millis(10);

/// A stream of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects. `unconfirmed` is `pool.tcp_user_timeout`.
    ///
    /// Dropping the future closes what was opened.
    pub(super) async fn connect(to: &Address, unconfirmed: Duration) -> io::Result<Self> {
        match to {
            Address::Tcp(at) => Self::connect_tcp(*at, unconfirmed).await,
            Address::Unix(host) => Self::connect_unix(&host.socket_path()).await,
        }
    }

    /// Whether it is a Unix socket, over which no TLS is spoken.
    pub(super) fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    async fn connect_unix(path: &str) -> io::Result<Self> {
        // Of an abstract name the first byte is zero.
        let path = path.strip_prefix('@').map_or(path.to_owned(), |name| format!("\0{name}"));
        loop {
            match UnixStream::connect(&path).await {
                // The queue of who listens is full: the system has begun nothing that could be waited
                // for. The caller sets a limit.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(FULL_QUEUE).await;
                }
                connected => return connected.map(Self::Unix),
            }
        }
    }

    async fn connect_tcp(to: SocketAddr, unconfirmed: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL);
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        // Not unless it is asked for: it also ends connections to a node that is there, and does
        // not read because its backend waits for a lock.
        #[cfg(target_os = "linux")]
        if !unconfirmed.is_zero() {
            socket.set_tcp_user_timeout(Some(unconfirmed))?;
        }
        #[cfg(not(target_os = "linux"))]
        let _ = unconfirmed;
        Ok(Self::Tcp(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// A connection whose bytes, once really read or written, are shown to a [`Tap`], and changed on
/// their way by an [`Exchange`].
#[derive(Debug)]
pub(super) struct TappedSocket {
    socket: Transport,
    exchange: Exchange,
    // Once it was asked.
    watch: Option<Watch>,
}

/// As many bytes are taken at once, at most, because they are copied. 64 KiB: enough that a large
/// message takes few writes.
const TAKEN_LIMIT: usize = 64 * 1024;

impl TappedSocket {
    pub(super) fn new(socket: Transport, tap: Tap) -> Self {
        Self { socket, exchange: Exchange::new(tap), watch: None }
    }

    /// Takes what was read into `buf` behind so many bytes, and leaves what the driver is to read.
    ///
    /// Most often nothing has come: that is not to pay for what is done otherwise.
    #[inline(never)]
    fn take_in(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        // What that sets free is written by the flush, which follows: the driver reads first.
        let read = self.exchange.read(&mut buf.filled_mut()[before..]);
        buf.set_filled(before + read.map_err(io::Error::other)?);
        Ok(())
    }

    #[cold]
    fn read_made_up(&mut self, buf: &mut ReadBuf<'_>) {
        let made_up = self.exchange.made_up();
        let here = made_up.len().min(buf.remaining());
        buf.put_slice(&made_up[..here]);
        made_up.drain(..here);
    }

    /// Writes what there is to be written.
    #[inline]
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.exchange.has_outgoing() { self.write_outgoing(cx) } else { Poll::Ready(Ok(())) }
    }

    #[inline(never)]
    fn write_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.exchange.outgoing().is_empty() {
            let Self { socket, exchange, .. } = &mut *self;
            match ready!(Pin::new(socket).poll_write(cx, exchange.outgoing()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.exchange.on_written(written).map_err(io::Error::other)?,
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for TappedSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        loop {
            if self.exchange.has_made_up() {
                self.read_made_up(buf);
                return Poll::Ready(Ok(()));
            }
            let Self { socket, watch, .. } = &mut *self;
            let watch = match watch {
                Some(watch) if watch.is_for(cx.waker()) => watch,
                watch => watch.insert(Watch::new(cx.waker())),
            };
            if !watch.may_read() {
                return Poll::Pending;
            }
            let polled = Pin::new(socket).poll_read(&mut watch.ask(), buf);
            // In a task that has used up its budget, tokio says "pending" without asking.
            if polled.is_ready() || !has_budget_remaining() {
                watch.leave_open();
            }
            if polled.is_pending() {
                return Poll::Pending;
            }
            if buf.filled().len() == before {
                return polled;
            }
            self.take_in(buf, before)?;
            // To have read nothing would mean that the stream has ended.
            if buf.filled().len() > before {
                return polled;
            }
        }
    }
}

impl AsyncWrite for TappedSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = &bytes[..bytes.len().min(TAKEN_LIMIT)];
        if self.exchange.passes(bytes) {
            let written = match Pin::new(&mut self.socket).poll_write(cx, bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => 0,
            };
            self.exchange.on_passed(bytes, written);
            if written == bytes.len() {
                return Poll::Ready(Ok(written));
            }
        } else {
            if self.exchange.is_full() {
                ready!(self.poll_outgoing(cx))?;
            }
            if self.exchange.is_full() {
                // Until an answer sets it free: whoever reads that writes next.
                return Poll::Pending;
            }
            self.exchange.write(bytes).map_err(io::Error::other)?;
        }
        // What is not written now is by the flush, which follows.
        if let Poll::Ready(Err(error)) = self.poll_outgoing(cx) {
            return Poll::Ready(Err(error));
        }
        if self.exchange.has_made_up() {
            // The driver has read for this turn.
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outgoing(cx))?;
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_outgoing(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::io::Write;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::sync::Arc;

    use pgherd_core::hosts::Host;
    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn an_abstract_name_is_connected_to() {
        let name = format!("@pgherd-conn-{}", std::process::id());
        let host = Arc::new(Host { name: name.clone(), port: 5432 });
        let at = SocketAddr::from_abstract_name(format!("{}/.s.PGSQL.5432", &name[1..])).unwrap();
        let _listener = UnixListener::bind_addr(&at).unwrap();
        let address = Address::of_socket(&host).unwrap();
        assert!(Socket::connect(&address, Duration::ZERO).await.unwrap().is_unix());
    }

    /// A connection, and the node's end of it.
    async fn tapped() -> io::Result<(TappedSocket, std::net::TcpStream)> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let socket = Socket::connect(&listener.local_addr()?.into(), Duration::ZERO).await?;
        let (node, _) = listener.accept()?;
        Ok((TappedSocket::new(Transport::Plain(socket), Tap::new(None)), node))
    }

    /// How much is read at once, if anything is there.
    async fn read(socket: &mut TappedSocket) -> Poll<usize> {
        let (mut bytes, mut socket) = ([0; 64], Pin::new(socket));
        poll_fn(|cx| {
            let mut buf = ReadBuf::new(&mut bytes);
            let polled = socket.as_mut().poll_read(cx, &mut buf);
            Poll::Ready(polled.map(|_| buf.filled().len()))
        })
        .await
    }

    #[tokio::test]
    async fn what_has_come_is_read_although_a_task_had_no_budget_to_look() {
        let (mut socket, mut node) = tapped().await.unwrap();
        assert!(read(&mut socket).await.is_pending());
        let message = b"N\0\0\0\x05\0";
        node.write_all(message).unwrap();
        let may_read = |socket: &TappedSocket| socket.watch.as_ref().is_some_and(Watch::may_read);
        while !may_read(&socket) {
            tokio::task::yield_now().await;
        }
        let budget = Semaphore::new(1);
        while has_budget_remaining() {
            drop(budget.acquire().await.unwrap());
        }
        assert!(read(&mut socket).await.is_pending(), "it was not asked");
        assert!(may_read(&socket), "nor is anybody else kept from asking");
        tokio::task::yield_now().await;
        assert_eq!(read(&mut socket).await, Poll::Ready(message.len()));
        assert!(read(&mut socket).await.is_pending());
    }

    #[tokio::test]
    async fn a_node_that_does_not_read_is_waited_for_unless_the_settings_say_otherwise() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        for (set, expected) in [(0, None), (7, Some(Duration::from_secs(7)))] {
            let socket = Socket::connect(&address.into(), Duration::from_secs(set)).await;
            let Socket::Tcp(stream) = socket.unwrap() else { panic!("it is TCP") };
            let socket = socket2::SockRef::from(&stream);
            let found = socket.tcp_user_timeout().unwrap().filter(|limit| !limit.is_zero());
            assert_eq!(found, expected);
            assert!(socket.keepalive().unwrap());
        }
    }
}
