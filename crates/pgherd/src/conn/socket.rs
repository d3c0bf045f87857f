//! The byte stream to a node, TCP or Unix, with a tap on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::tap::Tap;
use super::transport::Transport;
use super::unnamed::Unnamed;

/// How long a connection is silent before the kernel asks whether the other end is there, and
/// how often it asks again: a node that vanished is noticed in a minute, not in two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// How long what was sent may stay unconfirmed before the connection counts as lost; without it
/// the kernel sends it again for a quarter of an hour.
#[cfg(target_os = "linux")]
const UNCONFIRMED: Duration = Duration::from_secs(30);

/// A stream of either kind.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Socket {
    /// Connects to `host:port`; a host that begins with `/` is the folder of a Unix socket.
    ///
    /// Dropping the future closes what was opened.
    pub(super) async fn connect(host: &str, port: u16) -> io::Result<Self> {
        if host.starts_with('/') {
            let path = format!("{host}/.s.PGSQL.{port}");
            return UnixStream::connect(path).await.map(Self::Unix);
        }
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL);
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(UNCONFIRMED))?;
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

/// A connection whose bytes, once really read or written, are shown to a [`Tap`]. When the tap finds a
/// pooler at the other end, what the driver writes and reads is changed by [`Unnamed`].
#[derive(Debug)]
pub(super) struct TappedSocket {
    socket: Transport,
    tap: Arc<Tap>,
    unnamed: Option<Unnamed>,
    // Changed and not written yet.
    outgoing: Vec<u8>,
}

/// While more bytes than this wait to be written, no more are taken: as many as the driver itself
/// gathers before it writes.
const OUTGOING_LIMIT: usize = 8 * 1024;

impl TappedSocket {
    pub(super) fn new(socket: Transport, tap: Arc<Tap>) -> Self {
        Self { socket, tap, unnamed: None, outgoing: Vec::new() }
    }

    fn unnamed(&mut self) -> Option<&mut Unnamed> {
        if self.unnamed.is_none() && self.tap.is_pooled() {
            self.unnamed = Some(Unnamed::new());
        }
        self.unnamed.as_mut()
    }

    fn poll_write_tapped(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.socket).poll_write(cx, bytes);
        match &polled {
            Poll::Ready(Ok(written)) => self.tap.on_written(&bytes[..*written]),
            Poll::Pending => self.tap.on_write_stalled(),
            Poll::Ready(Err(_)) => {}
        }
        polled
    }

    /// Writes what was changed and waits.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let outgoing = std::mem::take(&mut self.outgoing);
        let mut at = 0;
        let polled = loop {
            if at == outgoing.len() {
                break Poll::Ready(Ok(()));
            }
            match self.poll_write_tapped(cx, &outgoing[at..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(written)) => at += written,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.outgoing = outgoing;
        self.outgoing.drain(..at);
        polled
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
            let polled = Pin::new(&mut self.socket).poll_read(cx, buf);
            let read = &mut buf.filled_mut()[before..];
            if read.is_empty() {
                return polled;
            }
            self.tap.on_read(read);
            let Some(unnamed) = self.unnamed() else { return polled };
            let kept = unnamed.incoming(read).map_err(io::Error::other)?;
            buf.set_filled(before + kept);
            // To have read nothing would mean that the stream has ended.
            if kept > 0 {
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
        if self.unnamed().is_none() {
            return self.poll_write_tapped(cx, bytes);
        }
        if self.outgoing.len() > OUTGOING_LIMIT {
            ready!(self.poll_outgoing(cx))?;
        }
        let this = &mut *self;
        if let Some(unnamed) = &mut this.unnamed {
            unnamed.outgoing(bytes, &mut this.outgoing).map_err(io::Error::other)?;
        }
        // What is not written now is by the flush, which follows.
        match self.poll_outgoing(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(bytes.len())),
        }
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
