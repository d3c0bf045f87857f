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
///
/// ```
/// use pgherd_core::shard::{Key, KeyType};
///
/// assert_eq!(Key::from("alice"), Key::Text("alice".to_owned()));
/// // As the column would read it.
/// let key = Key::parse(KeyType::Int4, "007").unwrap();
/// assert_eq!((key.text().as_ref(), key.key_type()), ("7", KeyType::Int4));
/// assert_eq!(key, Key::from(7));
/// ```
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

    /// Reads a key from the text of a column's value, as PostgreSQL would: `007` is the `int4` 7.
    ///
    /// # Errors
    /// [`BadKey`] with the text and the type when it is no value of the type.
    pub fn parse(key_type: KeyType, text: &str) -> Result<Self, BadKey> {
        // PostgreSQL, too, reads numbers with blanks around.
        let key = match key_type {
            KeyType::Int4 => text.trim_ascii().parse().ok().map(Self::Int4),
            KeyType::Int8 => text.trim_ascii().parse().ok().map(Self::Int8),
            KeyType::Text => Some(Self::Text(text.to_owned())),
            KeyType::Uuid => text.parse().ok().map(Self::Uuid),
            KeyType::Bytea => parse_bytea(text).map(Self::Bytea),
        };
        key.ok_or_else(|| BadKey { text: text.to_owned(), key_type })
    }

    /// Its type.
    pub fn key_type(&self) -> KeyType {
        match self {
            Self::Int4(_) => KeyType::Int4,
            Self::Int8(_) => KeyType::Int8,
            Self::Text(_) => KeyType::Text,
            Self::Uuid(_) => KeyType::Uuid,
            Self::Bytea(_) => KeyType::Bytea,
        }
    }
}

/// Reads PostgreSQL's two input forms: `\\x` and hex, or text in which a backslash stands before
/// another one or before three octal digits.
fn parse_bytea(text: &str) -> Option<Vec<u8>> {
    if let Some(hex) = text.strip_prefix("\\x") {
        let digit = |c: &u8| char::from(*c).to_digit(16);
        let byte = |pair: &[u8]| match pair {
            [high, low] => u8::try_from(digit(high)? << 4 | digit(low)?).ok(),
            _ => None,
        };
        return hex.as_bytes().chunks(2).map(byte).collect();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        match rest {
            [] => return Some(bytes),
            [b'\\', b'\\', tail @ ..] => {
                bytes.push(b'\\');
                rest = tail;
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                bytes.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            [b'\\', ..] => return None,
            [byte, tail @ ..] => {
                bytes.push(*byte);
                rest = tail;
            }
        }
    }
}

/// The types that a key may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// `integer`.
    Int4,
    /// `bigint`.
    Int8,
    /// `text` and `varchar`.
    Text,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytea,
}

impl KeyType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Int4, Self::Int8, Self::Text, Self::Uuid, Self::Bytea];

    /// PostgreSQL's name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Text => "text",
            Self::Uuid => "uuid",
            Self::Bytea => "bytea",
        }
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no type of keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of int4, int8, text, uuid, bytea")]
pub struct BadKeyType(String);

impl FromStr for KeyType {
    type Err = BadKeyType;

    fn from_str(word: &str) -> Result<Self, BadKeyType> {
        let found = Self::ALL.into_iter().find(|key_type| key_type.as_str() == word);
        found.ok_or_else(|| BadKeyType(word.to_owned()))
    }
}

/// A text that is no value of a type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("key `{text}` is not {}", describe(.key_type))]
pub struct BadKey {
    /// The text.
    pub text: String,
    /// The type it should have had.
    pub key_type: KeyType,
}

fn describe(key_type: &KeyType) -> &'static str {
    match key_type {
        KeyType::Int4 => "an int4, a whole number from -2147483648 to 2147483647",
        KeyType::Int8 => "an int8, a whole number from -9223372036854775808 to 9223372036854775807",
        KeyType::Text => "a text",
        KeyType::Uuid => "a uuid, 32 hex digits such as 00000000-0000-0000-0000-000000000001",
        KeyType::Bytea => "a bytea, such as \\x00ff or \\000\\377",
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
///
/// ```
/// use pgherd_core::shard::{Key, Uuid};
///
/// let id: Uuid = "00000000-0000-0000-0000-00000000002A".parse().unwrap();
/// assert_eq!(Key::from(id).text(), "00000000-0000-0000-0000-00000000002a");
/// ```
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
