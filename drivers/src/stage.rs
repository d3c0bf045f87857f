//! One real PostgreSQL, and before it the proxy with TLS and a pool of five.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use pgherd_core::Settings;
use pgherd_lab::{Cluster, ClusterSpec, cluster};
use pgherd_server::Server;

use crate::operation::TRANSACTIONS;

#[path = "../../crates/pgherd/tests/authority/mod.rs"]
mod authority;

const POOL_SIZE: usize = 5;

/// What the programs work on.
const TABLES: &str = "
    create table done (
        id bigint generated always as identity primary key,
        driver text, worker int, n int, pid int default pg_backend_pid()
    );
    create table once (id int primary key);
    insert into once values (1);
    create table many (id int primary key);
    insert into many select generate_series(1, 10000);
    create table copied (id int, body text);
    create table piped (driver text, n int);
    create table kept (
        driver text primary key, ints int[], texts text[], doc jsonb, raw bytea, amount numeric,
        at timestamptz
    );
    grant all on all tables in schema public to app;
    grant all on all sequences in schema public to app;";

/// What each program has to have written.
const KEPT: &str = "{1,NULL,3}|{a,\"b,c\",\"\\\"q\\\\\",\"\",NULL,ü}|\
    {\"a\": [1, 2, {\"b\": null}], \"s\": \"ü\\\"\\\\\"}|\\x00ff275c0a|12345678901.000123400|\
    2026-02-03 04:05:06.789+00";

/// Statements with a name in the protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statements {
    pub(crate) prepared: u64,
    pub(crate) run: u64,
}

impl Statements {
    /// Whether the two of each transaction were run, after they had been prepared once for many runs:
    /// for ten, where what else a program does is counted, too.
    pub(crate) fn check_since(self, earlier: Self) -> Result<()> {
        let (prepared, run) = (self.prepared - earlier.prepared, self.run - earlier.run);
        if run < 2 * TRANSACTIONS as u64 || 10 * prepared > run {
            bail!("{prepared} statements were prepared, and run {run} times");
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Stage {
    cluster: Cluster,
    server: Server,
    root: PathBuf,
}

impl Stage {
    pub(crate) fn set() -> Result<Self> {
        let cluster = Cluster::start(&ClusterSpec::default())?;
        cluster.coordinator().psql(TABLES)?;
        let authority = authority::Authority::new("lab");
        let shown = authority.server("localhost");
        let file = |name, content: &str| authority::file(cluster.folder(), name, content);
        let (cert, key) = (file("proxy.crt", &shown.cert), file("proxy.key", &shown.key));
        let root = PathBuf::from(file("root.crt", &authority.pem()));
        let more = format!(
            "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = {POOL_SIZE}\nacquire_timeout = \"60s\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n\
             [client_tls]\nmode = \"require\"\ncert = \"{cert}\"\nkey = \"{key}\"\n"
        );
        let settings = Settings::from_toml(&cluster.settings_toml(&more), "the stage")?;
        let server = Server::start(&settings)?;
        Ok(Self { cluster, server, root })
    }

    /// The version of PostgreSQL.
    pub(crate) fn version(&self) -> &str {
        self.cluster.version()
    }

    /// Tells a program where to connect, in the variables of libpq, which most drivers know.
    pub(crate) fn direct(&self, command: &mut Command) {
        command
            .env("PGHOST", "localhost")
            .env("PGPORT", self.server.address().port().to_string())
            .env("PGUSER", cluster::USER)
            .env("PGPASSWORD", cluster::PASSWORD)
            .env("PGDATABASE", cluster::DATABASE)
            .env("PGSSLMODE", "verify-full")
            .env("PGSSLROOTCERT", &self.root);
    }

    /// What the proxy has counted so far.
    pub(crate) fn statements(&self) -> Result<Statements> {
        let mut line = TcpStream::connect(self.server.http_address().context("it has HTTP")?)?;
        line.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut page = String::new();
        line.read_to_string(&mut page)?;
        let count = |name: &str| {
            let named = format!("pgherd_database_{name}_total{{");
            let line = page.lines().find(|line| line.starts_with(&named));
            let value = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
            value.with_context(|| format!("there is no {named}"))
        };
        Ok(Statements { prepared: count("client_parses")?, run: count("binds")? })
    }

    /// Prepares for one driver.
    pub(crate) fn clear(&self) -> Result<()> {
        self.cluster.coordinator().psql("truncate copied")?;
        Ok(())
    }

    /// Whether the node has what a driver's transactions were to write, by no more backends than the
    /// pool may have.
    pub(crate) fn check_done(&self, driver: &str) -> Result<()> {
        let sql = format!(
            "select count(distinct (worker, n)), count(distinct pid) from done where driver = '{driver}'"
        );
        let told = self.cluster.coordinator().psql(&sql)?;
        let (rows, pids) = told.split_once('|').context("two columns")?;
        if rows.parse() != Ok(TRANSACTIONS) {
            bail!("the table has {rows} rows");
        }
        if pids.parse::<usize>()? > POOL_SIZE {
            bail!("{pids} backends were at work");
        }
        Ok(())
    }

    /// Whether the node has the values that a driver was to write.
    pub(crate) fn check_kept(&self, driver: &str) -> Result<()> {
        let sql = format!(
            "set time zone 'UTC'; \
             select ints, texts, doc, raw, amount, at from kept where driver = '{driver}'"
        );
        let told = self.cluster.coordinator().psql(&sql)?;
        let row = told.lines().last().unwrap_or_default();
        if row != KEPT {
            bail!("the table has {row}");
        }
        Ok(())
    }
}
