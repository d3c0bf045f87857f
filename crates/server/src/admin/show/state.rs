//! `SHOW STATE`.

use super::super::report::Scope;
use super::super::state::Pause;
use super::super::table::{Cell, Column, text};
use super::Table;

pub(super) static TABLE: Table = Table {
    name: "state",
    about: "Whether the process is `active`, `paused` or `suspended`.",
    columns: &COLUMNS,
    theirs: 2,
    scope: Scope::Sums,
    rows: |view| {
        let state = view.proxy.admin.pause();
        let is = |name: &'static str, is_so| vec![Cell::from(name), Cell::yes_no(is_so)];
        Ok(vec![
            is("active", state == Pause::None),
            is("paused", state == Pause::Paused),
            is("suspended", state == Pause::Suspended),
        ])
    },
};

const COLUMNS: [Column; 2] = [text("key", "Which state."), text("value", "yes or no.")];
