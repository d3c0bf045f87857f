//! `SHOW VERSION`.

use super::super::report::Scope;
use super::super::table::{Cell, Column, text};
use super::Table;

/// The PgBouncer whose console this one is like. Tools look for its name and a version behind it.
const LIKE: &str = "PgBouncer 1.25.2";

pub(super) static TABLE: Table = Table {
    name: "version",
    about: "The PgBouncer that the console is like, and which pgherd it is.",
    columns: &COLUMNS,
    theirs: 1,
    scope: Scope::Sums,
    rows: |_| Ok(vec![vec![Cell::from(format!("{LIKE} (pgherd {})", env!("CARGO_PKG_VERSION")))]]),
};

const COLUMNS: [Column; 1] = [text("version", "One text.")];
