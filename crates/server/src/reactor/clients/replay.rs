//! The batch in flight, kept in case another node has to run it.

/// Bytes of a batch, and of what precedes the first row of its answer, that are kept: 64 KiB.
const LONGEST: usize = 64 * 1024;

/// The batch in flight, kept until the client has seen something of its answer that cannot be
/// taken back.
#[derive(Debug, Default)]
pub(in crate::reactor) struct Replay {
    bytes: Vec<u8>,
    intact: bool,
    batches: u32,
    // What precedes the first row, such as its description: sent with what follows.
    withheld: Vec<u8>,
}

impl Replay {
    pub(super) fn begin(&mut self) {
        self.bytes.clear();
        self.withheld.clear();
        self.intact = true;
        self.batches = 0;
    }

    pub(super) fn record(&mut self, bytes: &[u8], ends: bool) {
        if !self.intact {
            return;
        }
        if self.batches > 0 || self.bytes.len() + bytes.len() > LONGEST {
            return self.end();
        }
        self.bytes.extend_from_slice(bytes);
        self.batches += u32::from(ends);
    }

    /// Whether nothing of the answer was seen and what was sent of the batch is here.
    pub(in crate::reactor) fn is_intact(&self) -> bool {
        self.intact
    }

    /// Whether more of the one batch is still to be recorded.
    pub(super) fn is_recording(&self) -> bool {
        self.intact && self.batches == 0
    }

    /// Bytes that are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.bytes.len() + self.withheld.len()
    }

    /// Whether nothing of it has been sent.
    pub(in crate::reactor) fn is_unsent(&self) -> bool {
        self.intact && self.bytes.is_empty()
    }

    /// What was sent of the batch.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, to be sent again.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// What was withheld, to be sent now.
    pub(super) fn take_withheld(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.withheld)
    }

    /// Whether the batch is here to its end: its client waits for nothing but its last answer.
    pub(super) fn is_whole(&self) -> bool {
        self.intact && self.batches == 1
    }

    /// Keeps what precedes the first row. `false` if that is too long.
    pub(super) fn withhold<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
        let length: usize = slices.clone().map(<[u8]>::len).sum();
        let fits = self.withheld.len() + length <= LONGEST;
        if fits {
            slices.for_each(|slice| self.withheld.extend_from_slice(slice));
        }
        fits
    }

    /// Something was seen, or the batch is too long: it cannot be tried again.
    pub(super) fn end(&mut self) {
        self.intact = false;
        if self.bytes.capacity() > 1024 {
            self.bytes = Vec::new();
        }
    }
}
