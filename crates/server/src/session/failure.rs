//! Why logins fail, as metrics tell it.

use pgherd_wire::sqlstate;

/// Why a login has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginFailure {
    /// The password does not fit, or there is no such user: nobody is told which.
    Password,
    /// The certificate is made out to somebody else, or none was shown.
    Certificate,
    /// The system's user is somebody else.
    Peer,
    /// Its address has failed too often.
    Barred,
    /// The HBA file, a required encryption, or the console's lists let it not in.
    Forbidden,
    /// The database is not served, or refuses new clients.
    Database,
    /// As many clients are there as may be.
    Limit,
    /// It took too long.
    Timeout,
    /// It broke the protocol, or asked for what there is not.
    Protocol,
    /// The TLS handshake failed.
    Tls,
    /// What it is let in by could not be looked up.
    Unavailable,
}

impl LoginFailure {
    /// All of them, each at its place.
    pub const ALL: [Self; 11] = [
        Self::Password,
        Self::Certificate,
        Self::Peer,
        Self::Barred,
        Self::Forbidden,
        Self::Database,
        Self::Limit,
        Self::Timeout,
        Self::Protocol,
        Self::Tls,
        Self::Unavailable,
    ];

    /// The label of a metric.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Certificate => "certificate",
            Self::Peer => "peer",
            Self::Barred => "barred",
            Self::Forbidden => "forbidden",
            Self::Database => "database",
            Self::Limit => "limit",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Tls => "tls",
            Self::Unavailable => "unavailable",
        }
    }

    /// What an error to a client that logs in means where nothing better is known.
    pub(crate) fn of_code(code: &str) -> Self {
        match code {
            sqlstate::INVALID_AUTHORIZATION => Self::Forbidden,
            sqlstate::INVALID_PASSWORD => Self::Password,
            sqlstate::NO_SUCH_DATABASE | sqlstate::NOT_IN_PREREQUISITE_STATE => Self::Database,
            sqlstate::TOO_MANY_CONNECTIONS | sqlstate::LIMIT_EXCEEDED | sqlstate::OUT_OF_MEMORY => {
                Self::Limit
            }
            sqlstate::CANNOT_CONNECT_NOW => Self::Unavailable,
            _ => Self::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_at_its_place() {
        for (place, failure) in LoginFailure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, place, "{}", failure.name());
        }
    }
}
