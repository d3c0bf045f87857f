//! The drivers there are, and how their programs are run.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use pgherd_lab::Engine;

/// PostgreSQL's JDBC driver, where Debian puts it.
const JDBC: &str = "/usr/share/java/postgresql.jar";

/// One driver.
#[derive(Debug)]
pub(crate) struct Driver {
    pub(crate) name: &'static str,
    /// What it is, in the document.
    pub(crate) about: &'static str,
    pub(crate) prepares: Prepares,
    runs: Runs,
}

/// How it prepares statements.
#[derive(Debug)]
pub(crate) enum Prepares {
    ByProtocol,
    /// By SQL's PREPARE and EXECUTE.
    InSql,
}

/// What runs its program, and the program.
#[derive(Debug)]
enum Runs {
    Python(&'static str),
    Node(&'static str),
    /// Compiled by `cargo x setup`, as those in Go.
    Java(&'static str),
    Go(&'static str),
    /// This program itself.
    Rust(&'static str),
}

pub(crate) const DRIVERS: [Driver; 13] = [
    Driver {
        name: "psql",
        about: "PostgreSQL's own, with SQL's `PREPARE`",
        prepares: Prepares::InSql,
        runs: Runs::Python("psql.py"),
    },
    Driver {
        name: "psycopg",
        about: "Python, version 3, binding on the server",
        prepares: Prepares::ByProtocol,
        runs: Runs::Python("psycopg3.py"),
    },
    Driver {
        name: "psycopg2",
        about: "Python, with SQL's `PREPARE`",
        prepares: Prepares::InSql,
        runs: Runs::Python("psycopg2_.py"),
    },
    Driver {
        name: "asyncpg",
        about: "Python",
        prepares: Prepares::ByProtocol,
        runs: Runs::Python("asyncpg_.py"),
    },
    Driver {
        name: "pg8000",
        about: "Python",
        prepares: Prepares::ByProtocol,
        runs: Runs::Python("pg8000_.py"),
    },
    Driver {
        name: "SQLAlchemy",
        about: "Python, over psycopg",
        prepares: Prepares::ByProtocol,
        runs: Runs::Python("sqlalchemy_.py"),
    },
    Driver {
        name: "Django",
        about: "Python, its ORM over psycopg",
        prepares: Prepares::ByProtocol,
        runs: Runs::Python("django_.py"),
    },
    Driver {
        name: "pg",
        about: "Node.js, node-postgres",
        prepares: Prepares::ByProtocol,
        runs: Runs::Node("pg.js"),
    },
    Driver {
        name: "postgres",
        about: "Node.js, Postgres.js",
        prepares: Prepares::ByProtocol,
        runs: Runs::Node("postgres.js"),
    },
    Driver {
        name: "tokio-postgres",
        about: "Rust",
        prepares: Prepares::ByProtocol,
        runs: Runs::Rust("tokio-postgres"),
    },
    Driver {
        name: "sqlx",
        about: "Rust",
        prepares: Prepares::ByProtocol,
        runs: Runs::Rust("sqlx"),
    },
    Driver {
        name: "JDBC",
        about: "Java, Debian's package",
        prepares: Prepares::ByProtocol,
        runs: Runs::Java("Jdbc"),
    },
    Driver {
        name: "pgx",
        about: "Go, Debian's package",
        prepares: Prepares::ByProtocol,
        runs: Runs::Go("pgx"),
    },
];

impl Driver {
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// What it needs that is not there, if anything.
    pub(crate) fn missing(&self, tools: &Path) -> Option<String> {
        if self.name == "psql" && Engine::find().is_ok_and(|engine| engine.has_no_tls()) {
            return Some("a psql with TLS".to_owned());
        }
        let needed = match self.runs {
            Runs::Python(_) => tools.join("python/installed"),
            Runs::Node(_) => tools.join("node/installed"),
            Runs::Java(class) => tools.join("java").join(class).with_extension("class"),
            Runs::Go(name) => tools.join(name),
            Runs::Rust(_) => return None,
        };
        (!needed.exists()).then(|| needed.display().to_string())
    }

    /// Its program, ready to run but for where to connect.
    pub(crate) fn command(&self, tools: &Path) -> Result<Command> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../drivers");
        Ok(match self.runs {
            Runs::Python(script) => {
                let mut command = Command::new(tools.join("python/bin/python"));
                command.arg(here.join("python").join(script));
                // Nothing is left beside the sources.
                command.env("PYTHONDONTWRITEBYTECODE", "1");
                command.env("PSQL", Engine::find()?.program("psql"));
                command
            }
            Runs::Node(script) => {
                let mut command = Command::new("node");
                command.arg(here.join("node").join(script));
                command.env("NODE_PATH", tools.join("node/node_modules"));
                command
            }
            Runs::Java(class) => {
                let mut command = Command::new("java");
                command.arg("-cp").arg(format!("{JDBC}:{}", tools.join("java").display()));
                command.arg(class);
                command
            }
            Runs::Go(name) => Command::new(tools.join(name)),
            Runs::Rust(name) => {
                let own = std::env::current_exe().context("where is this program?")?;
                let mut command = Command::new(own);
                command.args(["--program", name]);
                command
            }
        })
    }
}
