//! The deciding half of pgherd.

pub mod pool;
