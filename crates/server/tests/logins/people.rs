//! Who logs in, and the server, poolers and proxies that they log in at.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use pgherd_core::Settings;
use pgherd_core::settings::{AuthMethod, DatabaseSettings, Secret, TlsMode, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, Pooler, PoolerSpec, RunsAs, cluster};
use pgherd_server::Server;
use pgherd_wire::md5;

use super::{Encrypted, RIGHT};

/// Who asks for the others' secrets.
pub(super) const LOOK: &str = "look";

/// Who may not log in, whatever is shown.
pub(super) const STRANGERS: [&str; 7] =
    ["nobody", "no_one", "a stranger", "by_md", LOOK, "without", "no_login"];

/// What a proxy knows of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Password,
    Md5,
    Scram,
    FoundMd5,
    FoundScram,
    /// Nothing: it lists its users, and this one is none.
    NotListed,
    /// Nothing: it has asked the node.
    NotFound,
}

impl Known {
    pub(super) const ALL: [Self; 7] = [
        Self::Password,
        Self::Md5,
        Self::Scram,
        Self::FoundMd5,
        Self::FoundScram,
        Self::NotListed,
        Self::NotFound,
    ];

    /// For the documents.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Password => "a password",
            Self::Md5 => "an md5 hash",
            Self::Scram => "a SCRAM secret",
            Self::FoundMd5 => "an md5 hash, looked up",
            Self::FoundScram => "a SCRAM secret, looked up",
            Self::NotListed => "nothing",
            Self::NotFound => "nothing, looked up",
        }
    }

    /// The role, and the one like it that is past its `VALID UNTIL`.
    pub(super) fn role(self, is_expired: bool) -> &'static str {
        match (self, is_expired) {
            (Self::Password, false) => "by_password",
            (Self::Password, true) => "old_password",
            (Self::Md5, false) => "by_md5",
            (Self::Md5, true) => "old_md5",
            (Self::Scram, false) => "by_scram",
            (Self::Scram, true) => "old_scram",
            (Self::FoundMd5, false) => "found_by_md5",
            (Self::FoundMd5, true) => "old_found_md5",
            (Self::FoundScram, false) => "found_by_scram",
            (Self::FoundScram, true) => "old_found_scram",
            (Self::NotListed, _) => "nobody",
            (Self::NotFound, _) => "no_one",
        }
    }

    pub(super) fn is_somebody(self) -> bool {
        !matches!(self, Self::NotListed | Self::NotFound)
    }

    pub(super) fn is_looked_up(self) -> bool {
        matches!(self, Self::FoundMd5 | Self::FoundScram | Self::NotFound)
    }

    fn is_md5(self) -> bool {
        matches!(self, Self::Md5 | Self::FoundMd5)
    }
}

/// All of them at one node, which asks each database's clients in another way.
pub(super) struct People {
    pub(super) cluster: Cluster,
    pub(super) encrypted: Encrypted,
}

/// How a server or a pooler has its clients log in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Way {
    pub(super) auth: AuthMethod,
    /// PostgreSQL's name of it, and of the database where it counts; it knows no `any`.
    pub(super) postgres: Option<&'static str>,
    /// PgBouncer's. One that asks for certificates takes no connection in plain, by which the lab sees that
    /// it is up.
    pub(super) pgbouncer: Option<&'static str>,
}

const fn way(
    auth: AuthMethod,
    postgres: Option<&'static str>,
    pgbouncer: Option<&'static str>,
) -> Way {
    Way { auth, postgres, pgbouncer }
}

pub(super) const WAYS: [Way; 8] = [
    way(AuthMethod::Trust, Some("trust"), Some("trust")),
    way(AuthMethod::Any, None, Some("any")),
    way(AuthMethod::Plain, Some("password"), Some("plain")),
    way(AuthMethod::Md5, Some("md5"), Some("md5")),
    way(AuthMethod::ScramSha256, Some("scram-sha-256"), Some("scram-sha-256")),
    way(AuthMethod::Cert, Some("cert"), None),
    // PgBouncer 1.18 has it in HBA files only, and without maps.
    way(AuthMethod::Peer, Some("peer"), None),
    way(AuthMethod::Hba, Some("hba"), Some("hba")),
];

/// The database that an ident map lets nobody into.
pub(super) const BARRED: &str = "barred";

/// Who runs the test.
pub(super) fn system_user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The HBA file where the system's user counts.
fn hba_of_peers(database: &str) -> [String; 2] {
    [format!("local {database} all peer map=lab"), format!("local {BARRED} all peer map=none")]
}

/// Whoever runs the test may be all of them.
fn ident() -> String {
    let (mut lines, name) = ("none another another\n".to_owned(), system_user());
    for known in Known::ALL {
        for is_expired in [false, true] {
            lines += &format!("lab {name} {}\n", known.role(is_expired));
        }
    }
    lines
}

/// What stands in each of the other HBA files.
fn hba(database: &str) -> [String; 2] {
    [
        format!("hostssl {database} all 127.0.0.1/32 md5"),
        format!("hostnossl {database} all 127.0.0.1/32 scram-sha-256"),
    ]
}

impl People {
    pub(super) fn new() -> Self {
        let encrypted = Encrypted::new();
        let names: Vec<&str> = WAYS.iter().filter_map(|way| way.postgres).collect();
        let mut lines: Vec<String> = [hba("hba"), hba_of_peers("peer")].concat();
        lines.push(format!("host peer,{BARRED} all 127.0.0.1/32 reject"));
        for name in names.iter().filter(|name| !matches!(**name, "hba" | "peer")) {
            let kind = if *name == "cert" { "hostssl" } else { "host" };
            lines.push(format!("{kind} {name} all 127.0.0.1/32 {name}"));
        }
        lines.push("hostnossl cert all 127.0.0.1/32 reject".to_owned());
        let all = || Known::ALL.into_iter().filter(|known| known.is_somebody());
        for known in all().filter(|known| known.is_md5()) {
            let (role, old) = (known.role(false), known.role(true));
            lines.push(format!("host app {role},{old} 127.0.0.1/32 md5"));
        }
        let authority = &encrypted.authority;
        let tls = pgherd_lab::ServerTls {
            client_ca: Some(authority.pem()),
            ..authority.server("localhost")
        };
        let spec = ClusterSpec {
            hba: lines,
            tls: Some(tls),
            settings: vec!["max_connections = 400".to_owned()],
            ..ClusterSpec::default()
        };
        let cluster = Cluster::start(&spec).unwrap();
        let node = cluster.coordinator();
        let mut roles = format!(
            "create role {LOOK} superuser login password '{LOOK}'; \
             create role without login; create role no_login password '{RIGHT}';"
        );
        for known in all() {
            let encryption = if known.is_md5() { "md5" } else { "scram-sha-256" };
            let (role, old) = (known.role(false), known.role(true));
            roles += &format!(
                "set password_encryption = '{encryption}'; \
                 create role {role} login password '{RIGHT}'; \
                 create role {old} login password '{RIGHT}' valid until '2020-01-01';"
            );
        }
        node.psql(&roles).unwrap();
        let path = node.psql("show ident_file").unwrap();
        std::fs::write(path, ident()).unwrap();
        node.psql("select pg_reload_conf()").unwrap();
        for name in names {
            node.psql(&format!("create database \"{name}\"")).unwrap();
        }
        Self { cluster, encrypted }
    }

    /// What the node stores of a role.
    fn secret(&self, role: &str) -> String {
        let secret = format!("select rolpassword from pg_authid where rolname = '{role}'");
        self.cluster.coordinator().psql(&secret).unwrap()
    }

    /// The roles that a proxy lists, each with its password or a hash.
    fn listed(&self) -> Vec<(&'static str, String)> {
        let mut all = Vec::new();
        for known in [Known::Password, Known::Md5, Known::Scram] {
            for role in [known.role(false), known.role(true)] {
                let secret = match known {
                    Known::Password => RIGHT.to_owned(),
                    Known::Md5 => md5::stored(role, RIGHT),
                    _ => self.secret(role),
                };
                all.push((role, secret));
            }
        }
        all
    }

    /// A proxy that lists its users, or looks them up.
    pub(super) fn proxy(&self, way: Way, looks_up: bool) -> Server {
        let toml = self.cluster.settings_toml("[listen]\nport = 0\nworkers = 1\n");
        let mut settings = Settings::from_toml(&toml, "test").unwrap();
        self.encrypted.encrypt(&mut settings);
        let user = |name: &str| UserSettings { name: name.to_owned(), ..UserSettings::default() };
        settings.users = match looks_up {
            true => Vec::new(),
            false => {
                let listed =
                    self.listed().into_iter().map(|(role, secret)| match secret == RIGHT {
                        true => UserSettings { password: Secret::new(secret), ..user(role) },
                        false => UserSettings { password_hash: Secret::new(secret), ..user(role) },
                    });
                listed.collect()
            }
        };
        // Some node has to be logged in at.
        let password = Secret::new(LOOK);
        settings.users.push(UserSettings { password, nodes_only: true, ..user(LOOK) });
        let listen = &mut settings.listen;
        listen.auth = way.auth;
        listen.login_delay = Duration::ZERO;
        listen.login_failures = 0;
        if looks_up {
            listen.auth_user = LOOK.to_owned();
        }
        match way.auth {
            AuthMethod::Cert => settings.client_tls.mode = TlsMode::VerifyCa,
            AuthMethod::Hba => listen.hba_file = self.file("hba.conf", &hba("app").join("\n")),
            AuthMethod::Peer => {
                listen.auth = AuthMethod::Hba;
                listen.hba_file = self.file("peers.conf", &hba_of_peers("app").join("\n"));
                listen.ident_file = self.file("ident.conf", &ident());
                listen.unix_socket_dir = self.cluster.folder().display().to_string();
            }
            AuthMethod::Any => settings.databases.push(DatabaseSettings {
                name: cluster::DATABASE.to_owned(),
                user: LOOK.to_owned(),
                ..DatabaseSettings::default()
            }),
            _ => {}
        }
        settings.check().unwrap();
        Server::start(&settings).unwrap()
    }

    /// A file of a proxy.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.cluster.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Where a proxy listens beside.
    pub(super) fn socket(&self, proxy: &Server) -> PathBuf {
        self.cluster.folder().join(format!(".s.PGSQL.{}", proxy.address().port()))
    }

    /// PgBouncer, which lists its users and looks up the others.
    pub(super) fn pgbouncer(&self, auth_type: &str) -> Pooler {
        let node = self.cluster.coordinator();
        // The lab looks by its own login whether it is up.
        let mut users = format!("\"{LOOK}\" \"{LOOK}\"\n\"{}\" \"{RIGHT}\"\n", cluster::USER);
        for (role, secret) in self.listed() {
            users += &format!("\"{role}\" \"{secret}\"\n");
        }
        let shown = self.encrypted.authority.server("localhost");
        let user = if auth_type == "any" { "user=look password=look" } else { "" };
        Pooler::start(&self.cluster, |port| {
            let ini = format!(
                "[databases]\n* = host={} port={} {user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = {auth_type}\nauth_file = users.txt\n\
                 auth_hba_file = hba.conf\nauth_user = {LOOK}\nserver_login_retry = 0.1\n\
                 client_tls_sslmode = prefer\nclient_tls_cert_file = proxy.crt\nclient_tls_key_file = proxy.key\n",
                node.host, node.port
            );
            let files = [
                ("pgbouncer.ini", ini),
                ("users.txt", users.clone()),
                ("hba.conf", hba("app").join("\n") + "\n"),
                ("proxy.crt", shown.cert.clone()),
                ("proxy.key", shown.key.clone()),
            ];
            Ok(PoolerSpec {
                name: format!("pgbouncer-{auth_type}"),
                program: "/usr/sbin/pgbouncer".into(),
                arguments: vec!["pgbouncer.ini".to_owned()],
                files: files.map(|(name, text)| (name.to_owned(), text)).into(),
                says: Some(format!("listening on 127.0.0.1:{port}")),
                runs_as: RunsAs::Server,
            })
        })
        .unwrap()
    }
}
