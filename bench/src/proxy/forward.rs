//! A blind forwarder: what moving the bytes costs, and nothing else.
//!
//! One thread, one loop, a connection to the server for each client. What is read on one side is
//! written to the other; a side whose peer does not take more is not read from.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

/// Bytes read at once: as much as pgherd.
const READ: usize = 64 * 1024;

const LISTENER: Token = Token(usize::MAX);

/// A client and its connection to the server, or the other way round.
struct Side {
    stream: TcpStream,
    readable: bool,
    // It has closed its side: the end is behind what there is to read.
    ended: bool,
    // What it has not taken yet of what the other has sent.
    kept: Vec<u8>,
}

/// Forwards from a port of 127.0.0.1 to another, until it is killed.
pub(crate) fn run(port: u16, to: u16) -> Result<()> {
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(local(port))?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut pairs: HashMap<usize, [Side; 2]> = HashMap::new();
    let (mut next, mut buffer) = (0, vec![0; READ]);
    let mut events = Events::with_capacity(1024);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((client, _)) = listener.accept() {
                    let mut sides = [client, TcpStream::connect(local(to))?];
                    for (side, stream) in sides.iter_mut().enumerate() {
                        stream.set_nodelay(true)?;
                        let interest = Interest::READABLE | Interest::WRITABLE;
                        poll.registry().register(stream, Token(next * 2 + side), interest)?;
                    }
                    let side =
                        |stream| Side { stream, readable: true, ended: false, kept: Vec::new() };
                    pairs.insert(next, sides.map(side));
                    next += 1;
                }
                continue;
            }
            let (pair, side) = (event.token().0 / 2, event.token().0 % 2);
            let Some(sides) = pairs.get_mut(&pair) else { continue };
            sides[side].ended |= event.is_read_closed() || event.is_error();
            sides[side].readable |= event.is_readable() || sides[side].ended;
            // Room on this side is for what the other one has sent.
            let moved =
                forward(sides, side, &mut buffer).and_then(|()| match event.is_writable() {
                    true => forward(sides, 1 - side, &mut buffer),
                    false => Ok(()),
                });
            if moved.is_err() {
                pairs.remove(&pair);
            }
        }
    }
}

/// Moves what one side has sent to the other. Fails when one of them is gone.
fn forward(sides: &mut [Side; 2], from: usize, buffer: &mut [u8]) -> io::Result<()> {
    let [first, second] = sides;
    let (from, to) = if from == 0 { (first, second) } else { (second, first) };
    loop {
        if !to.kept.is_empty() {
            let written = ready(to.stream.write(&to.kept))?;
            to.kept.drain(..written);
            if !to.kept.is_empty() {
                return Ok(());
            }
        }
        if !from.readable {
            return Ok(());
        }
        let read = match from.stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => ready(read)?,
        };
        // A short read has drained the socket, unless its end is behind it.
        from.readable = read == buffer.len() || (from.ended && read > 0);
        let written = if read == 0 { 0 } else { ready(to.stream.write(&buffer[..read]))? };
        to.kept.extend_from_slice(&buffer[written..read]);
    }
}

/// 0 where the socket is not ready.
fn ready(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::Interrupted
            ) =>
        {
            Ok(0)
        }
        result => result,
    }
}
