//! The loop's driver over the simulated network.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use pgherd_core::hosts::Address;

use super::network::{Connect, Event, Peer, SharedNetwork, Stream};
use super::random::Random;
use crate::reactor::{Driver, Mail, Token};

/// What cores have sent one another and nobody has opened yet. Not part of the network: a letter
/// may hold a stream, which must not be dropped while the network is borrowed.
pub(super) type Post = Rc<RefCell<Vec<VecDeque<Mail<Stream>>>>>;

/// The port of node 0; the others follow.
pub(super) const FIRST_PORT: u16 = 5000;

/// A node that has a second address has it so many ports above the first.
pub(super) const SECOND: u16 = 100;

/// Sockets of one core.
#[derive(Debug)]
pub(super) struct SimDriver {
    pub(super) core: usize,
    pub(super) network: SharedNetwork,
    pub(super) post: Post,
    pub(super) random: Random,
}

impl Driver for SimDriver {
    type Stream = Stream;

    fn connect(&mut self, to: &Address, token: Token) -> io::Result<Stream> {
        let mut network = self.network.borrow_mut();
        let node = usize::from((to.port() - FIRST_PORT) % SECOND);
        let is_closed = network.closed == Some(to.port());
        if is_closed && self.random.one_in(2) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let conn = network.open(Peer::Node(node), Connect::UnderWay);
        network.watch(conn, self.core, token);
        let after = Duration::from_micros(self.random.within(20, 400));
        network.schedule(after, if is_closed { Event::Refuse(conn) } else { Event::Connect(conn) });
        Ok(Stream::new(&self.network, conn))
    }

    fn is_connected(&mut self, stream: &Stream) -> io::Result<bool> {
        self.network.borrow_mut().is_connected(stream.conn)
    }

    fn register(&mut self, stream: &mut Stream, token: Token) -> io::Result<()> {
        self.network.borrow_mut().watch(stream.conn, self.core, token);
        Ok(())
    }

    fn deregister(&mut self, stream: &mut Stream) {
        self.network.borrow_mut().unwatch(stream.conn);
    }

    fn shutdown_write(&mut self, stream: &Stream) {
        self.network.borrow_mut().shut(stream.conn);
    }

    fn post(&self, core: usize, mail: Mail<Stream>) {
        self.post.borrow_mut()[core].push_back(mail);
    }

    fn ends(&self, _: &Stream) -> (Option<SocketAddr>, Option<SocketAddr>) {
        (None, None)
    }

    fn random(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
}
