//! The bytes of a connection: those of its socket, or TLS over them.
//!
//! In plain a link is its socket. Within TLS it keeps what rustls keeps, and follows the rules of the
//! loop: nothing waits, readiness is told once, and what the peer does not take is bounded.

use std::io::{self, IoSlice, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConnection};

use crate::tls::Shown;

/// Bytes that a handshake may take: many times what one does in which only one side shows a
/// certificate, and as many as rustls takes, for certificates of clients and chains of nodes.
pub(super) const SHORT_HANDSHAKE: usize = 16 * 1024;
pub(super) const LONG_HANDSHAKE: usize = 64 * 1024;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Link<S> {
    socket: S,
    // Most have none; it keeps kilobytes.
    tls: Option<Box<Tls>>,
}

/// TLS over a socket that is not here.
#[derive(Debug)]
struct Tls {
    connection: Connection,
    // Bytes that its handshake may still take.
    handshake_left: usize,
    // The socket has not taken all, and was not asked again since it said that it takes more.
    is_stalled: bool,
    // Bytes that are decrypted and not read.
    unread: usize,
    // Nothing more is in the socket, until it says that it is readable.
    is_drained: bool,
    // The peer has closed its side: the socket is read up to its end.
    to_end: bool,
    is_closed: bool,
    // What the peer was shown, if it was shown something.
    shown: Option<Arc<Shown>>,
}

impl<S> Link<S> {
    /// A connection in plain.
    pub(super) fn plain(socket: S) -> Self {
        Self { socket, tls: None }
    }

    /// The socket, for the driver.
    pub(super) fn socket(&self) -> &S {
        &self.socket
    }

    /// The same, to be registered.
    pub(super) fn socket_mut(&mut self) -> &mut S {
        &mut self.socket
    }

    /// Whether it is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// What it is encrypted with, `TLSv1.3/TLS_AES_256_GCM_SHA384`; empty in plain, and before that is
    /// settled.
    pub(super) fn described(&self) -> String {
        let Some(tls) = &self.tls else { return String::new() };
        let version = match tls.connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => return String::new(),
        };
        let suite = tls.connection.negotiated_cipher_suite();
        // As the RFCs name those of TLS 1.3, too.
        let suite = suite.and_then(|suite| suite.suite().as_str()).unwrap_or_default();
        format!("{version}/{}", suite.replacen("TLS13_", "TLS_", 1))
    }

    /// Whether TLS has begun and nothing of ours has gone through it yet.
    pub(super) fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.is_handshaking())
    }

    /// The certificate (DER) that the peer has shown, once the handshake is over.
    pub(super) fn peer_certificate(&self) -> Option<&[u8]> {
        let shown = self.tls.as_ref()?.connection.peer_certificates()?.first()?;
        Some(shown)
    }

    /// The hash of the certificate that the peer was shown, for a login bound to that.
    pub(super) fn end_point_shown(&self) -> Option<&[u8]> {
        self.tls.as_ref()?.shown.as_ref()?.end_point.as_deref()
    }

    /// Whether the two ends have agreed on a protocol by its name (ALPN).
    pub(super) fn has_agreed_on_a_name(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.connection.alpn_protocol().is_some())
    }

    /// The socket has become readable; `ended`: up to its end.
    pub(super) fn became_readable(&mut self, ended: bool) {
        if let Some(tls) = &mut self.tls {
            tls.is_drained = false;
            tls.to_end |= ended;
        }
    }

    /// Whether there may be more to read at once, after a read of so many bytes into so much room: a
    /// short read has drained a socket.
    pub(super) fn may_have_more(&self, read: usize, room: usize) -> bool {
        match &self.tls {
            None => read == room,
            Some(tls) => tls.unread > 0 || !tls.is_drained,
        }
    }

    /// Whether the socket has yet to take what was written: until the flush when it says that it takes
    /// more, also if a read or a write has made it take all before. Who waits for that is woken then.
    pub(super) fn is_stalled(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_stalled)
    }
}

impl<S: Read + Write> Link<S> {
    /// The peer begins TLS: `begun` is what it has sent of it already. Its handshake has so many bytes.
    ///
    /// # Errors
    /// What is no TLS, or what the settings do not accept.
    pub(super) fn accept(
        &mut self,
        shown: Arc<Shown>,
        begun: &[u8],
        handshake_limit: usize,
    ) -> io::Result<()> {
        let config = Arc::clone(&shown.config);
        let connection = ServerConnection::new(config).map_err(io::Error::other)?;
        self.begin(connection.into(), begun, handshake_limit)?;
        self.tls.as_mut().expect("it has begun").shown = Some(shown);
        Ok(())
    }

    /// Begins TLS with a node.
    ///
    /// # Errors
    /// What the socket says.
    pub(super) fn connect(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        self.begin(connection.into(), &[], LONG_HANDSHAKE)
    }

    fn begin(
        &mut self,
        connection: Connection,
        mut begun: &[u8],
        handshake_limit: usize,
    ) -> io::Result<()> {
        let mut tls = Box::new(Tls {
            connection,
            handshake_left: handshake_limit,
            is_stalled: false,
            unread: 0,
            is_drained: false,
            to_end: false,
            is_closed: false,
            shown: None,
        });
        while !begun.is_empty() {
            if tls.take_in(&mut begun)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            tls.digest(&mut self.socket)?;
        }
        tls.write_out(&mut self.socket)?;
        self.tls = Some(tls);
        Ok(())
    }

    /// Says goodbye as TLS has it, before the socket's side is closed.
    pub(super) fn say_goodbye(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.connection.send_close_notify();
            // Who does not hear it sees the end of the connection.
            let _ = tls.write_out(&mut self.socket);
        }
    }
}

impl Tls {
    fn read(&mut self, socket: &mut (impl Read + Write), into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.unread > 0 {
                let read = self.connection.reader().read(into)?;
                self.unread -= read;
                return Ok(read);
            }
            if self.is_closed {
                return Ok(0);
            }
            if self.is_drained {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let mut noted = Noted { socket, came_short: false };
            // The end without the words of TLS for it is an end: messages have lengths of their own.
            let read = self.take_in(&mut noted);
            self.is_drained = noted.came_short && !self.to_end;
            self.is_closed = read? == 0;
            self.digest(socket)?;
        }
    }

    /// Reads what is encrypted.
    fn take_in(&mut self, from: &mut impl Read) -> io::Result<usize> {
        let read = self.connection.read_tls(from)?;
        if self.connection.is_handshaking() {
            // Nobody knows yet who it is, and rustls would keep all of it.
            self.handshake_left = self.handshake_left.checked_sub(read).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "the handshake is too long")
            })?;
        }
        Ok(read)
    }

    /// Makes of it what has come, and answers what is for TLS itself.
    fn digest(&mut self, socket: &mut (impl Read + Write)) -> io::Result<()> {
        let made = self.connection.process_new_packets();
        // Also what is wrong is told. Who does not take it has gone, which shows when it is read from.
        let _ = self.write_out(socket);
        let state = made.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        self.unread = state.plaintext_bytes_to_read();
        self.is_closed |= state.peer_has_closed();
        Ok(())
    }

    /// As a socket does, takes less than there is only if it will tell when it takes more.
    fn write(&mut self, socket: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut taken = 0;
        // Nothing is taken on top of what the socket has not taken: rustls keeps up to 64 KiB.
        while taken < total && self.write_out(socket)? {
            let mut writer = self.connection.writer();
            let now = match taken {
                0 => writer.write_vectored(slices)?,
                _ => writer.write_vectored(&behind(slices, taken))?,
            };
            // The handshake is not over, and as much is kept for its end as may be.
            if now == 0 {
                break;
            }
            taken += now;
        }
        self.write_out(socket)?;
        if taken == 0 && total > 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    /// Whether the socket has taken everything.
    fn write_out(&mut self, socket: &mut impl Write) -> io::Result<bool> {
        while self.connection.wants_write() {
            match self.connection.write_tls(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.is_stalled = true;
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

/// What is left of them behind so many bytes.
fn behind<'s>(slices: &'s [IoSlice<'_>], mut skip: usize) -> Vec<IoSlice<'s>> {
    let mut rest = Vec::new();
    for slice in slices {
        let skipped = skip.min(slice.len());
        skip -= skipped;
        if skipped < slice.len() {
            rest.push(IoSlice::new(&slice[skipped..]));
        }
    }
    rest
}

/// A socket, and whether it had less than was asked for.
struct Noted<'s, S> {
    socket: &'s mut S,
    came_short: bool,
}

impl<S: Read> Read for Noted<'_, S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.socket.read(into)?;
        self.came_short = read < into.len();
        Ok(read)
    }
}

impl<S: Read + Write> Read for Link<S> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.read(into),
            Some(tls) => tls.read(&mut self.socket, into),
        }
    }
}

impl<S: Read + Write> Write for Link<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write(bytes),
            Some(tls) => tls.write(&mut self.socket, &[IoSlice::new(bytes)]),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.socket.write_vectored(slices),
            Some(tls) => tls.write(&mut self.socket, slices),
        }
    }

    /// Has the socket take what was written; `WouldBlock` if it does not take all of it.
    fn flush(&mut self) -> io::Result<()> {
        match &mut self.tls {
            None => Ok(()),
            Some(tls) => {
                tls.is_stalled = !tls.write_out(&mut self.socket)?;
                if tls.is_stalled { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests;
