//! The drivers that pgherd is tried with: installed from Debian's packages, PyPI and npm, those of the
//! latter two below `target/drivers`; and tried.
//!
//! What cannot be had here is told, and its drivers are skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::{command, setup, tools};

/// Some of Debian's packages.
struct Packages {
    names: &'static [&'static str],
    about: &'static str,
    are_there: fn() -> bool,
}

const PACKAGES: [Packages; 4] = [
    Packages {
        names: &["python3", "python3-venv"],
        about: "Python 3.11 with venv",
        are_there: has_python,
    },
    Packages { names: &["nodejs", "npm"], about: "Node.js with npm", are_there: has_node },
    Packages {
        names: &["default-jdk-headless", "libpostgresql-jdbc-java"],
        about: "Java with JDBC",
        are_there: has_jdbc,
    },
    Packages {
        names: &["golang-go", "golang-github-jackc-pgx-v4-dev"],
        about: "Go with pgx",
        are_there: has_pgx,
    },
];

fn has_python() -> bool {
    let imports = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))";
    command::output(Command::new("python3").args(["-c", imports])).is_some()
}

fn has_node() -> bool {
    tools::exists("node") && tools::exists("npm")
}

/// PostgreSQL's JDBC driver, where Debian puts it.
const JDBC: &str = "/usr/share/java/postgresql.jar";

fn has_jdbc() -> bool {
    tools::exists("java") && tools::exists("javac") && Path::new(JDBC).exists()
}

fn has_pgx() -> bool {
    let pgx = Path::new("/usr/share/gocode/src/github.com/jackc/pgx/v4");
    tools::exists("go") && pgx.exists()
}

/// Installs what is missing.
///
/// # Errors
/// When what is there does not work. What is not to be had is no error.
pub(crate) fn install(wheels: bool) -> Result<()> {
    packages(wheels);
    let sources = command::workspace().join("drivers");
    if has_python() {
        skip_unless(python(&sources.join("python")), "Python's drivers");
    }
    if has_node() {
        skip_unless(node(&sources.join("node")), "Node.js' drivers");
    }
    if has_jdbc() {
        java(&sources.join("java"))?;
    }
    if has_pgx() {
        go(&sources.join("go"))?;
    }
    Ok(())
}

/// Installs, and tries those that are named, or all, which writes docs/drivers.md.
pub(crate) fn try_some(names: &[String]) -> Result<()> {
    try_with(names.is_empty().then_some("--write"), names)
}

/// Tries all, and whether docs/drivers.md says what is seen.
pub(crate) fn check() -> Result<()> {
    try_with(Some("--check"), &[])
}

fn try_with(option: Option<&str>, names: &[String]) -> Result<()> {
    let wheels = setup::wants_wheels();
    let environment = setup::run(wheels)?;
    install(wheels)?;
    command::cargo(&["build", "--package", "pgherd-bench"], &environment)?;
    let mut program = Command::new(command::built("debug", "pgherd-drivers")?);
    program.arg("--tools").arg(folder()).envs(environment);
    if let Some(option) = option {
        program.arg(option).arg(command::workspace().join("docs/drivers.md"));
    }
    command::run(program.args(names))
}

fn folder() -> PathBuf {
    command::target().join("drivers")
}

fn skip_unless(installed: Result<()>, what: &str) {
    if let Err(error) = installed {
        eprintln!("setup: {error:#}: {what} are SKIPPED");
    }
}

fn packages(wheels: bool) {
    let missing = || PACKAGES.iter().filter(|packages| !(packages.are_there)());
    let what: Vec<&str> = missing().map(|packages| packages.about).collect();
    if what.is_empty() {
        return;
    }
    let what = what.join(", ");
    if wheels || setup::rights().is_none() {
        eprintln!(
            "setup: no {what} here, and only Debian's packages are known (apt-get as root or with sudo): \
             the drivers that need them are SKIPPED"
        );
        return;
    }
    let names: Vec<&str> = missing().flat_map(|packages| packages.names).copied().collect();
    let about = format!("drivers to try: {what}");
    skip_unless(setup::install(&names, &about), "the drivers that need them");
}

/// A virtual environment with what `requirements.txt` pins.
fn python(sources: &Path) -> Result<()> {
    let (list, folder) = (sources.join("requirements.txt"), folder().join("python"));
    anew(&list, &folder, || {
        command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]);
        command::run(pip.arg("--requirement").arg(&list))
    })
}

/// `node_modules` with what the lock file pins.
fn node(sources: &Path) -> Result<()> {
    let (lock, folder) = (sources.join("package-lock.json"), folder().join("node"));
    anew(&lock, &folder, || {
        std::fs::create_dir_all(&folder)?;
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(sources.join(name), folder.join(name))?;
        }
        let quiet = ["ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts"];
        command::run(Command::new("npm").args(quiet).current_dir(&folder))
    })
}

/// The program of JDBC.
fn java(sources: &Path) -> Result<()> {
    let mut javac = Command::new("javac");
    javac.args(["-cp", JDBC, "-d"]).arg(folder().join("java")).arg(sources.join("Jdbc.java"));
    command::run(&mut javac)
}

/// The program of pgx, built with the packages of Debian, which are no modules.
fn go(sources: &Path) -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder)?;
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(folder.join("pgx")).arg(sources.join("pgx.go"));
    go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
    command::run(go.env("GOCACHE", folder.join("go-cache")))
}

/// Installs into a folder unless that was done before from the same list. The file `installed` in it
/// tells that all of it is there.
fn anew(list: &Path, folder: &Path, install: impl FnOnce() -> Result<()>) -> Result<()> {
    let wanted =
        std::fs::read_to_string(list).with_context(|| format!("cannot read {}", list.display()))?;
    let done = folder.join("installed");
    if std::fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    eprintln!("setup: installing the drivers of {} into {}", list.display(), folder.display());
    if done.exists() {
        std::fs::remove_file(&done)?;
    }
    install()?;
    Ok(std::fs::write(done, wanted)?)
}
