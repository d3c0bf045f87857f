//! A backend before it is lent: the login at its node.

pub mod login;

pub use login::{EndPoint, Identity, KeyCache, Login, LoginError, LoginStep};
