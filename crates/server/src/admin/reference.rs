//! Every table of the console, for people.

use std::fmt::Write;

use super::show::{self, Table};
use super::table::Column;

/// `docs/console.md` from its tables on: what `SHOW` shows, column by column.
pub fn reference() -> String {
    let mut text = String::new();
    for table in show::ALL {
        put_table(&mut text, table).expect("writing to a text does not fail");
    }
    text
}

fn put_table(text: &mut String, table: &Table) -> std::fmt::Result {
    let Table { columns, theirs, about, .. } = table;
    write!(text, "\n### `SHOW {}`\n\n{about}\n", table.name.to_ascii_uppercase())?;
    if columns.is_empty() {
        return Ok(());
    }
    write!(text, "\n| Column | Type | Meaning |\n|---|---|---|\n")?;
    for (at, Column { name, of, about }) in columns.iter().enumerate() {
        // Only where the table is PgBouncer's.
        let ours = if at >= *theirs && *theirs > 0 { " *" } else { "" };
        writeln!(text, "| `{name}`{ours} | {} | {about} |", of.name())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HEAD: &str = include_str!("reference/head.md");

    #[test]
    fn the_console_reference_is_fresh() {
        let fresh = HEAD.to_owned() + &reference();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/console.md");
        if std::env::var_os("PGHERD_WRITE_REFERENCE").is_some() {
            std::fs::write(&path, &fresh).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == fresh, "docs/console.md is stale: run `cargo x reference`");
    }
}
