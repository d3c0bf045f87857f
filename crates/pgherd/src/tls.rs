//! TLS for programs that move their bytes themselves: the proxy. What it is, and whom it trusts, is
//! the same as in the library.

pub use crate::conn::{common_name, end_point, expires_at, for_clients, for_node, handshake_error};
