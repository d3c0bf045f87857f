//! Runs other programs, and says so.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Names and values of environment variables.
pub(crate) type Environment = [(String, String)];

/// Runs `cargo` with these arguments, in the workspace.
pub(crate) fn cargo(arguments: &[&str], environment: &Environment) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(workspace());
    command.envs(environment.iter().map(|(name, value)| (name, value)));
    run(&mut command)
}

/// Runs a command and fails if it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let said = said(command);
    eprintln!("+ {said}");
    let status = command.status().with_context(|| format!("cannot run `{said}`"))?;
    if !status.success() {
        bail!("`{said}` failed: {status}");
    }
    Ok(())
}

/// What a command prints; `None` if it cannot be run or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

/// Becomes another program, so that Ctrl-C reaches it alone. Returns only if that fails.
pub(crate) fn replace(
    program: &Path,
    arguments: &[String],
    environment: &Environment,
) -> Result<()> {
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().map(|(name, value)| (name, value)));
    eprintln!("+ {}", said(&command));
    Err(command.exec()).with_context(|| format!("cannot run `{}`", program.display()))
}

/// Where cargo puts a program of this workspace.
pub(crate) fn built(profile: &str, name: &str) -> Result<PathBuf> {
    let path = target().join(profile).join(name);
    if !path.exists() {
        bail!("{} was not built", path.display());
    }
    Ok(path)
}

/// Where cargo builds this workspace.
pub(crate) fn target() -> PathBuf {
    let folder =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    workspace().join(folder)
}

/// The workspace's folder.
pub(crate) fn workspace() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

fn said(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
