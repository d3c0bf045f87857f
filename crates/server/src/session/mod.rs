//! A client's session before it is relayed: the login.

pub mod login;
pub mod replication;

pub use login::{Login, LoginStep, Request, Rules};
pub use replication::Replication;
