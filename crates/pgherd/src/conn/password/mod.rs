//! Where the password for the nodes comes from.
//!
//! In: a user's settings. Out: what the file or the command says now. Errors name them, and
//! never what they hold.

mod command;
mod passfile;

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use pgherd_core::Settings;
use pgherd_core::settings::{PasswordCommand, Secret, UserSettings};
use tracing::warn;

use command::Command;
pub(super) use passfile::Place;

/// The longest password, and the longest file with one. Tokens of cloud providers have 2 KiB.
const LONGEST: usize = 16 * 1024;
/// The longest passfile.
const LONGEST_PASSFILE: usize = 1024 * 1024;

/// Why there is no password. Nothing of what was read is in it. See [`with_passwords`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// The file cannot be read, or holds none.
    #[error("{setting} {}: {problem}", path.display())]
    File {
        /// `password_file` or `passfile`.
        setting: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The command failed, or printed none.
    #[error("password_command `{command}` {problem}")]
    Command {
        /// The command.
        command: String,
        /// What is wrong, with what it said on standard error.
        problem: String,
    },
    /// None was given, and the node asks for one.
    #[error(
        "user `{user}` has none, and the node asks for it: set `password`, `password_file`, \
         `password_command` or `passfile`"
    )]
    Missing {
        /// The user.
        user: String,
    },
    /// It took longer than a connection may.
    #[error("no password within {limit:?}")]
    TimedOut {
        /// That limit.
        limit: Duration,
    },
    /// One of several users has none.
    #[error("user `{user}`: {error}")]
    OfUser {
        /// The user.
        user: String,
        /// Why.
        error: Box<PasswordError>,
    },
    /// A passfile has a password for each node, and one for all was needed.
    #[error("user `{user}` has a passfile, and one password for all nodes is needed here")]
    ManyPasswords {
        /// The user.
        user: String,
    },
}

impl PasswordError {
    /// Whether it may be another the next time, without anybody doing something about it.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Command { .. } | Self::TimedOut { .. })
    }
}

/// The settings with the password in place of each user's `password_file` and `password_command`,
/// for those who keep it.
///
/// Dropping the future ends a command that runs.
///
/// ```no_run
/// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
/// use pgherd::Settings;
///
/// let text = std::fs::read_to_string("pgherd.toml")?;
/// let settings = Settings::from_toml(&text, "pgherd.toml")?;
/// match pgherd::with_passwords(settings).await {
///     Ok(settings) => assert!(settings.users[0].password_file.is_empty()),
///     Err(error) => eprintln!("{error}"),
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`PasswordError`] of the first user whose password cannot be had, or who has a passfile.
pub async fn with_passwords(mut settings: Settings) -> Result<Settings, PasswordError> {
    for user in &mut settings.users {
        if !user.passfile.is_empty() {
            return Err(PasswordError::ManyPasswords { user: user.name.clone() });
        }
        let of_user =
            |error| PasswordError::OfUser { user: user.name.clone(), error: Box::new(error) };
        let password = match Password::of(user).0 {
            Source::Given(password) => Arc::unwrap_or_clone(password.into_inner()),
            Source::File(file) => read_in_background(file).await.map_err(of_user)?,
            Source::Passfile(_) => Secret::default(),
            Source::Command(command) => command.run().await.map_err(of_user)?,
        };
        *user = UserSettings {
            password,
            password_file: String::new(),
            password_command: PasswordCommand::default(),
            ..std::mem::take(user)
        };
    }
    Ok(settings)
}

/// A user's password, read when it is needed.
#[derive(Debug)]
pub(crate) struct Password(Source);

#[derive(Debug)]
enum Source {
    Given(ArcSwap<Secret>),
    File(Arc<PasswordFile>),
    Passfile(PathBuf),
    Command(Arc<Command>),
}

impl Password {
    pub(crate) fn of(user: &UserSettings) -> Self {
        Self(if !user.password_file.is_empty() {
            let (path, is_said) = (user.password_file.clone().into(), AtomicBool::new(false));
            Source::File(Arc::new(PasswordFile { path, is_said }))
        } else if !user.password_command.is_empty() {
            Source::Command(Arc::new(Command::new(user.password_command.clone())))
        } else if !user.passfile.is_empty() {
            Source::Passfile(user.passfile.clone().into())
        } else {
            Source::Given(ArcSwap::from_pointee(user.password.clone()))
        })
    }

    pub(crate) fn none() -> Self {
        Self(Source::Given(ArcSwap::default()))
    }

    /// Whether its file is as it has to be now. Waits for the disk, and runs no command.
    pub(crate) fn check(&self) -> Result<(), PasswordError> {
        match &self.0 {
            Source::Given(_) | Source::Command(_) => Ok(()),
            Source::File(file) => file.read().map(|_| ()),
            Source::Passfile(path) => passfile::read(path).map(|_| ()),
        }
    }

    /// The password for a place, as it is now; empty if there is none.
    ///
    /// Dropping the future does not end a command that runs: its answer is for the next.
    pub(super) async fn get(&self, place: Place<'_>) -> Result<Secret, PasswordError> {
        match &self.0 {
            Source::Given(password) => Ok(Secret::clone(&password.load())),
            Source::File(file) => read_in_background(file.clone()).await,
            Source::Passfile(path) => {
                let path = path.clone();
                let text = in_background(move || passfile::read(&path)).await?;
                Ok(passfile::find(&text, place).map(Secret::new).unwrap_or_default())
            }
            Source::Command(command) => command.clone().answer().await,
        }
    }

    /// It is another one now, unless it is read where it is kept.
    pub(crate) fn change(&self, to: &Secret) {
        if let Source::Given(password) = &self.0 {
            password.store(Arc::new(to.clone()));
        }
    }

    /// A node has refused it: a command is run again before it is used again.
    pub(super) fn refused(&self) {
        if let Source::Command(command) = &self.0 {
            command.forget();
        }
    }
}

/// See `UserSettings::password_file`.
#[derive(Debug)]
struct PasswordFile {
    path: PathBuf,
    // That others may read it.
    is_said: AtomicBool,
}

impl PasswordFile {
    fn read(&self) -> Result<Secret, PasswordError> {
        let fail = |problem: String| PasswordError::File {
            setting: "password_file",
            path: self.path.clone(),
            problem,
        };
        let (text, mode) = read(&self.path, LONGEST).map_err(fail)?;
        if mode & 0o022 != 0 {
            return Err(fail(format!("has mode {mode:04o}, so others may change it: chmod 0600")));
        }
        // Not refused: secrets that container platforms mount are readable by all in there.
        if mode & 0o004 != 0 && !self.is_said.swap(true, Ordering::Relaxed) {
            warn!(path = %self.path.display(), "the password file is readable by everybody");
        }
        one_line(text).map_err(|problem| fail(problem.to_owned()))
    }
}

async fn read_in_background(file: Arc<PasswordFile>) -> Result<Secret, PasswordError> {
    in_background(move || file.read()).await
}

/// Waits for the disk where that holds nobody up.
async fn in_background<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

/// The text of a file and its permissions.
fn read(path: &Path, longest: usize) -> Result<(String, u32), String> {
    let read = || {
        let file = File::open(path)?;
        let (mode, mut content) = (file.metadata()?.mode() & 0o777, Vec::new());
        file.take(longest as u64 + 1).read_to_end(&mut content)?;
        Ok((content, mode))
    };
    let (content, mode) = read().map_err(|error: std::io::Error| error.to_string())?;
    if content.len() > longest {
        return Err(format!("is longer than {longest} bytes"));
    }
    Ok((String::from_utf8(content).map_err(|_| "is not UTF-8")?, mode))
}

/// A password that stands alone.
fn one_line(mut text: String) -> Result<Secret, &'static str> {
    let length = text
        .strip_suffix('\n')
        .map_or(text.len(), |line| line.strip_suffix('\r').unwrap_or(line).len());
    text.truncate(length);
    if text.is_empty() {
        return Err("holds no password");
    }
    if text.contains(['\n', '\0']) {
        return Err("holds more than one line");
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests;
