//! Developer commands: `cargo x`.

fn main() {}
