//! The deciding half of pgherd.
