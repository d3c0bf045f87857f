//! The `pgherd` program.

fn main() {}
