//! Lines of the log, wherever they go: each is one, and those that are lost are counted.

use std::borrow::Cow;

/// The same in one line: control characters, other than those that are kept, as Rust writes them.
///
/// Whatever a client or a node says may hold them, and must neither begin a line nor move a terminal.
pub(crate) fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_escaped = |c: char| c.is_control() && !is_kept(c);
    if !text.contains(is_escaped) {
        return text.into();
    }
    let mut one = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            one.extend(c.escape_default());
        } else {
            one.push(c);
        }
    }
    one.into()
}

/// How many lines were not taken since the last one that was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Lost(u64);

impl Lost {
    pub(crate) fn add_one(&mut self) {
        self.0 += 1;
    }

    /// What is told of them before the next line, if there are any.
    pub(crate) fn notice(self) -> Option<String> {
        (self.0 > 0).then(|| format!("{} lines before were not taken, and are left out", self.0))
    }
}
