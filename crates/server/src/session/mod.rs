//! A client's session before it is relayed: the login.

pub mod login;

pub use login::{Login, LoginStep, Request, Rules};
