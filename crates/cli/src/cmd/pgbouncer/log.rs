//! The log: into a file, to standard error, or both; and to a syslog daemon.

use std::fs::{File, OpenOptions};
use std::io::{self, Stderr, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::outlet::{Form, Outlet};
use crate::syslog::Syslog;

/// Where lines go. Its clones are the same.
///
/// The lock guards which file it is, and is held for a line.
#[derive(Debug, Clone)]
pub(super) struct Log {
    file: Option<Arc<(PathBuf, Mutex<Outlet<File>>)>>,
    stderr: Option<Arc<Outlet<Stderr>>>,
}

impl Log {
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: Option<&str>, to_stderr: bool) -> Result<Self> {
        let file = path.map(|path| {
            let path = PathBuf::from(path);
            let what = || format!("cannot write the logfile {}", path.display());
            let file = append(&path).with_context(what)?;
            anyhow::Ok(Arc::new((path, Mutex::new(file))))
        });
        let stderr = to_stderr.then(|| Arc::new(Outlet::new(io::stderr(), Form::Text)));
        Ok(Self { file: file.transpose()?, stderr })
    }

    /// Begins to log, here and to `syslog`, at `info` or more.
    ///
    /// # Errors
    /// When something else logs already.
    pub(super) fn start(self, verbosity: u32, syslog: &Syslog) -> Result<()> {
        let level = match verbosity {
            0 => LevelFilter::INFO,
            1 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        let lines =
            tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(self);
        let subscriber = tracing_subscriber::registry().with(lines).with(syslog.layer());
        subscriber.with(level).try_init().context("cannot log")
    }

    /// Goes on in a new file, where somebody has taken the old one away.
    pub(super) fn reopen(&self) {
        let Some((path, file)) = self.file.as_deref() else { return };
        match append(path) {
            Ok(new) => *file.lock().unwrap_or_else(PoisonError::into_inner) = new,
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, %path, "cannot open the logfile anew");
            }
        }
    }
}

fn append(path: &Path) -> io::Result<Outlet<File>> {
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    Ok(Outlet::new(file, Form::Text))
}

impl<'l> MakeWriter<'l> for Log {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line(self)
    }
}

/// A line that is written whole.
pub(super) struct Line<'l>(&'l Log);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(stderr) = &self.0.stderr {
            stderr.say(bytes);
        }
        if let Some((_, file)) = self.0.file.as_deref() {
            file.lock().unwrap_or_else(PoisonError::into_inner).say(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
