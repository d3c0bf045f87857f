//! The value that decides where a row lives.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write;
use std::str::FromStr;

/// A key, already of the type of its column: `'007'` for an integer column is `Int4(7)`.
///
/// | Variant | Text form, which `md5` hashes                     |
/// |---------|---------------------------------------------------|
/// | `Int4`  | decimal, `-7`                                     |
/// | `Int8`  | decimal; the same as `Int4` for the same number   |
/// | `Text`  | itself, in UTF-8                                  |
/// | `Uuid`  | lower case with hyphens, `00000000-0000-...`      |
/// | `Bytea` | PostgreSQL's hex output, `\x` and lower-case hex  |
///
/// These are the texts that PostgreSQL prints for the values. NULL is no key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// `integer`.
    Int4(i32),
    /// `bigint`.
    Int8(i64),
    /// `text` and `varchar`, under a deterministic collation.
    Text(String),
    /// `uuid`.
    Uuid(Uuid),
    /// `bytea`.
    Bytea(Vec<u8>),
}

impl Key {
    /// The text form; see the table above.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Int4(number) => number.to_string().into(),
            Self::Int8(number) => number.to_string().into(),
            Self::Text(text) => text.into(),
            Self::Uuid(uuid) => uuid.to_string().into(),
            Self::Bytea(bytes) => {
                let mut text = String::with_capacity(2 + 2 * bytes.len());
                text.push_str("\\x");
                for byte in bytes {
                    write!(text, "{byte:02x}").expect("writing to a String never fails");
                }
                text.into()
            }
        }
    }

    /// The name of the type: `int4`, `int8`, `text`, `uuid`, `bytea`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Int4(_) => "int4",
            Self::Int8(_) => "int8",
            Self::Text(_) => "text",
            Self::Uuid(_) => "uuid",
            Self::Bytea(_) => "bytea",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text())
    }
}

impl From<i32> for Key {
    fn from(number: i32) -> Self {
        Self::Int4(number)
    }
}

impl From<i64> for Key {
    fn from(number: i64) -> Self {
        Self::Int8(number)
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Uuid> for Key {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytea(bytes.to_owned())
    }
}

impl From<Vec<u8>> for Key {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytea(bytes)
    }
}

/// The 16 bytes of a UUID, in the order they are written.
///
/// Reads what PostgreSQL reads: hex digits of either case, hyphens after any group of four,
/// braces around. Prints the canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uuid(pub [u8; 16]);

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_char('-')?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// A text that is not a UUID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a uuid")]
pub struct BadUuid(String);

impl FromStr for Uuid {
    type Err = BadUuid;

    fn from_str(text: &str) -> Result<Self, BadUuid> {
        let bad = || BadUuid(text.to_owned());
        let inner = match text.strip_prefix('{') {
            Some(rest) => rest.strip_suffix('}').ok_or_else(bad)?,
            None => text,
        };
        let mut bytes = [0; 16];
        let mut rest = inner.as_bytes();
        for (index, byte) in bytes.iter_mut().enumerate() {
            let [high, low, tail @ ..] = rest else { return Err(bad()) };
            let digit = |c: u8| char::from(c).to_digit(16).ok_or_else(bad);
            *byte =
                u8::try_from(digit(*high)? << 4 | digit(*low)?).expect("two hex digits are a byte");
            rest = tail;
            // A hyphen may stand after each group of four digits, but not at the end.
            if index % 2 == 1
                && index < 15
                && let [b'-', tail @ ..] = rest
            {
                rest = tail;
            }
        }
        if rest.is_empty() { Ok(Self(bytes)) } else { Err(bad()) }
    }
}
