//! The connections that lead to one node, for whoever has to end them all.
//!
//! Noted when one is opened, and asked when the node is given up: a statement pays nothing for it.

use std::sync::{Arc, Weak};

use super::line::Line;
use crate::mutex::Mutex;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<Weak<Line>>>);

impl Lines {
    pub(super) fn note(&self, line: &Arc<Line>) {
        let mut lines = self.0.lock();
        // As many as are open, so at most as many as the node has had at a time.
        lines.retain(|line| line.strong_count() > 0);
        lines.push(Arc::downgrade(line));
    }

    /// Closes them all at once, whatever is under way: who waits for an answer is told that the
    /// connection is lost. How many there were.
    pub(crate) fn cut(&self) -> usize {
        let lines: Vec<_> = self.0.lock().drain(..).filter_map(|line| line.upgrade()).collect();
        lines.into_iter().filter(|line| line.cut()).count()
    }
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Lines").field(&self.0.lock().len()).finish()
    }
}
