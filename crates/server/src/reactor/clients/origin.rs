//! Where a client is, as a part of its `application_name`.

use std::fmt;
use std::net::SocketAddr;

/// Bytes of an `application_name`, as PostgreSQL cuts it (`NAMEDATALEN` less one).
const LONGEST: usize = 63;

/// What a client is called that gives no name.
const NAMELESS: &str = "app";

/// Where a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    /// At the other end of a TCP connection.
    Tcp(SocketAddr),
    /// At that of a Unix socket: which process it is, if the system tells, what this host is called, and
    /// the port in the socket's name.
    Unix { process: Option<u32>, host: String, port: u16 },
}

/// As PgBouncer writes it.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(at) => write!(f, "{at}"),
            Self::Unix { process: Some(process), host, port } => {
                write!(f, "unix({process}@{host}):{port}")
            }
            Self::Unix { process: None, port, .. } => write!(f, "unix:{port}"),
        }
    }
}

/// The name that a client gives, with where it is.
pub(super) fn named(name: Option<&str>, origin: &Origin) -> String {
    let mut text = format!("{} - {origin}", name.unwrap_or(NAMELESS));
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_origin_stands_behind_the_name() {
        let tcp = |at: &str| Origin::Tcp(at.parse().unwrap());
        let unix = |process| Origin::Unix { process, host: "here".to_owned(), port: 6432 };
        for (name, origin, expected) in [
            (Some("own"), tcp("192.0.2.7:50512"), "own - 192.0.2.7:50512"),
            (Some("own"), tcp("[2001:db8::7]:50512"), "own - [2001:db8::7]:50512"),
            (Some(""), tcp("192.0.2.7:50512"), " - 192.0.2.7:50512"),
            (None, tcp("192.0.2.7:50512"), "app - 192.0.2.7:50512"),
            (None, unix(Some(7)), "app - unix(7@here):6432"),
            (None, unix(None), "app - unix:6432"),
        ] {
            assert_eq!(named(name, &origin), expected);
        }
    }

    proptest! {
        #[test]
        fn a_name_is_cut_where_a_character_ends_and_no_sooner(name in "\\PC{0,80}", port in 1u16..) {
            let origin = Origin::Tcp(SocketAddr::from(([192, 0, 2, 7], port)));
            let (whole, cut) = (format!("{name} - {origin}"), named(Some(&name), &origin));
            prop_assert!(whole.starts_with(&cut) && cut.len() <= LONGEST);
            let next = whole[cut.len()..].chars().next();
            prop_assert!(next.is_none_or(|next| cut.len() + next.len_utf8() > LONGEST));
        }
    }
}
