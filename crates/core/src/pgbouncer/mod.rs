//! PgBouncer's files, and what their settings are here.
//!
//! In: the texts of `pgbouncer.ini`, `userlist.txt`, HBA files and ident maps, each with its name for
//! errors. Out: what stands in them, line by line; or every problem, each with its file, its line
//! and what to do. Which of our settings each of PgBouncer's becomes is in X, and
//! X makes [`Settings`](crate::Settings) of a whole `pgbouncer.ini`.
//!
//! No file is read here: included ones are asked of a function.

mod catalogue;
mod convert;
mod draft;
mod fields;
mod hba;
mod ident;
mod ini;
mod pairs;
mod userlist;
mod value;

use std::fmt;

pub use catalogue::{SettingFate, catalogue};
pub use convert::{Converted, convert};
pub use draft::Process;
pub use hba::{AddressRange, HbaClient, HbaConnection, HbaMethod, HbaNames, HbaRule, HbaRules};
pub use ident::IdentMaps;
pub use ini::{Entry, IniSection, Place, read_ini};
pub use pairs::{BadPairs, quote_pair, read_pairs};
pub use userlist::{StoredPassword, UserlistEntry, read_userlist, userlist_line};

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1, if it is about one.
    pub line: Option<usize>,
    /// What is wrong, and what to do.
    pub problem: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

impl std::error::Error for FileError {}

/// A text up to the quote that closes it, one written twice being one, and what follows; `None`
/// where none closes it.
fn unquote(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once(quote)?;
        value.push_str(before);
        match after.strip_prefix(quote) {
            Some(after) => {
                value.push(quote);
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

#[cfg(test)]
mod tests;
