//! Developer commands: `cargo x` lists them.
//!
//! Plain Rust without dependencies that need a C library: it has to build on a machine on
//! which nothing has been set up yet.

mod bindings;
mod command;
mod drivers;
#[cfg(test)]
mod examples;
mod fuzz;
#[cfg(test)]
mod links;
mod mutants;
mod package;
mod setup;
mod tools;

use std::process::ExitCode;

use anyhow::{Result, bail};

/// One command of `cargo x`.
struct Task {
    name: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<()>,
}

const TASKS: [Task; 13] = [
    Task { name: "setup", about: "install what building and testing need", run: setup_only },
    Task {
        name: "check",
        about: "format, lints, fast tests, examples: before each commit",
        run: check,
    },
    Task {
        name: "test",
        about: "set up, then all tests, against real servers; `drivers`: those only",
        run: test,
    },
    Task {
        name: "fuzz",
        about: "fuzz what reads from the network ([TARGET...] [--for MINUTES])",
        run: fuzz::run,
    },
    Task {
        name: "sim",
        about: "one whole proxy under simulation: a million transactions, or as many as named",
        run: sim,
    },
    Task {
        name: "mutants",
        about: "bugs put in on purpose: does the simulation find them? A quarter of an hour",
        run: mutants::run,
    },
    Task { name: "demo", about: "set up, then the main job on a real cluster", run: demo },
    Task {
        name: "bench",
        about: "measure (pool, proxy or idle), and write docs/benchmarks.md",
        run: bench,
    },
    Task { name: "fmt", about: "format the code", run: fmt },
    Task {
        name: "reference",
        about: "write docs/: settings, environment, metrics, console, cli, coming-from-pgbouncer; and config/ anew",
        run: reference,
    },
    Task {
        name: "bindings",
        about: "write the SQL parser's Rust types anew (--check: are they right?)",
        run: bindings,
    },
    Task {
        name: "package",
        about: "pack what is published, and build it in a project outside",
        run: package,
    },
    Task { name: "doc", about: "build the documentation of all crates", run: doc },
];

/// The packages that commands are about: all but the benchmarks, which build the peers too.
const ALL: [&str; 3] = ["--workspace", "--exclude", "pgherd-bench"];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        println!("cargo x <command>\n");
        for Task { name, about, .. } in &TASKS {
            println!("  {name:<10} {about}");
        }
        return ExitCode::SUCCESS;
    };
    let Some(task) = TASKS.iter().find(|task| task.name == name) else {
        eprintln!("there is no command `{name}`: `cargo x` lists them");
        return ExitCode::from(2);
    };
    let rest: Vec<String> = arguments.collect();
    match (task.run)(&rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo x {name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn setup_only(rest: &[String]) -> Result<()> {
    let wheels = match rest {
        [] => setup::wants_wheels(),
        [option] if option == "--wheel" => true,
        _ => bail!("it takes --wheel or nothing, not `{}`", rest.join(" ")),
    };
    let environment = setup::run(wheels)?;
    setup::pgbouncer(wheels)?;
    setup::curl()?;
    drivers::install(wheels)?;
    for (name, value) in environment {
        println!("export {name}='{value}'");
    }
    Ok(())
}

/// What one runs before a commit: everything that needs no server.
fn check(_: &[String]) -> Result<()> {
    let environment = setup::run(setup::wants_wheels())?;
    command::cargo(&["fmt", "--all", "--check"], &environment)?;
    bindings::run(true)?;
    package::pack()?;
    let clippy = [&["clippy"], &ALL[..], &["--all-targets", "--", "-D", "warnings"]].concat();
    command::cargo(&clippy, &environment)?;
    let fast = [&["test"], &ALL[..], &["--lib", "--bins", "--test", "reference"]].concat();
    command::cargo(&fast, &environment)?;
    let examples = ["test", "--doc", "--package", "pgherd-core", "--package", "pgherd"];
    command::cargo(&examples, &environment)
}

fn test(rest: &[String]) -> Result<()> {
    if let Some((first, names)) = rest.split_first()
        && first == "drivers"
    {
        return drivers::try_some(names);
    }
    let environment = setup::run(setup::wants_wheels())?;
    setup::pgbouncer(setup::wants_wheels())?;
    setup::curl()?;
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    if tools::exists("cargo-nextest") {
        let nextest = [&["nextest", "run"], &ALL[..], &rest[..]].concat();
        command::cargo(&nextest, &environment)?;
        command::cargo(&[&["test"], &ALL[..], &["--doc"]].concat(), &environment)?;
    } else {
        let test = [&["test"], &ALL[..], &rest[..]].concat();
        command::cargo(&test, &environment)?;
    }
    if rest.is_empty() {
        command::cargo(&["test", "--package", "pgherd-bench"], &environment)?;
        drivers::check()?;
    }
    Ok(())
}

/// The simulation of the proxy: long, and told on the way.
fn sim(rest: &[String]) -> Result<()> {
    const COUNT: &str = "PGHERD_SIM_TRANSACTIONS";
    let mut environment = setup::run(setup::wants_wheels())?;
    let million = std::env::var(COUNT).unwrap_or_else(|_| "1000000".to_owned());
    environment.push((COUNT.to_owned(), rest.first().cloned().unwrap_or(million)));
    let test = ["test", "--profile", "sim", "--package", "pgherd-server", "--lib"];
    let name = ["reactor::sim::tests::a_proxy_keeps_its_promises", "--", "--nocapture"];
    command::cargo(&[&test[..], &name[..]].concat(), &environment)
}

fn demo(rest: &[String]) -> Result<()> {
    let environment = setup::run(setup::wants_wheels())?;
    let build = ["build", "--release", "--package", "pgherd-cli"];
    command::cargo(&build, &environment)?;
    let demo = [&["demo".to_owned()], rest].concat();
    command::replace(&command::built("release", "pgherd")?, &demo, &environment)
}

/// Builds what is compared, and becomes the benchmarks' program, which writes docs/benchmarks.md.
fn bench(rest: &[String]) -> Result<()> {
    let environment = setup::run(setup::wants_wheels())?;
    command::cargo(&["build", "--release", "--package", "pgherd-bench"], &environment)?;
    let program = command::built("release", "pgherd-bench")?;
    let docs = command::workspace().join("docs");
    let mut arguments = vec!["--docs".to_owned(), docs.display().to_string()];
    arguments.extend_from_slice(rest);
    if rest.first().is_some_and(|name| matches!(&**name, "proxy" | "idle")) {
        setup::pgbouncer(setup::wants_wheels())?;
        command::cargo(&["build", "--release", "--package", "pgherd-cli"], &environment)?;
        let pgherd = command::built("release", "pgherd")?;
        for (name, path) in [("pgherd", &pgherd), ("blind forwarder", &program)] {
            arguments.extend(["--program".to_owned(), format!("{name}={}", path.display())]);
        }
    }
    command::replace(&program, &arguments, &environment)
}

fn reference(_: &[String]) -> Result<()> {
    let mut environment = setup::run(setup::wants_wheels())?;
    environment.push(("PGHERD_WRITE_REFERENCE".to_owned(), "1".to_owned()));
    command::cargo(&["test", "--package", "pgherd-core", "--test", "reference"], &environment)?;
    let console = ["test", "--package", "pgherd-server", "--lib", "the_console_reference_is_fresh"];
    command::cargo(&console, &environment)?;
    // The samples in config/, and docs/cli.md.
    let program = ["test", "--package", "pgherd-cli", "--bin", "pgherd", "fresh"];
    command::cargo(&program, &environment)
}

fn bindings(rest: &[String]) -> Result<()> {
    match rest {
        [] => bindings::run(false),
        [option] if option == "--check" => bindings::run(true),
        _ => bail!("it takes --check or nothing, not `{}`", rest.join(" ")),
    }
}

fn package(_: &[String]) -> Result<()> {
    setup::run(setup::wants_wheels())?;
    package::run()
}

fn fmt(_: &[String]) -> Result<()> {
    command::cargo(&["fmt", "--all"], &[])
}

fn doc(_: &[String]) -> Result<()> {
    let doc = [&["doc"], &ALL[..], &["--no-deps"]].concat();
    command::cargo(&doc, &setup::run(setup::wants_wheels())?)
}
