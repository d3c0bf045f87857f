//! What settings are collected in, and what is said about them.

use std::time::Duration;

use super::value::Value;
use crate::settings::{DatabaseSettings, HostBalance, Settings};
use crate::units::format_duration;

/// What `pgherd pgbouncer` does by itself, beside its settings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Process {
    /// Where the log goes, if not to standard error.
    pub logfile: Option<String>,
    /// Where the process id is written.
    pub pidfile: Option<String>,
    /// The system's user to become.
    pub user: Option<String>,
    /// How much is logged: 0 to 3, as by `-v`.
    pub verbose: u32,
}

/// All of `[pgbouncer]`.
#[derive(Debug, Default)]
pub(super) struct Draft {
    pub(super) settings: Settings,
    pub(super) process: Process,
    pub(super) auth_file: String,
    pub(super) reserve_is_off: bool,
    pub(super) check_is_off: bool,
}

/// One of `[databases]`.
#[derive(Debug, Clone)]
pub(super) struct DatabaseDraft {
    pub(super) settings: DatabaseSettings,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) balance: HostBalance,
    pub(super) password: String,
}

/// What is said about one setting.
#[derive(Debug, Default)]
pub(super) struct Remarks {
    /// For who has set it.
    pub(super) notes: Vec<String>,
    pub(super) problems: Vec<String>,
}

impl Remarks {
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    pub(super) fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(text.into());
    }

    /// A duration that has a least value here.
    pub(super) fn at_least(&mut self, value: &Value, least: Duration) -> Duration {
        let duration = value.duration();
        if duration < least {
            self.note(format!("it becomes {}, the least there is here", format_duration(least)));
        }
        duration.max(least)
    }

    /// A count that is not 0 here.
    pub(super) fn at_least_one(&mut self, value: &Value) -> u32 {
        let count = value.count();
        if count == 0 {
            self.note("it becomes 1, the least there is here");
        }
        count.max(1)
    }

    /// A duration that has a greatest value here.
    pub(super) fn at_most(&mut self, value: &Value, most: Duration) -> Duration {
        let duration = value.duration();
        if duration > most {
            self.note(format!("it becomes {}, the most there is here", format_duration(most)));
        }
        duration.min(most)
    }

    /// A limit of which 0 means that there is none, and that has one here.
    pub(super) fn limit(&mut self, value: &Value, least: Duration, most: Duration) -> Duration {
        if value.duration().is_zero() {
            let most_text = format_duration(most);
            self.note(format!("0, for ever, becomes {most_text}, the most there is here"));
            return most;
        }
        self.at_most(value, most);
        self.at_least(value, least).min(most)
    }
}
