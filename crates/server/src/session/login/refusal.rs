//! Why a login is refused, in PostgreSQL's words where it has some.

use std::net::IpAddr;
use std::time::Duration;

use pgherd_wire::backend::{Report, Severity};
use pgherd_wire::scram::ScramError;
use pgherd_wire::{WireError, sqlstate};

use super::LoginStep;
use crate::session::LoginFailure;

/// Why a login ends, as the client and as the log is told.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) for_log: String,
    pub(super) failed_as: Option<String>,
    pub(super) failure: LoginFailure,
}

impl Refusal {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        let message = message.into();
        let failure = LoginFailure::of_code(code);
        Self { code, for_log: message.clone(), message, failed_as: None, failure }
    }

    pub(super) fn protocol(message: &str) -> Self {
        Self::new(sqlstate::PROTOCOL_VIOLATION, message)
    }

    /// The same for a wrong password and for a user that does not exist.
    pub(super) fn password(name: &str) -> Self {
        Self {
            for_log: format!("password of user \"{name}\" does not fit"),
            failed_as: Some(name.to_owned()),
            ..Self::new(
                sqlstate::INVALID_PASSWORD,
                format!("password authentication failed for user \"{name}\""),
            )
        }
    }

    pub(super) fn certificate(name: &str, shown: Option<&str>) -> Self {
        let to = shown.map_or("nobody".to_owned(), |to| format!("\"{to}\""));
        Self {
            for_log: format!("user \"{name}\" has shown a certificate made out to {to}"),
            failed_as: Some(name.to_owned()),
            failure: LoginFailure::Certificate,
            ..Self::new(
                sqlstate::INVALID_AUTHORIZATION,
                format!("certificate authentication failed for user \"{name}\""),
            )
        }
    }

    pub(super) fn peer(name: &str, found: Option<&str>) -> Self {
        let is = found.map_or("nobody that is known".to_owned(), |found| format!("\"{found}\""));
        Self {
            for_log: format!("who wants to be \"{name}\" is {is} to the system"),
            failed_as: Some(name.to_owned()),
            failure: LoginFailure::Peer,
            ..Self::new(
                sqlstate::INVALID_AUTHORIZATION,
                format!("peer authentication failed for user \"{name}\""),
            )
        }
    }

    /// Said before anything is looked at, so that it tells nothing of the user.
    pub(super) fn barred(address: Option<IpAddr>, name: &str, bar: Duration) -> Self {
        let from = address.map_or_else(String::new, |address| format!(" from {address}"));
        let seconds = bar.as_secs() + u64::from(bar.subsec_nanos() > 0);
        Self {
            for_log: format!("too many failed logins{from}, the last ones as user \"{name}\""),
            failure: LoginFailure::Barred,
            ..Self::new(
                sqlstate::INVALID_AUTHORIZATION,
                format!("too many failed logins from this address: try again in {seconds} s"),
            )
        }
    }

    pub(super) fn scram(name: &str, error: &ScramError) -> Self {
        match error {
            ScramError::Mismatch => Self::password(name),
            ScramError::Downgraded | ScramError::OtherEndPoint => Self {
                for_log: format!("user \"{name}\": {error}: somebody may stand in between"),
                failure: LoginFailure::Tls,
                ..Self::new(sqlstate::INVALID_AUTHORIZATION, error.to_string())
            },
            other => Self {
                for_log: format!("user \"{name}\": {other}"),
                ..Self::new(sqlstate::PROTOCOL_VIOLATION, other.to_string())
            },
        }
    }

    /// Tells the client.
    pub(super) fn tell(self, out: &mut Vec<u8>) -> LoginStep {
        Report {
            severity: Severity::Fatal,
            code: self.code,
            message: &self.message,
            detail: "",
            hint: "",
        }
        .put(out);
        let Self { code, for_log: reason, failed_as, failure, .. } = self;
        LoginStep::Refused { code, failure, reason, failed_as }
    }
}

impl From<WireError> for Refusal {
    fn from(error: WireError) -> Self {
        Self::new(sqlstate::PROTOCOL_VIOLATION, error.to_string())
    }
}
