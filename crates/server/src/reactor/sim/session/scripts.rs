//! What pgherd asks a server on its own behalf, and the answers.

use pgherd_core::reset::SCRIPT;

use super::answers::{complete, describe, row};
use super::{Session, state};
use crate::reactor::sim::invariants::{Invariant, violated};

/// How the script of [`pgherd_core::held`] begins.
const HELD: &str = "SELECT 'limit', '',";

/// Whether a text is one of pgherd's scripts.
pub(super) fn is_one(text: &str) -> bool {
    text == SCRIPT || text.starts_with(HELD)
}

impl Session {
    pub(super) fn script(&mut self, text: &str, out: &mut Vec<u8>) {
        if !self.tx.is_idle() {
            let text = format!("pgherd asks about a session that is {:?}", self.tx);
            violated(Invariant::CleanOnRelease, text);
        }
        match text == SCRIPT {
            true => self.reset(out),
            false => self.tell_held(text, out),
        }
    }

    fn tell_held(&mut self, script: &str, out: &mut Vec<u8>) {
        let (columns, settings) = (3, &self.state.settings);
        describe(out, columns);
        row(out, &[Some("limit"), Some(""), Some(self.value("statement_timeout"))]);
        complete(out, "SELECT 1");
        complete(out, "SET");
        describe(out, columns);
        let mut count = 0;
        let mut tell = |kind: &str, name: &str, value: Option<&str>| {
            row(out, &[Some(kind), Some(name), value]);
            count += 1;
        };
        tell("default", "statement_timeout", Some(state::default("statement_timeout")));
        // Those with a dot are in no view.
        let shown = settings.iter().filter(|(name, _)| !name.contains('.'));
        for (name, value) in shown.filter(|(name, _)| *name != "statement_timeout") {
            tell("setting", name, Some(value));
        }
        tell("role", "", Some("none"));
        tell("user", "", Some(&self.user));
        let number = |length: usize| length.to_string();
        tell("cursors", "", Some(&number(self.state.cursors.len())));
        tell("channels", "", Some(&number(self.state.channels.len())));
        tell("locks", "", Some(&number(self.locks.len())));
        tell("temporary", "", Some(&number(self.state.tables.len())));
        for (name, text) in self.made() {
            tell("prepared", &hex(name), Some(&hex(text)));
        }
        for name in asked_for(script) {
            tell("setting", name, settings.get(&state::spelt(name)).map(String::as_str));
        }
        complete(out, &format!("SELECT {count}"));
    }

    fn reset(&mut self, out: &mut Vec<u8>) {
        let by_sql: Vec<String> = self.made().map(|(name, _)| name.to_owned()).collect();
        let kept = self.prepared().count();
        let number = |length: usize| length.to_string();
        let deallocate: Vec<String> =
            by_sql.iter().map(|name| format!("DEALLOCATE {name}")).collect();
        let deallocate = deallocate.join("; ");
        for tag in ["RESET", "RESET", "RESET"] {
            complete(out, tag);
        }
        describe(out, 8);
        row(
            out,
            &[
                Some(&number(self.state.cursors.len())),
                Some(&number(self.state.channels.len())),
                Some(&number(self.locks.len())),
                Some(if self.state.tables.is_empty() { "f" } else { "t" }),
                Some(&number(by_sql.len())),
                (!by_sql.is_empty()).then_some(&deallocate),
                Some(&number(kept)),
                Some("f"),
            ],
        );
        complete(out, "SELECT 1");
        complete(out, "CLOSE CURSOR ALL");
        complete(out, "UNLISTEN");
        describe(out, 1);
        row(out, &[Some("")]);
        complete(out, "SELECT 1");
        complete(out, "DISCARD TEMP");
        *self.change() = super::State::default();
        self.locks.clear();
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// The names of settings that the script asks for.
fn asked_for(script: &str) -> impl Iterator<Item = &str> {
    let list = script.split_once("FROM (VALUES ").map_or("", |(_, list)| list);
    let list = list.split_once(") AS given").map_or("", |(list, _)| list);
    list.split('\'').filter(|part| part.contains('.'))
}
