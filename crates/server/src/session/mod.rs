//! A client's session before it is relayed: the login.

mod failure;
pub mod login;
pub mod replication;

pub use failure::LoginFailure;
pub use login::{Encryption, Login, LoginStep, Request, Rules, Within};
pub use replication::Replication;
