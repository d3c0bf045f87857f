//! What has to hold whatever bytes come, for property tests and fuzz targets.
//!
//! Each function takes the bytes of a driver and of its backend line by line, `true` with the
//! driver's. It panics if something does not hold, and returns what was made of them: it must not
//! depend on the pieces in which a line came.

use std::sync::Arc;

use pgherd_core::sql::{ClassCache, Classifier};
use pgherd_wire::frame::{HEADER, MAX_MESSAGE, put};
use pgherd_wire::{Frame, TxStatus, backend};

use super::exchange::Exchange;
use super::heard::WireState;
use super::tap::Tap;
use crate::mutex::Mutex;

/// What a [`Tap`] has heard.
#[derive(Debug, PartialEq, Eq)]
pub struct Account {
    is_settled: Option<TxStatus>,
    status: TxStatus,
    process_id: Option<u32>,
    last_tag: String,
    statements: u64,
    errors: u64,
    is_over: bool,
    is_altered: bool,
    left: Option<String>,
}

/// What is heard of a connection from its startup packet on; `None` once it is broken.
pub fn tap(lines: &[(bool, Vec<&[u8]>)]) -> Option<Account> {
    let classes = ClassCache::new(Classifier::default(), 1 << 20);
    let mut tap = Tap::new(Some(Arc::new(Mutex::new(classes))));
    let mut statements = 0;
    for (asks, pieces) in lines {
        for piece in pieces {
            match asks {
                true => tap.on_written(piece),
                false => tap.on_read(piece),
            }
            assert!(
                tap.heard().statements() >= statements,
                "statements are sent and not taken back"
            );
            statements = tap.heard().statements();
            if tap.heard().standing().0 == WireState::Broken {
                return None;
            }
        }
    }
    let (state, left) = tap.heard().standing();
    Some(Account {
        is_settled: match state {
            WireState::Settled(status) => Some(status),
            WireState::Owing | WireState::Broken => None,
        },
        status: tap.status(),
        process_id: tap.heard().process_id(),
        last_tag: tap.heard().last_tag(),
        statements: tap.heard().statements(),
        errors: tap.heard().errors(),
        is_over: tap.heard().is_over(),
        is_altered: tap.heard().is_altered(),
        left: left.map(|left| format!("{left:?}")),
    })
}

/// What a backend and a driver get to read; `None` once the connection is of no more use.
pub fn exchange(lines: &[(bool, Vec<&[u8]>)], is_pooled: bool) -> Option<(Vec<u8>, Vec<u8>)> {
    let tap = Tap::new(None);
    let heard = Arc::clone(tap.heard());
    let mut exchange = Exchange::new(tap);
    let (mut to_backend, mut to_driver) = (Vec::new(), Vec::new());
    let startup = b"\0\0\0\x08\0\x03\0\0";
    exchange.write(startup).expect("a startup packet passes");
    write_out(&mut exchange, &mut to_backend)?;
    let mut welcome = Vec::new();
    put(&mut welcome, backend::KEY_DATA, |out| out.extend_from_slice(&[0, 0, 0, 7, 1, 2, 3, 4]));
    backend::put_ready(&mut welcome, TxStatus::Idle);
    exchange.read(&mut welcome).expect("a welcome is right");
    heard.find_pooler(Some(if is_pooled { 8 } else { 7 }));
    let mut written = 0;
    let mut answers = Boundaries::default();
    for (asks, pieces) in lines {
        for piece in pieces {
            match asks {
                true => {
                    written += piece.len();
                    if exchange.passes(piece) {
                        // A socket that takes all of it, or a part.
                        let taken = if written % 2 == 0 { piece.len() } else { piece.len() / 2 };
                        exchange.on_passed(piece, taken);
                        to_backend.extend_from_slice(&piece[..taken]);
                    } else {
                        exchange.write(piece).ok()?;
                    }
                }
                // An answer to what is written only once the answer before it is read cannot have
                // come together with that.
                false => {
                    for part in answers.cut(piece) {
                        let mut read = part.to_vec();
                        let kept = exchange.read(&mut read).ok()?;
                        assert!(kept <= part.len());
                        to_driver.extend_from_slice(&read[..kept]);
                        write_out(&mut exchange, &mut to_backend)?;
                        to_driver.append(exchange.made_up());
                    }
                }
            }
            write_out(&mut exchange, &mut to_backend)?;
            to_driver.append(exchange.made_up());
            if heard.standing().0 == WireState::Broken {
                return None;
            }
        }
    }
    assert!(is_pooled || to_backend.len() <= startup.len() + written + 5 * written, "{written}");
    Some((to_backend, to_driver))
}

/// Where the messages of a stream end.
#[derive(Default)]
struct Boundaries {
    header: Vec<u8>,
    rest: usize,
}

impl Boundaries {
    /// Cuts what comes next behind each message that ends in it.
    fn cut<'b>(&mut self, piece: &'b [u8]) -> Vec<&'b [u8]> {
        let (mut parts, mut start) = (Vec::new(), 0);
        for (at, byte) in piece.iter().enumerate() {
            if self.rest > 0 {
                self.rest -= 1;
            } else {
                self.header.push(*byte);
                match Frame::read(&self.header, MAX_MESSAGE) {
                    Ok(None) => continue,
                    Ok(Some(frame)) => self.rest = frame.size - HEADER,
                    Err(_) => break,
                }
                self.header.clear();
            }
            if self.rest == 0 {
                parts.push(&piece[start..=at]);
                start = at + 1;
            }
        }
        parts.push(&piece[start..]);
        parts
    }
}

fn write_out(exchange: &mut Exchange, out: &mut Vec<u8>) -> Option<()> {
    while exchange.has_outgoing() {
        let outgoing = exchange.outgoing().to_vec();
        exchange.on_written(outgoing.len()).ok()?;
        out.extend(outgoing);
    }
    Some(())
}

#[cfg(test)]
mod tests;
