//! The log to a syslog daemon, over its datagram socket.
//!
//! In: lines of the log with their levels. Out: datagrams as libc's `syslog(3)` makes them (RFC 3164),
//! where `[log]` wants it. Nothing here waits: what the daemon does not take at once is left out and
//! counted, and where there is no daemon it is looked for again.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::ZonedDateTime;
use pgherd_core::settings::LogSettings;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

use crate::line::{Lost, escaped};

/// The longest message: 8 KiB, as rsyslog takes by itself.
const LONGEST: usize = 8 * 1024;
/// How often the other outputs are told, at most, that lines are not taken: a daemon that is only slow
/// takes one and leaves one.
const QUIET: Duration = Duration::from_secs(60);
/// What tells them. It does not come here.
const NEWS: &str = "pgherd::syslog";

/// Where lines go, if they do. Its clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Syslog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_wanted: AtomicBool,
    // Held for a line, which waits for nobody.
    daemon: Mutex<Daemon>,
}

#[derive(Debug, Default)]
struct Daemon {
    settings: LogSettings,
    socket: Option<UnixDatagram>,
    lost: Lost,
    // Whether the other outputs know that it takes nothing, and when they were last told so.
    is_known_lost: bool,
    told_at: Option<Instant>,
}

/// What the other outputs are told of it.
#[derive(Debug)]
enum News {
    TakesNothing(io::Error),
    TakesLines,
}

impl Syslog {
    /// Goes on as these settings say.
    pub(crate) fn follow(&self, settings: &LogSettings) {
        let mut daemon = self.daemon();
        if daemon.settings != *settings {
            // It may be another one.
            let (settings, lost) = (settings.clone(), daemon.lost);
            *daemon = Daemon { settings, lost, ..Daemon::default() };
        }
        self.0.is_wanted.store(settings.syslog, Ordering::Relaxed);
    }

    /// What hands the lines of the program's log to it.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'s> LookupSpan<'s>,
    {
        let shared = Arc::clone(&self.0);
        // The daemon has the time and the level.
        fmt::layer()
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_ansi(false)
            .with_writer(self.clone())
            .with_filter(dynamic_filter_fn(move |meta, _| {
                shared.is_wanted.load(Ordering::Relaxed) && meta.target() != NEWS
            }))
    }

    fn daemon(&self) -> MutexGuard<'_, Daemon> {
        self.0.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'l> MakeWriter<'l> for Syslog {
    type Writer = Line<'l>;

    fn make_writer(&'l self) -> Line<'l> {
        Line(self, Severity::Info)
    }

    fn make_writer_for(&'l self, meta: &Metadata<'_>) -> Line<'l> {
        Line(self, Severity::of(*meta.level()))
    }
}

/// A line that is written at once.
pub(crate) struct Line<'l>(&'l Syslog, Severity);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let news = {
            let mut daemon = self.0.daemon();
            let said = daemon.say(self.1, &String::from_utf8_lossy(bytes));
            daemon.news(said, Instant::now())
        };
        // Without the lock: this is a line of the log, too.
        if let Some(news) = news {
            news.tell();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How grave it is: RFC 3164, 4.1.1.
#[derive(Debug, Clone, Copy)]
enum Severity {
    Error = 3,
    Warning = 4,
    Info = 6,
    Debug = 7,
}

impl Severity {
    fn of(level: Level) -> Self {
        match level {
            Level::ERROR => Self::Error,
            Level::WARN => Self::Warning,
            Level::INFO => Self::Info,
            _ => Self::Debug,
        }
    }
}

impl Daemon {
    fn say(&mut self, severity: Severity, text: &str) -> io::Result<()> {
        let told = self.tell_of_the_lost().and_then(|()| self.send(severity, text));
        if told.is_err() {
            self.lost.add_one();
        }
        told
    }

    /// What the other outputs are to be told after a line was said.
    fn news(&mut self, said: io::Result<()>, now: Instant) -> Option<News> {
        let is_quiet = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
        match said {
            Ok(()) if self.is_known_lost => {
                self.is_known_lost = false;
                Some(News::TakesLines)
            }
            Err(error) if !self.is_known_lost && !is_quiet => {
                (self.is_known_lost, self.told_at) = (true, Some(now));
                Some(News::TakesNothing(error))
            }
            _ => None,
        }
    }

    fn tell_of_the_lost(&mut self) -> io::Result<()> {
        if let Some(notice) = self.lost.notice() {
            self.send(Severity::Warning, &notice)?;
            self.lost = Lost::default();
        }
        Ok(())
    }

    /// Sends a line, on a new connection where the last one has ended: the daemon may have been
    /// started anew.
    fn send(&mut self, severity: Severity, text: &str) -> io::Result<()> {
        let message = message(&self.settings, severity, text, &ZonedDateTime::now());
        if let Some(socket) = &self.socket {
            match socket.send(message.as_bytes()) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(error),
                Err(_) => self.socket = None,
            }
        }
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(&self.settings.syslog_socket)?;
        socket.send(message.as_bytes())?;
        self.socket = Some(socket);
        Ok(())
    }
}

impl News {
    fn tell(&self) {
        match self {
            Self::TakesNothing(error) => {
                tracing::warn!(target: NEWS, %error, "syslog takes no lines: they are left out there");
            }
            Self::TakesLines => tracing::warn!(target: NEWS, "syslog takes lines again"),
        }
    }
}

/// `<30>Nov 29 12:01:02 pgherd[17]: listening`
fn message(settings: &LogSettings, severity: Severity, text: &str, now: &ZonedDateTime) -> String {
    let priority = settings.syslog_facility.number() * 8 + severity as u32;
    // In English whatever the locale, and the day without a zero: RFC 3164, 4.1.2.
    let (at, ident, pid) =
        (now.strftime("%b %e %H:%M:%S"), &settings.syslog_ident, std::process::id());
    // A daemon takes a line end for the end.
    let text = escaped(text.trim_end(), |_| false);
    let text = &text[..text.floor_char_boundary(LONGEST)];
    format!("<{priority}>{at} {ident}[{pid}]: {text}")
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A daemon that reads when it is told to.
    fn daemon(folder: &TempDir) -> (UnixDatagram, LogSettings) {
        let path = folder.path().join("log");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let syslog_socket = path.to_str().unwrap().to_owned();
        (socket, LogSettings { syslog: true, syslog_socket, ..LogSettings::default() })
    }

    fn received(daemon: &UnixDatagram) -> Vec<String> {
        let mut buffer = vec![0; 2 * LONGEST];
        std::iter::from_fn(|| {
            let length = daemon.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
        })
        .collect()
    }

    #[test]
    fn a_message_is_as_libc_makes_it() {
        let settings = LogSettings {
            syslog_ident: "pooler".to_owned(),
            syslog_facility: "local3".parse().unwrap(),
            ..LogSettings::default()
        };
        let now: ZonedDateTime = "2026-02-03T04:05:06[UTC]".parse().unwrap();
        let said = message(&settings, Severity::Warning, "one\ntwo\u{1b}[m \n", &now);
        let pid = std::process::id();
        assert_eq!(said, format!("<156>Feb  3 04:05:06 pooler[{pid}]: one\\ntwo\\u{{1b}}[m"));
        let long = message(&settings, Severity::Info, &"ä".repeat(LONGEST), &now);
        assert!(long.len() < LONGEST + 64);
    }

    #[test]
    fn what_becomes_of_a_daemon_is_told_and_not_too_often() {
        let mut daemon = Daemon::default();
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut news = |is_taken: bool, after: Duration| {
            let said = if is_taken { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) };
            daemon.news(said, start + after).map(|news| matches!(news, News::TakesLines))
        };
        assert_eq!(news(true, Duration::ZERO), None);
        assert_eq!(news(false, second), Some(false));
        assert_eq!(news(false, 2 * QUIET), None, "it is known");
        assert_eq!(news(true, 2 * QUIET), Some(true));
        assert_eq!(news(false, 2 * QUIET + second), Some(false));
        assert_eq!(news(true, 2 * QUIET + 2 * second), Some(true));
        for after in 3..9 {
            assert_eq!(news(after % 2 == 0, 2 * QUIET + after * second), None, "it is only slow");
        }
        assert_eq!(news(false, 3 * QUIET + second), Some(false));
    }

    #[test]
    fn what_a_daemon_does_not_take_is_counted_and_nobody_waits() {
        let folder = TempDir::new().unwrap();
        let (full, settings) = daemon(&folder);
        let syslog = Syslog::default();
        syslog.follow(&settings);
        let say = |text: &str| syslog.daemon().say(Severity::Info, text);
        // Until its queue is full: as many as fit, and each of the rest at once.
        let said = 5_000;
        let lost = (0..said).filter(|_| say("x").is_err()).count();
        assert!(lost > 0);
        assert_eq!(received(&full).len(), said - lost);
        say("y").unwrap();
        let lines = received(&full);
        assert!(lines[0].contains(&format!("]: {lost} lines before were not taken")), "{lines:?}");
        assert!(lines[1].ends_with("]: y"), "{lines:?}");

        drop(full);
        assert!(say("nobody is there").is_err());
        let (new, settings) = daemon(&folder);
        syslog.follow(&settings);
        say("z").unwrap();
        let lines = received(&new);
        assert!(lines[0].contains("]: 1 lines before") && lines[1].ends_with("]: z"), "{lines:?}");
        std::fs::remove_file(&settings.syslog_socket).unwrap();
        drop(new);
        assert!(say("it is missing").is_err());
    }
}
