//! The values of `[databases]`, `[users]` and `[peers]`: pairs of `key=value`.

use super::unquote;

/// What is wrong with pairs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPairs {
    /// No `=` behind a key.
    #[error("`{0}` has no `=`: pairs are written key=value, with spaces between them")]
    NoValue(String),
    /// Nothing behind the `=`.
    #[error("`{0}` is empty, which cannot be said here: leave it out")]
    Empty(String),
    /// A quote that is not closed.
    #[error("the quotes around `{0}` are not closed")]
    Open(String),
}

/// Splits into pairs. A value in single quotes may hold spaces, and a quote written twice; values
/// are never empty.
///
/// ```
/// use pgherd_core::pgbouncer::{quote_pair, read_pairs};
///
/// let pairs = read_pairs("host=db port = 5432 password='it''s'").unwrap();
/// assert_eq!(pairs[1], ("port".to_owned(), "5432".to_owned()));
/// assert_eq!(pairs[2].1, "it's");
/// assert_eq!(quote_pair("password", "it's"), "password='it''s'");
/// assert!(read_pairs("host='db").is_err());
/// ```
///
/// # Errors
/// [`BadPairs`]
pub fn read_pairs(text: &str) -> Result<Vec<(String, String)>, BadPairs> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_space(c)).unwrap_or(rest.len());
        let key = rest[..end].to_owned();
        let after = rest[end..].trim_start_matches(is_space);
        let Some(after) = after.strip_prefix('=').filter(|_| !key.is_empty()) else {
            return Err(BadPairs::NoValue(key));
        };
        let after = after.trim_start_matches(is_space);
        let value = match after.strip_prefix('\'') {
            Some(quoted) => {
                let (value, left) =
                    unquote(quoted, '\'').ok_or_else(|| BadPairs::Open(key.clone()))?;
                // Whatever stands behind the quote, a space is meant.
                rest = left;
                value
            }
            None => {
                let end = after.find(is_space).unwrap_or(after.len());
                rest = &after[end..];
                after[..end].to_owned()
            }
        };
        if value.is_empty() {
            return Err(BadPairs::Empty(key));
        }
        pairs.push((key, value));
        rest = rest.trim_start_matches(is_space);
    }
    Ok(pairs)
}

/// A pair as [`read_pairs`] reads it. The value is not empty.
pub fn quote_pair(key: &str, value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/,*".contains(c);
    if value.chars().all(plain) {
        return format!("{key}={value}");
    }
    format!("{key}='{}'", value.replace('\'', "''"))
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace()
}
