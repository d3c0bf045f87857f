//! Worlds to test pgherd in.
