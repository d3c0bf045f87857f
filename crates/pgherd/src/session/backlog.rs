//! Events that a listener has not taken yet, in bounded number.
//!
//! In: events as they come. Out: the same, in order, for a reader who keeps up. For one who does
//! not, the oldest go, and how many went is said in their place.

use std::collections::VecDeque;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Backlog<E> {
    events: VecDeque<E>,
    limit: usize,
    missed: u64,
    dropped: u64,
}

/// What is next for the reader.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<E> {
    /// An event.
    Event(E),
    /// So many events went since the last answer.
    Missed(u64),
}

impl<E> Backlog<E> {
    /// Holds this many, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self { events: VecDeque::new(), limit: limit.max(1), missed: 0, dropped: 0 }
    }

    pub(super) fn push(&mut self, event: E) {
        if self.events.len() == self.limit {
            self.events.pop_front();
            self.missed += 1;
            self.dropped += 1;
        }
        self.events.push_back(event);
    }

    /// Events that wait.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// Events that may wait.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Events that went, since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn pop(&mut self) -> Option<Next<E>> {
        match std::mem::take(&mut self.missed) {
            0 => self.events.pop_front().map(Next::Event),
            missed => Some(Next::Missed(missed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_who_keeps_up_misses_nothing_and_one_who_does_not_is_told_how_many() {
        let mut backlog = Backlog::new(2);
        assert_eq!(backlog.pop(), None);
        backlog.push(1);
        backlog.push(2);
        assert_eq!((backlog.pop(), backlog.pop()), (Some(Next::Event(1)), Some(Next::Event(2))));
        (3..=7).for_each(|event| backlog.push(event));
        assert_eq!(backlog.pop(), Some(Next::Missed(3)));
        assert_eq!((backlog.pop(), backlog.pop()), (Some(Next::Event(6)), Some(Next::Event(7))));
        assert_eq!(backlog.pop(), None);
        backlog.push(8);
        assert_eq!((backlog.len(), backlog.limit(), backlog.dropped()), (1, 2, 3));
    }
}
