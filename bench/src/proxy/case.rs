//! What the clients do.

use std::fmt;

/// Backends of a pool that is shared.
const POOL: u32 = 20;

/// Clients up to which each can have a backend of its own on an ordinary server.
const FEW: u32 = 100;

/// Threads of pgbench, where clients do not need one each.
const THREADS: u32 = 2;

/// Which protocol pgbench speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// Query.
    Simple,
    /// Parse, Bind, Execute.
    Extended,
    /// Bind, Execute, of what was prepared once under a name.
    Prepared,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Auth {
    /// Not at all.
    Trust,
    /// By SCRAM-SHA-256.
    #[serde(rename = "scram-sha-256")]
    Scram,
}

impl Auth {
    /// As in pgherd's and PgBouncer's settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Trust => "trust",
            Self::Scram => "scram-sha-256",
        }
    }
}

/// How many transactions a connection lives for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connect {
    /// All of them.
    Once,
    /// One.
    PerTransaction,
}

/// How a pooler pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Mode {
    /// A client holds a backend for a transaction.
    Transaction,
    /// A client holds a backend until it goes.
    Session,
}

impl Mode {
    /// As in most settings.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Session => "session",
        }
    }
}

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) protocol: Protocol,
    pub(super) clients: u32,
    pub(super) connect: Connect,
    pub(super) auth: Auth,
}

/// What a contender can do that decides how it takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Abilities<'a> {
    /// Whether clients share backends at all.
    pub(super) pools: bool,
    /// In which mode it takes prepared statements.
    pub(super) prepared: Mode,
    /// How it lets clients in.
    pub(super) auth: &'a [Auth],
}

/// How a contender takes part in a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) mode: Mode,
    pub(super) pool_size: u32,
    pub(super) protocol: Protocol,
    /// What it does otherwise than the case says.
    pub(super) remark: Option<&'static str>,
}

impl Case {
    /// All cases with these numbers of clients.
    pub(super) fn all(clients: &[u32]) -> Vec<Self> {
        let protocols = [Protocol::Simple, Protocol::Extended, Protocol::Prepared];
        let mut cases = Vec::new();
        for &clients in clients {
            cases.extend(protocols.map(|protocol| Self {
                protocol,
                clients,
                connect: Connect::Once,
                auth: Auth::Trust,
            }));
        }
        let few = clients.iter().copied().filter(|clients| *clients <= FEW);
        for clients in few {
            cases.extend([Auth::Trust, Auth::Scram].map(|auth| Self {
                protocol: Protocol::Simple,
                clients,
                connect: Connect::PerTransaction,
                auth,
            }));
        }
        cases
    }

    /// How somebody who can do this takes part, or why not.
    pub(super) fn part(&self, abilities: Abilities<'_>) -> Result<Part, &'static str> {
        let shared = Part {
            mode: Mode::Transaction,
            pool_size: POOL,
            protocol: self.protocol,
            remark: None,
        };
        if !abilities.auth.contains(&self.auth) {
            return Err("it has no such login");
        }
        let is_prepared = self.protocol == Protocol::Prepared;
        match abilities.pools {
            false if self.connect == Connect::PerTransaction => {
                Err("the server would start a process for each transaction")
            }
            false if self.clients > FEW => Err("the server would need a process for each client"),
            false => Ok(Part { pool_size: self.clients, mode: Mode::Session, ..shared }),
            true if !is_prepared || abilities.prepared == Mode::Transaction => Ok(shared),
            true if self.clients <= FEW => Ok(Part {
                mode: Mode::Session,
                pool_size: self.clients,
                remark: Some("session mode, a backend for each client"),
                ..shared
            }),
            true => Ok(Part {
                protocol: Protocol::Extended,
                remark: Some("extended protocol"),
                ..shared
            }),
        }
    }

    /// pgbench's arguments for so many seconds.
    pub(super) fn pgbench(&self, protocol: Protocol, seconds: u64) -> Vec<String> {
        let threads = match self.connect {
            Connect::Once => THREADS,
            // pgbench connects in a call that blocks its thread.
            Connect::PerTransaction => self.clients,
        };
        let text = format!(
            "-n -S -M {} -c {} -j {threads} -T {seconds} -P 1",
            protocol.name(),
            self.clients
        );
        let mut arguments: Vec<String> = text.split(' ').map(str::to_owned).collect();
        if self.connect == Connect::PerTransaction {
            arguments.push("-C".to_owned());
        }
        arguments
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.connect {
            Connect::Once => write!(f, "{}", self.protocol.name())?,
            Connect::PerTransaction => {
                let login = match self.auth {
                    Auth::Trust => "no password",
                    Auth::Scram => "SCRAM-SHA-256",
                };
                write!(f, "a connection for each transaction, {login}")?;
            }
        }
        write!(f, ", {} clients over {POOL}", self.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[Auth] = &[Auth::Trust, Auth::Scram];
    const ABLE: Abilities<'_> = Abilities { pools: true, prepared: Mode::Transaction, auth: BOTH };

    fn case(title: &str) -> Case {
        let mut cases = Case::all(&[50, 1000]).into_iter();
        cases.find(|case| case.to_string() == title).expect("there is such a case")
    }

    #[test]
    fn the_cases_are_the_protocols_at_each_number_of_clients_and_the_two_logins() {
        let titles: Vec<String> = Case::all(&[50, 1000]).iter().map(Case::to_string).collect();
        assert_eq!(titles.len(), 8);
        assert_eq!(titles[0], "simple, 50 clients over 20");
        assert_eq!(titles[5], "prepared, 1000 clients over 20");
        assert_eq!(
            titles[7],
            "a connection for each transaction, SCRAM-SHA-256, 50 clients over 20"
        );
    }

    #[test]
    fn who_takes_no_prepared_statements_in_transactions_has_a_backend_for_each_of_few_clients() {
        let older = Abilities { prepared: Mode::Session, ..ABLE };
        let part = case("prepared, 50 clients over 20").part(older).unwrap();
        assert_eq!((part.mode, part.pool_size), (Mode::Session, 50));
        let part = case("prepared, 1000 clients over 20").part(older).unwrap();
        assert_eq!((part.mode, part.pool_size), (Mode::Transaction, 20));
        assert_eq!(part.protocol, Protocol::Extended);
        assert!(part.remark.is_some());
        let part = case("extended, 1000 clients over 20").part(older).unwrap();
        assert_eq!(part.remark, None);
    }

    #[test]
    fn who_does_not_pool_sits_out_where_the_server_would_decide() {
        let blind = Abilities { pools: false, ..ABLE };
        assert!(case("simple, 1000 clients over 20").part(blind).is_err());
        assert_eq!(case("simple, 50 clients over 20").part(blind).unwrap().pool_size, 50);
        let connect = case("a connection for each transaction, no password, 50 clients over 20");
        assert!(connect.part(blind).is_err());
    }

    #[test]
    fn a_login_that_somebody_lacks_is_not_asked_of_it() {
        let trusting = Abilities { auth: &[Auth::Trust], ..ABLE };
        let scram = case("a connection for each transaction, SCRAM-SHA-256, 50 clients over 20");
        assert!(scram.part(trusting).is_err());
    }

    #[test]
    fn pgbench_connects_in_a_thread_for_each_client() {
        let connect = case("a connection for each transaction, no password, 50 clients over 20");
        let arguments = connect.pgbench(Protocol::Simple, 7).join(" ");
        assert_eq!(arguments, "-n -S -M simple -c 50 -j 50 -T 7 -P 1 -C");
    }
}
