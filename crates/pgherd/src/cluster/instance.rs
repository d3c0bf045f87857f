//! The name of this process among all that use the cluster.

use std::sync::LazyLock;

/// Eight hexadecimal digits, drawn at random once in a process.
pub(crate) fn instance_name() -> &'static str {
    static NAME: LazyLock<String> = LazyLock::new(|| {
        // Without randomness the process id still tells the processes of one host apart.
        format!("{:08x}", getrandom::u32().unwrap_or_else(|_| std::process::id()))
    });
    &NAME
}
