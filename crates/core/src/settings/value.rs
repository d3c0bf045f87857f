//! Types of values that settings have.

use std::fmt;
use std::num::{IntErrorKind, ParseIntError};
use std::str::FromStr;
use std::time::Duration;

use toml::de::DeValue;

use crate::balance::Balance;
use crate::retry::{BadJitter, Jitter};
use crate::shard::ShardFunction;
use crate::topology::NodeRole;
use crate::units::{format_duration, parse_duration};

/// A value that a setting can have.
pub(super) trait Value: Sized + PartialOrd {
    /// From a TOML value; the error says what was expected.
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String>;
    /// From an environment variable.
    fn from_text(text: &str) -> Result<Self, String>;
    /// As it is written in TOML.
    fn to_toml(&self) -> String;
    /// Whether a text has a NUL in it. In PostgreSQL's protocol one ends it, and what follows would be
    /// taken for something else.
    fn has_nul(&self) -> bool {
        false
    }
}

/// A password. Never printed: `Debug` shows that there is one, and there is no `Display`.
///
/// ```
/// use pgherd_core::settings::Secret;
///
/// let secret = Secret::new("swordfish");
/// assert_eq!(format!("{secret:?}"), "Secret(...)");
/// assert_eq!(secret.expose(), "swordfish");
/// assert!(Secret::default().is_empty());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Hash, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The password itself. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Secret(none)" } else { "Secret(...)" })
    }
}

/// A command whose output is a password: in settings a list, the program and its arguments, or a
/// text for `sh -c`. It should hold no secret itself: errors show it.
///
/// ```
/// use pgherd_core::settings::PasswordCommand;
///
/// let command = PasswordCommand::new(["vault", "read", "-field=password", "database/creds/app"]);
/// assert_eq!((command.words()[0].as_str(), command.is_empty()), ("vault", false));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Default)]
pub struct PasswordCommand(Vec<String>);

impl PasswordCommand {
    /// The program and its arguments; nothing at all is no command.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self(words.into_iter().map(Into::into).collect())
    }

    /// The program and its arguments.
    pub fn words(&self) -> &[String] {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for PasswordCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0[..] {
            [shell, option, script] if shell == "sh" && option == "-c" => f.write_str(script),
            words => f.write_str(&words.join(" ")),
        }
    }
}

/// A size in bytes: in settings a number, or a text such as `"64KiB"`, `"16MiB"`, `"1GiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(pub u64);

impl ByteSize {
    const UNITS: [(&'static str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];

    /// So many MiB.
    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// As a size in memory; the largest there is if it does not fit.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, bits): &&(&str, u32)| self.0 != 0 && self.0.trailing_zeros() >= *bits;
        match Self::UNITS.iter().find(whole) {
            Some((unit, bits)) => write!(f, "{}{unit}", self.0 >> bits),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A text that is not a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a size such as 65536, \"64KiB\", \"16MiB\" or \"1GiB\"")]
pub struct BadByteSize(String);

impl FromStr for ByteSize {
    type Err = BadByteSize;

    fn from_str(text: &str) -> Result<Self, BadByteSize> {
        let (number, bits) = Self::UNITS
            .iter()
            .find_map(|(unit, bits)| Some((text.strip_suffix(unit)?, *bits)))
            .unwrap_or((text, 0));
        let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number = plain.then(|| number.parse::<u64>().ok()).flatten();
        number
            .and_then(|number| number.checked_mul(1 << bits))
            .map(Self)
            .ok_or_else(|| BadByteSize(text.to_owned()))
    }
}

/// Declares an enum whose values are words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash)]
        pub enum $name { $($(#[$doc])* $variant),+ }

        impl $name {
            /// The word used in settings and output.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(format!("`{word}` is not one of {}", [$($word),+].join(", "))),
                }
            }
        }
    };
}

words! {
    /// How clients prove who they are.
    AuthMethod {
        /// SCRAM-SHA-256.
        ScramSha256 = "scram-sha-256",
        /// md5, and SCRAM-SHA-256 where a SCRAM secret is stored.
        Md5 = "md5",
        /// The password itself.
        Plain = "plain",
        /// Not at all.
        Trust = "trust",
        /// Not at all, and nobody asks who they are.
        Any = "any",
        /// By a certificate.
        Cert = "cert",
        /// As the system's user at the other end of a Unix socket.
        Peer = "peer",
        /// As a file says, by where they come from and what they want.
        Hba = "hba",
    }
}

words! {
    /// Whose messages a syslog daemon takes the log for.
    SyslogFacility {
        /// Logins and rights.
        Auth = "auth",
        /// The same, not for everybody.
        Authpriv = "authpriv",
        /// Services.
        Daemon = "daemon",
        /// Users' programs.
        User = "user",
        /// For local use: the daemon's rules say for what. So the other seven.
        Local0 = "local0",
        /// For local use, apart from `local0`.
        Local1 = "local1",
        /// For local use, apart from `local1`.
        Local2 = "local2",
        /// For local use, apart from `local2`.
        Local3 = "local3",
        /// For local use, apart from `local3`.
        Local4 = "local4",
        /// For local use, apart from `local4`.
        Local5 = "local5",
        /// For local use, apart from `local5`.
        Local6 = "local6",
        /// For local use, apart from `local6`.
        Local7 = "local7",
    }
}

impl SyslogFacility {
    /// Its number in the protocol: RFC 3164, 4.1.1.
    pub fn number(self) -> u32 {
        match self {
            Self::User => 1,
            Self::Daemon => 3,
            Self::Auth => 4,
            Self::Authpriv => 10,
            Self::Local0 => 16,
            Self::Local1 => 17,
            Self::Local2 => 18,
            Self::Local3 => 19,
            Self::Local4 => 20,
            Self::Local5 => 21,
            Self::Local6 => 22,
            Self::Local7 => 23,
        }
    }
}

words! {
    /// For how long a client holds a backend.
    PoolMode {
        /// Until the client leaves.
        Session = "session",
        /// For one transaction.
        Transaction = "transaction",
        /// For one transaction, which no statement may keep open.
        Statement = "statement",
    }
}

words! {
    /// How new backends are spread over the addresses of one node.
    HostBalance {
        /// Each address in turn.
        RoundRobin = "round-robin",
        /// The first that works, until it fails.
        Disable = "disable",
    }
}

words! {
    /// What becomes of a session that cannot be shared.
    PinPolicy {
        /// It keeps its backend for as long as that lasts.
        On = "on",
        /// Its client is dismissed.
        Refuse = "refuse",
        /// What it holds ends with its transaction.
        Off = "off",
    }
}

words! {
    /// Whether connections to the nodes are encrypted, and what of a node's certificate is checked.
    TlsMode {
        /// Never encrypted.
        Disable = "disable",
        /// Encrypted if the node can, and in plain if it cannot.
        Prefer = "prefer",
        /// Encrypted or not at all.
        Require = "require",
        /// And the certificate comes from an authority that we trust.
        VerifyCa = "verify-ca",
        /// And it is made out to the node's name.
        VerifyFull = "verify-full",
    }
}

impl TlsMode {
    /// Whether nothing may be sent in plain.
    pub fn is_required(self) -> bool {
        matches!(self, Self::Require | Self::VerifyCa | Self::VerifyFull)
    }

    /// Whether the other end's certificate is looked at.
    pub fn verifies(self) -> bool {
        matches!(self, Self::VerifyCa | Self::VerifyFull)
    }
}

words! {
    /// A version of TLS.
    TlsVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3.
        Tls13 = "1.3",
    }
}

words! {
    /// Whether a SCRAM login proves that it goes over this very TLS connection.
    ChannelBinding {
        /// Never.
        Disable = "disable",
        /// If both ends can.
        Prefer = "prefer",
        /// Or there is no login.
        Require = "require",
    }
}

fn expected(what: &str, value: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", value.type_str())
}

fn text_of<'v>(value: &'v DeValue<'_>, what: &str) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| expected(what, value))
}

pub(super) fn quoted(text: &str) -> String {
    // TOML's basic strings escape what Rust's do, but spell control characters \u00XX.
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

macro_rules! integer_values {
    ($($type:ty),+) => {$(
        impl Value for $type {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                let number =
                    value.as_integer().ok_or_else(|| expected("a whole number", value))?;
                let digits = number.as_str();
                Self::from_str_radix(digits, number.radix()).map_err(|_| {
                    format!("{digits} is out of range ({} to {})", Self::MIN, Self::MAX)
                })
            }
            fn from_text(text: &str) -> Result<Self, String> {
                let describe = |error: ParseIntError| match error.kind() {
                    IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => {
                        format!("{text} is out of range ({} to {})", Self::MIN, Self::MAX)
                    }
                    _ => format!("`{text}` is not a whole number"),
                };
                text.parse().map_err(describe)
            }
            fn to_toml(&self) -> String {
                self.to_string()
            }
        }
    )+};
}

integer_values!(u16, u32);

/// Values that are texts in TOML and have a form of their own.
macro_rules! text_values {
    ($($type:ty, $what:literal, $parse:expr, $print:expr;)+) => {$(
        impl Value for $type {
            fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
                Self::from_text(text_of(value, $what)?)
            }
            fn from_text(text: &str) -> Result<Self, String> {
                $parse(text).map_err(|error| error.to_string())
            }
            fn to_toml(&self) -> String {
                quoted(&$print(self))
            }
            fn has_nul(&self) -> bool {
                $print(self).contains('\0')
            }
        }
    )+};
}

type Infallible<T> = Result<T, std::convert::Infallible>;

text_values! {
    Duration, "a duration such as \"5s\"", parse_duration, |d: &Self| format_duration(*d);
    String, "a text", |text: &str| -> Infallible<Self> { Ok(text.to_owned()) }, Self::clone;
    Secret, "a text", |text: &str| -> Infallible<Self> { Ok(Secret::new(text)) },
        |_: &Self| String::new();
    AuthMethod, "a text", Self::from_str, Self::to_string;
    SyslogFacility, "a text", Self::from_str, Self::to_string;
    PoolMode, "a text", Self::from_str, Self::to_string;
    HostBalance, "a text", Self::from_str, Self::to_string;
    PinPolicy, "a text", Self::from_str, Self::to_string;
    TlsMode, "a text", Self::from_str, Self::to_string;
    TlsVersion, "a text", Self::from_str, Self::to_string;
    ChannelBinding, "a text", Self::from_str, Self::to_string;
    ShardFunction, "a text", Self::from_str, Self::to_string;
    Balance, "a text", Self::from_str, Self::to_string;
    NodeRole, "a text", Self::from_str, Self::to_string;
}

impl Value for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| expected("true or false", value))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(true),
            "false" | "off" | "no" | "0" => Ok(false),
            _ => Err(format!("`{text}` is not true or false")),
        }
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

impl Value for Jitter {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_bool() {
            Some(jitter) => Ok(jitter.into()),
            None => Self::from_text(text_of(value, "a text, true or false")?),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: BadJitter| error.to_string())
    }

    fn to_toml(&self) -> String {
        quoted(self.as_str())
    }
}

impl Value for f64 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let text = match (value.as_float(), value.as_integer()) {
            (Some(float), _) => float.as_str(),
            (None, Some(integer)) if integer.radix() == 10 => integer.as_str(),
            _ => return Err(expected("a number", value)),
        };
        Self::from_text(text)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse::<Self>()
            .ok()
            .filter(|number| number.is_finite())
            .ok_or_else(|| format!("`{text}` is not a finite number"))
    }

    fn to_toml(&self) -> String {
        format!("{self:?}")
    }
}

impl Value for ByteSize {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_integer() {
            Some(number) => u64::from_str_radix(number.as_str(), number.radix())
                .map(Self)
                .map_err(|_| format!("{} is not a size", number.as_str())),
            None => Self::from_text(text_of(value, "a size such as \"16MiB\"")?),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: BadByteSize| error.to_string())
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Value for Vec<String> {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| expected("a list of texts", value))?;
        list.iter().map(|item| text_of(item.get_ref(), "a text").map(str::to_owned)).collect()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(text.split(',').map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect())
    }

    fn to_toml(&self) -> String {
        format!("[{}]", self.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", "))
    }

    fn has_nul(&self) -> bool {
        self.iter().any(String::has_nul)
    }
}

impl Value for PasswordCommand {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        match value.as_array() {
            Some(_) => Vec::from_toml(value).map(Self),
            None => Self::from_text(text_of(value, "a list of texts, or a text for the shell")?),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Ok(if text.is_empty() { Self::default() } else { Self::new(["sh", "-c", text]) })
    }

    fn to_toml(&self) -> String {
        self.0.to_toml()
    }
}
