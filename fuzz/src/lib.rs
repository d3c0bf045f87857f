//! What all targets begin with.

/// A panic that is caught is no finding: a tree of PostgreSQL's parser may make us give up on its
/// text. One that reaches the fuzzer is.
pub fn init() {
    std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
}
