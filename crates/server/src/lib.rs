//! The pgherd proxy.
