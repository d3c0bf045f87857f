//! What a session holds, and what of it a rolled-back transaction takes back.

use std::collections::{BTreeMap, BTreeSet};

/// What a server reports of a session at its login and whenever it changes.
pub(in crate::reactor::sim) const REPORTED: [&str; 3] =
    ["TimeZone", "application_name", "client_encoding"];

/// Settings, and what else ends with a transaction that is rolled back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::reactor::sim) struct State {
    /// Set by the session.
    pub(in crate::reactor::sim) settings: BTreeMap<String, String>,
    /// Until the end of the transaction.
    pub(in crate::reactor::sim) local: BTreeMap<String, String>,
    pub(in crate::reactor::sim) tables: BTreeSet<String>,
    pub(in crate::reactor::sim) channels: BTreeSet<String>,
    /// WITH HOLD, and what they return.
    pub(in crate::reactor::sim) cursors: BTreeMap<String, String>,
}

impl State {
    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.local.remove(&spelt(name));
        self.settings.insert(spelt(name), value.to_owned());
    }

    pub(super) fn set_local(&mut self, name: &str, value: &str) {
        self.local.insert(spelt(name), value.to_owned());
    }

    pub(super) fn reset(&mut self, name: &str) {
        self.local.remove(&spelt(name));
        self.settings.remove(&spelt(name));
    }

    pub(super) fn reset_all(&mut self) {
        self.local.clear();
        self.settings.clear();
    }

    /// Everything but settings.
    pub(super) fn holds_nothing(&self) -> bool {
        self.tables.is_empty() && self.channels.is_empty() && self.cursors.is_empty()
    }
}

/// A name of a setting as the server spells it.
pub(super) fn spelt(name: &str) -> String {
    let known = REPORTED.into_iter().find(|known| known.eq_ignore_ascii_case(name));
    known.map_or_else(|| name.to_ascii_lowercase(), str::to_owned)
}

/// What a setting is where nobody has set it.
pub(super) fn default(name: &str) -> &'static str {
    match name {
        "TimeZone" => "Etc/UTC",
        "client_encoding" => "UTF8",
        "search_path" => "\"$user\", public",
        "statement_timeout" => "0",
        _ => "",
    }
}
