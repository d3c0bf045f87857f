//! The text of a node's `host`: one host or several, each with a port or without.

use std::fmt;

/// Bytes that the path of a Unix socket may have: what `sockaddr_un` has room for, without the zero at
/// its end. As many as libpq and PgBouncer let pass.
const LONGEST_PATH: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// A host that a node is reached at.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Host {
    /// Host name, address, the folder of a Unix socket (`/run/postgresql`), or what its abstract name
    /// begins with (`@postgresql`).
    pub name: String,
    /// TCP port, or the number in the name of the Unix socket.
    pub port: u16,
}

impl Host {
    /// Whether it is a Unix socket: nobody has to look it up.
    pub fn is_socket(&self) -> bool {
        is_socket(&self.name)
    }

    /// Where the Unix socket of such a folder is, `/run/postgresql/.s.PGSQL.5432`; of an abstract name
    /// the `@` in front stands for the zero byte.
    pub fn socket_path(&self) -> String {
        format!("{}/.s.PGSQL.{}", self.name, self.port)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.contains(':') && !self.is_socket() {
            true => write!(f, "[{}]:{}", self.name, self.port),
            false => write!(f, "{}:{}", self.name, self.port),
        }
    }
}

/// What is wrong with a list of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHosts {
    /// There is nothing between two commas.
    #[error("an item of the list has no host")]
    Empty,
    /// What follows the colon is no port.
    #[error("in `{item}`: `{port}` is no port from 1 to 65535")]
    Port {
        /// The item.
        item: String,
        /// What should be its port.
        port: String,
    },
    /// The same host and port stand there twice.
    #[error("`{host}` is listed twice")]
    Twice {
        /// Host and port.
        host: Host,
    },
    /// The system has no room for the path of the Unix socket.
    #[error("the Unix socket `{path}` has a path of {bytes} bytes, and {most} are the most")]
    TooLong {
        /// The path.
        path: String,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        most: usize,
    },
}

/// Reads a list such as `db-1.example.com, db-2.example.com:5433, [2001:db8::1]:5433`. An item
/// without a port has `port`; an IPv6 address without brackets has none. A folder (`/run/postgresql`) or
/// an abstract name (`@postgresql`) is a Unix socket; the two kinds may be mixed.
///
/// ```
/// use pgherd_core::hosts;
///
/// let listed = hosts::read("one,two:5433", 5432)?;
/// assert_eq!(listed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["one:5432", "two:5433"]);
/// assert!(hosts::read("one,", 5432).is_err() && hosts::read("one,one:5432", 5432).is_err());
/// # Ok::<(), hosts::BadHosts>(())
/// ```
///
/// # Errors
/// The first problem.
pub fn read(list: &str, port: u16) -> Result<Vec<Host>, BadHosts> {
    let mut hosts: Vec<Host> = Vec::new();
    for item in list.split(',').map(str::trim) {
        let (name, own) = split_port(item);
        if name.is_empty() {
            return Err(BadHosts::Empty);
        }
        let port = match own.map(|own| (own, own.parse())) {
            None => port,
            Some((_, Ok(own))) if own > 0 => own,
            Some((own, _)) => {
                return Err(BadHosts::Port { item: item.to_owned(), port: own.to_owned() });
            }
        };
        let host = Host { name: name.to_owned(), port };
        if hosts.contains(&host) {
            return Err(BadHosts::Twice { host });
        }
        if host.is_socket() {
            let path = host.socket_path();
            let (bytes, most) = (path.len(), LONGEST_PATH);
            if bytes > most {
                return Err(BadHosts::TooLong { path, bytes, most });
            }
        }
        hosts.push(host);
    }
    Ok(hosts)
}

/// Whether a host is a Unix socket.
pub(crate) fn is_socket(name: &str) -> bool {
    name.starts_with(['/', '@'])
}

/// `host:port`, `[v6]:port`, or a host alone; an IPv6 address without brackets has no port. In the path
/// of a Unix socket a colon may stand for itself: only digits behind the last one are a port.
pub(crate) fn split_port(item: &str) -> (&str, Option<&str>) {
    if is_socket(item) {
        let is_port = |port: &str| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
        let split = item.rsplit_once(':').filter(|(_, port)| is_port(port));
        return split.map_or((item, None), |(name, port)| (name, Some(port)));
    }
    if let Some((host, rest)) = item.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match item.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (item, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_its_own_port_or_that_of_all() {
        let read = |list| {
            let hosts = read(list, 5432).unwrap();
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(read("db"), ["db:5432"]);
        assert_eq!(read(" a , b:1,[::1]:2"), ["a:5432", "b:1", "[::1]:2"]);
        assert_eq!(read("::1,/run/postgresql"), ["[::1]:5432", "/run/postgresql:5432"]);
        assert_eq!(read("[fe80::1]"), ["[fe80::1]:5432"]);
        assert_eq!(read("/run/a:b:77,@name,db"), ["/run/a:b:77", "@name:5432", "db:5432"]);
        assert_eq!(read("a:1,a:2,a"), ["a:1", "a:2", "a:5432"]);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_said() {
        let said = |list| read(list, 5432).unwrap_err().to_string();
        assert_eq!(said("a,,b"), "an item of the list has no host");
        assert_eq!(said(""), "an item of the list has no host");
        assert_eq!(said("a:x"), "in `a:x`: `x` is no port from 1 to 65535");
        assert_eq!(said("b,a:0"), "in `a:0`: `0` is no port from 1 to 65535");
        assert_eq!(said("a,b,a:5432"), "`a:5432` is listed twice");
        let long = format!("/{}", "x".repeat(LONGEST_PATH));
        assert!(said(&long).contains(&format!("a path of {} bytes", LONGEST_PATH + 15)));
        assert!(read(&long[..LONGEST_PATH - 14], 5432).is_ok());
    }
}
