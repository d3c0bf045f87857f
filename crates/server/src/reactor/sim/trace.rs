//! The last things that happened, for who has to find out why.

use std::collections::VecDeque;
use std::time::Instant;

use super::network::Conn;
use super::server::Death;
use crate::reactor::{Readiness, Token};

/// How many are kept.
const KEPT: usize = 150;

/// Something that has happened.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "read by people, as Debug prints it")]
pub(super) enum Note {
    /// An event was told to a core.
    Ready {
        core: usize,
        conn: Conn,
        token: Token,
        ready: Readiness,
    },
    Mail {
        core: usize,
        kind: &'static str,
    },
    Comes {
        client: u32,
        conn: Conn,
        kind: Option<&'static str>,
    },
    Leaves {
        client: u32,
        leave: u8,
    },
    Dismissed {
        client: u32,
    },
    Cancels {
        client: u32,
    },
    Cancelled {
        conn: Conn,
        user: Option<u32>,
    },
    Killed {
        conn: Conn,
        death: Death,
        user: Option<u32>,
    },
    Frozen {
        node: usize,
    },
    Down {
        node: usize,
        is_down: bool,
    },
}

#[derive(Debug)]
pub(super) struct Trace {
    start: Instant,
    now: Instant,
    notes: VecDeque<(Instant, Note)>,
    /// All that has happened, in one number: two runs that differ in it differ in something.
    pub(super) digest: u64,
    pub(super) count: u64,
}

impl Trace {
    pub(super) fn new(start: Instant) -> Self {
        Self { start, now: start, notes: VecDeque::with_capacity(KEPT), digest: 0, count: 0 }
    }

    pub(super) fn at(&mut self, now: Instant) {
        self.now = now;
    }

    pub(super) fn note(&mut self, note: Note) {
        if let Note::Ready { core, conn, ready, .. } = note {
            let micros = (self.now - self.start).as_micros();
            let bits = u64::from(ready.readable) | u64::from(ready.writable) << 1;
            let mixed =
                u64::try_from(micros).unwrap_or(0) ^ (conn as u64) << 20 ^ (core as u64) << 60;
            self.digest =
                (self.digest.rotate_left(5) ^ mixed ^ bits).wrapping_mul(0x517c_c1b7_2722_0a95);
        }
        self.count += 1;
        if self.notes.len() == KEPT {
            self.notes.pop_front();
        }
        self.notes.push_back((self.now, note));
    }

    /// The last of them, a line each.
    pub(super) fn told(&self) -> String {
        let line = |(at, note): &(Instant, Note)| format!("  {:?} {note:?}\n", *at - self.start);
        self.notes.iter().map(line).collect()
    }
}
