//! A client's session before it is relayed: the login.

pub mod login;
pub mod replication;

pub use login::{Encryption, Login, LoginStep, Request, Rules, Within};
pub use replication::Replication;
