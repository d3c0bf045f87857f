//! A new process takes the place of this one, or this one takes another's.
//!
//! In: a process of the same user that asks at the desk, a Unix socket beside the clients'. Out: the
//! listening sockets, handed over as they are: never closed, so that nobody who connects is refused or
//! lost. The process that has handed them over serves the clients that it has until they leave, and
//! ends. Until then requests to cancel that are for them, and arrive at the new one, are sent on to it.
//!
//! What is said: the new process `pgherd take-over 1`; the old one `cancels` and an address, with the
//! sockets; the new one, once it serves, `ready`; the old one, once it accepts no more, `bye`. Until
//! `ready` both may give up, and nothing has changed: after a minute without it the old one does.

use std::io::{self, BufRead, BufReader, ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgherd_core::settings::ListenSettings;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use rustix::process::geteuid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader as AsyncReader, Interest};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use crate::listeners::{Access, SocketFile, UnixPlace};
use crate::reactor::Mail;
use crate::reactor::mio_driver::Mailbox;

/// Processes that may wait for their turn to ask.
const MOST_ASKING: i32 = 16;

const HELLO: &str = "pgherd take-over 1";
const READY: &str = "ready";
const BYE: &str = "bye";

/// How long one side waits for the next word of the other, but for `ready`.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a new process may take to start: it reads its files, and derives keys of its passwords.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Sockets handed over at most: more than a process has.
const MOST_SOCKETS: usize = 64;

/// What a process begins with that others have opened.
#[derive(Debug, Default)]
pub struct Inherited {
    pub(crate) sockets: Vec<OwnedFd>,
    pub(crate) predecessor: Option<Predecessor>,
}

/// A process that gives its place up once it is told that this one serves.
#[derive(Debug)]
pub(crate) struct Predecessor {
    /// Where it takes requests to cancel from then on.
    pub(crate) cancels: SocketAddr,
    stream: UnixStream,
}

impl Inherited {
    /// Sockets that listen, as systemd hands them over.
    pub fn sockets(sockets: impl IntoIterator<Item = OwnedFd>) -> Self {
        Self { sockets: sockets.into_iter().collect(), predecessor: None }
    }

    /// Whether it comes from a process whose place is taken.
    pub fn takes_over(&self) -> bool {
        self.predecessor.is_some()
    }

    /// The sockets of the process that serves under these settings' Unix socket; `None` if there is
    /// none. It goes on until [`crate::Server::start_inheriting`] has started another in its place.
    ///
    /// # Errors
    /// Why they cannot be had of the process that is there.
    pub fn take_over(settings: &ListenSettings) -> io::Result<Option<Self>> {
        let Some(place) = UnixPlace::desk(settings, settings.port) else {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "a take-over goes over a Unix socket: set listen.unix_socket_dir",
            ));
        };
        let stream = match place.connect() {
            Err(error) if is_nobody(error.kind()) => return Ok(None),
            stream => stream?,
        };
        // Anybody may have listened there, and may hand over what leads elsewhere.
        let peer = socket_peercred(&stream)?;
        if !may_take_part(peer.uid.as_raw()) {
            let text = format!("{place} is of another user's process");
            return Err(io::Error::new(ErrorKind::PermissionDenied, text));
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(&stream, "{HELLO}")?;
        let (line, sockets) = receive(&stream)?;
        if line.is_empty() {
            // It is stopping, and has closed its sockets.
            return Ok(None);
        }
        let cancels = line.trim().strip_prefix("cancels ").and_then(|at| at.parse().ok());
        let strange = || io::Error::new(ErrorKind::InvalidData, format!("{place} says `{line}`"));
        let predecessor = Some(Predecessor { cancels: cancels.ok_or_else(strange)?, stream });
        Ok(Some(Self { sockets, predecessor }))
    }
}

impl Predecessor {
    /// This process serves: the other one accepts no more when this returns.
    pub(crate) fn relieve(mut self) -> io::Result<()> {
        writeln!(self.stream, "{READY}")?;
        let mut line = String::new();
        BufReader::new(&self.stream).read_line(&mut line)?;
        if line.trim() == BYE { Ok(()) } else { Err(ErrorKind::UnexpectedEof.into()) }
    }
}

fn is_nobody(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

fn may_take_part(uid: u32) -> bool {
    uid == geteuid().as_raw() || uid == 0
}

fn receive(stream: &UnixStream) -> io::Result<(String, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut text = [0; 256];
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut text)], &mut control, flags)?;
    let mut sockets = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            sockets.extend(fds);
        }
    }
    Ok((String::from_utf8_lossy(&text[..received.bytes]).into_owned(), sockets))
}

/// Where this process answers over HTTP, until another one does.
#[derive(Debug)]
pub(crate) struct WebDoor {
    /// What listens.
    pub(crate) socket: OwnedFd,
    /// What accepts.
    pub(crate) answering: AbortHandle,
}

/// Where other processes ask for the place of this one.
#[derive(Debug)]
pub(crate) struct TakeoverDesk {
    listener: std::os::unix::net::UnixListener,
    file: Option<SocketFile>,
    // Whether the file of the clients' socket is this process's own.
    owns_file: Arc<AtomicBool>,
}

impl TakeoverDesk {
    /// Opens it, if the settings have a Unix socket beside which it can be.
    pub(crate) fn open(
        settings: &ListenSettings,
        port: u16,
        owns_file: Arc<AtomicBool>,
    ) -> io::Result<Option<Self>> {
        let Some(place) = UnixPlace::desk(settings, port) else { return Ok(None) };
        let listener = place.bind(Access::OWN, MOST_ASKING)?;
        listener.set_nonblocking(true)?;
        Ok(Some(Self { listener, file: place.own_file()?, owns_file }))
    }

    /// Serves those who ask, until one has taken the place of this process.
    pub(crate) async fn serve(self, mailboxes: Arc<[Mailbox]>, web: Option<WebDoor>) {
        let Self { listener, file, owns_file } = self;
        let listener = match tokio::net::UnixListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "nobody can take over"),
        };
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::error!(%error, "cannot hear who wants to take over");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // From before another process has the sockets: whenever this one is told to stop, the file is
            // left to it.
            let owned = owns_file.swap(false, Ordering::Relaxed);
            match hand_over(stream, &mailboxes, web.as_ref()).await {
                Ok((mut stream, pid)) => {
                    tracing::info!(pid, "taken over: this process ends with its last client");
                    // Before the other one is told: it opens its own there.
                    drop((listener, file));
                    let bye = format!("{BYE}\n");
                    // Whoever does not hear it is gone, and has the sockets.
                    let _ = stream.write_all(bye.as_bytes()).await;
                    return;
                }
                Err(error) => {
                    owns_file.store(owned, Ordering::Relaxed);
                    tracing::warn!(%error, "a take-over has come to nothing");
                }
            }
        }
    }
}

type Reader = AsyncReader<tokio::net::UnixStream>;

/// Returns when another process serves and this one accepts no more: the other, and its number.
async fn hand_over(
    stream: tokio::net::UnixStream,
    mailboxes: &[Mailbox],
    web: Option<&WebDoor>,
) -> io::Result<(Reader, Option<i32>)> {
    let peer = stream.peer_cred()?;
    if !may_take_part(peer.uid()) {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it is another user's process"));
    }
    let mut stream = AsyncReader::new(stream);
    let hello = tokio::time::timeout(PATIENCE, line(&mut stream)).await??;
    if hello != HELLO {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("it says `{hello}`")));
    }
    let (lend, lent) = oneshot::channel();
    mailboxes[0].post(Mail::LendDoors(lend));
    let stopping = |_| io::Error::other("this process is stopping");
    let sockets: Vec<OwnedFd> = lent.await.map_err(stopping)?;
    let cancels = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let text = format!("cancels {}\n", cancels.local_addr()?);
    let of_web = web.map(|web| web.socket.as_fd());
    let borrowed: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).chain(of_web).collect();
    stream.get_ref().writable().await?;
    stream.get_ref().try_io(Interest::WRITABLE, || send(stream.get_ref(), &text, &borrowed))?;
    drop(sockets);
    if tokio::time::timeout(STARTS_WITHIN, line(&mut stream)).await?? != READY {
        return Err(io::Error::new(ErrorKind::UnexpectedEof, "the other process has not started"));
    }
    let (done, is_done) = oneshot::channel();
    mailboxes[0].post(Mail::HandedOver(Some((cancels, done))));
    is_done.await.map_err(stopping)?;
    // Behind the last clients that the first has dealt out to them.
    mailboxes[1..].iter().for_each(|mailbox| mailbox.post(Mail::HandedOver(None)));
    if let Some(web) = web {
        web.answering.abort();
    }
    Ok((stream, peer.pid()))
}

async fn line(stream: &mut Reader) -> io::Result<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    Ok(line.trim().to_owned())
}

fn send(stream: &tokio::net::UnixStream, text: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_SOCKETS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("too many sockets to hand over"));
    }
    let sent =
        sendmsg(stream, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
    if sent == text.len() { Ok(()) } else { Err(ErrorKind::WriteZero.into()) }
}
