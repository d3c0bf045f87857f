//! A connection that the other end is to close first.
//!
//! PgBouncer 1.18 ends, with all of its clients, when the connection of a cancel request is closed
//! while that is on its way to the node ("bad client state" in its log). The driver closes it as
//! soon as the request is written. And a cancel that is still on its way may hit the next
//! statement: the other end closes when it is not.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the module's header. Its shutdown ends when the other end has closed.
#[derive(Debug)]
pub(super) struct Lingering<S>(pub(super) S);

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut bytes = [0; 64];
            let mut buf = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf));
            // An error is an end, too: a reset, or TLS that was not taken leave of.
            if read.is_err() || buf.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn its_shutdown_ends_when_the_other_end_has_closed() {
        let (ours, mut theirs) = duplex(100);
        let mut ours = Lingering(ours);
        ours.write_all(b"cancel").await.unwrap();
        theirs.write_all(b"why").await.unwrap();
        assert!(ours.shutdown().now_or_never().is_none());
        let mut read = [0; 6];
        theirs.read_exact(&mut read).await.unwrap();
        assert!(theirs.read(&mut read).now_or_never().is_none(), "it is open still");
        drop(theirs);
        ours.shutdown().await.unwrap();
    }
}
