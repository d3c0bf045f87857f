//! A mutex whose lock goes on after a panic, and spins before it sleeps.
//!
//! What it guards here (counts, queues, snapshots) is changed by machines that keep their
//! invariants in every step, so a panic elsewhere in the holder is no reason to fail everybody.
//! It is held for a few instructions at a time, never over an await.

pub(crate) use parking_lot::Mutex;
