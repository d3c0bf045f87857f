//! What the driver and its backend say to each other, as each is to hear it.
//!
//! In: what the driver writes, and what has come from the backend. Out: what is to be written to
//! the backend, and what the driver is to read. [`Batches`] says when something leaves;
//! [`Unnamed`], when the [`Tap`] has found a pooler, what it is then.

use pgherd_wire::{WireError, backend};

use super::batches::Batches;
use super::tap::Tap;
use super::unnamed::Unnamed;

/// While more bytes than this wait, for the socket or for answers, no more are to be taken: as many
/// as the driver itself gathers before it writes.
const WAITING_LIMIT: usize = 8 * 1024;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Exchange {
    tap: Tap,
    batches: Batches,
    unnamed: Option<Unnamed>,
    is_logged_in: bool,
    outgoing: Vec<u8>,
    // What the tap was told last.
    is_holding: bool,
    made_up: Vec<u8>,
    // Nothing waits, nothing is made up and nothing is to be changed, as nearly always. This and the
    // next are kept because what they sum up lies far apart.
    is_quiet: bool,
    names_matter: bool,
}

impl Exchange {
    /// From the startup packet on.
    pub(super) fn new(tap: Tap) -> Self {
        Self {
            tap,
            batches: Batches::default(),
            unnamed: None,
            is_logged_in: false,
            outgoing: Vec::new(),
            is_holding: false,
            made_up: Vec::new(),
            is_quiet: false,
            names_matter: false,
        }
    }

    /// Takes what the driver writes.
    ///
    /// # Errors
    /// [`WireError`] for what is no message, here and below: the connection is of no more use.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), WireError> {
        self.is_logged_in = self.is_logged_in || self.tap.is_logged_in();
        if !self.is_logged_in {
            self.outgoing.extend_from_slice(bytes);
            return Ok(());
        }
        self.look_for_pooler();
        self.append(|batches, out| batches.outgoing(bytes, out))?;
        self.advance()
    }

    /// Whether all is quiet, and stays so: no pooler has been found since.
    fn stays_quiet(&self) -> bool {
        self.is_quiet && !self.tap.heard().is_pooled()
    }

    /// Whether what the driver writes now may be written as it is: there is nothing before it, and
    /// nothing to be changed or held back.
    pub(super) fn passes(&self, bytes: &[u8]) -> bool {
        self.stays_quiet() && Batches::change_nothing(bytes, self.names_matter)
    }

    /// That many of these bytes, which pass, were accepted by the socket. The others wait.
    pub(super) fn on_passed(&mut self, bytes: &[u8], written: usize) {
        let (written, left) = bytes.split_at(written);
        if !left.is_empty() {
            self.outgoing.extend_from_slice(left);
            self.is_quiet = false;
            // First: of a part that was written the tap does not know that it is one.
            self.note_waiting();
        }
        self.tap.on_written(written);
    }

    /// Whether what waits is to leave before more is taken.
    pub(super) fn is_full(&self) -> bool {
        self.outgoing.len() > WAITING_LIMIT || self.batches.held() > WAITING_LIMIT
    }

    /// Whether something is to be written to the backend.
    pub(super) fn has_outgoing(&self) -> bool {
        !self.is_quiet && !self.outgoing.is_empty()
    }

    /// What is to be written to the backend.
    pub(super) fn outgoing(&self) -> &[u8] {
        &self.outgoing
    }

    /// That many bytes of it were accepted by the socket.
    pub(super) fn on_written(&mut self, bytes: usize) -> Result<(), WireError> {
        self.tap.on_written(&self.outgoing[..bytes]);
        self.outgoing.drain(..bytes);
        self.advance()
    }

    /// Takes what has come from the backend, moves to the front what the driver is to read, and
    /// answers how much that is.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Result<usize, WireError> {
        self.tap.on_read(bytes);
        if self.stays_quiet() {
            return Ok(bytes.len());
        }
        self.look_for_pooler();
        let kept = match &mut self.unnamed {
            Some(unnamed) => unnamed.incoming(bytes)?,
            None => bytes.len(),
        };
        self.advance()?;
        Ok(kept)
    }

    /// Whether there is something that the driver is to read next although it has not come from the
    /// backend.
    pub(super) fn has_made_up(&self) -> bool {
        !self.is_quiet && !self.made_up.is_empty()
    }

    /// What the driver is to read next although it has not come from the backend.
    pub(super) fn made_up(&mut self) -> &mut Vec<u8> {
        &mut self.made_up
    }

    fn look_for_pooler(&mut self) {
        if self.unnamed.is_none() && self.tap.heard().is_pooled() {
            self.unnamed = Some(Unnamed::new());
            self.batches.leave_one_by_one();
        }
    }

    /// Has `change` append what is to be written next.
    fn append<T>(
        &mut self,
        change: impl FnOnce(&mut Batches, &mut Vec<u8>) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let Some(unnamed) = &mut self.unnamed else {
            return change(&mut self.batches, &mut self.outgoing);
        };
        let mut batch = Vec::new();
        let changed = change(&mut self.batches, &mut batch)?;
        unnamed.outgoing(&batch, &mut self.outgoing)?;
        for closed in unnamed.take_closed() {
            // Behind a pooler, batches leave one by one: nothing that came before is unanswered.
            for _ in 0..closed {
                backend::put_empty(&mut self.made_up, backend::CLOSE_COMPLETE);
            }
            backend::put_ready(&mut self.made_up, self.tap.status());
        }
        Ok(changed)
    }

    /// Appends what the answers have set free.
    fn advance(&mut self) -> Result<(), WireError> {
        while self.outgoing.is_empty() && self.batches.is_waiting() {
            let answered = self.tap.answered();
            if !self.append(|batches, out| batches.advance(answered, out))? {
                break;
            }
        }
        self.note_waiting();
        self.is_quiet = self.is_logged_in
            && self.outgoing.is_empty()
            && self.made_up.is_empty()
            && self.unnamed.is_none()
            && self.batches.are_quiet();
        self.names_matter = self.batches.names_matter();
        Ok(())
    }

    /// Tells the tap whether anything waits to be written.
    fn note_waiting(&mut self) {
        let is_holding = self.batches.held() > 0 || !self.outgoing.is_empty();
        if std::mem::replace(&mut self.is_holding, is_holding) != is_holding {
            self.tap.on_held(is_holding);
        }
    }
}

#[cfg(test)]
mod tests;
