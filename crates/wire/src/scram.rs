//! SCRAM-SHA-256, both sides, bound to a TLS connection or not.
//!
//! In: the messages of the peer, a nonce, what is known of the password, and what there is to bind to.
//! Out: the messages to send, or why the exchange failed.
//!
//! Source: RFC 5802, RFC 7677, RFC 5929 (`tls-server-end-point`, the only kind); PostgreSQL manual, "SASL Authentication" (the user name inside
//! the exchange is ignored; passwords that cannot be prepared are used as they are).

mod client;
mod server;

pub use client::{AwaitingFinal, AwaitingServer, ClientExchange};
pub use server::{Accepted, AwaitingProof, ServerExchange};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// The name of the mechanism that binds the exchange to the TLS connection it goes over.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// What there is to bind an exchange to: the hash of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding<'a> {
    /// Nothing, or nothing is wanted.
    #[default]
    None,
    /// The client could bind, and the server has not offered it.
    NotOffered,
    /// This end's view of the certificate.
    EndPoint(&'a [u8]),
}

impl Binding<'_> {
    /// The header that a client's messages begin with.
    fn header(self) -> &'static str {
        match self {
            Self::None => "n,,",
            Self::NotOffered => "y,,",
            Self::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// What a client's last message repeats of it, in base64.
    fn repeated(self) -> String {
        let data = if let Self::EndPoint(hash) = self { hash } else { &[] };
        BASE64.encode([self.header().as_bytes(), data].concat())
    }
}

/// PostgreSQL's default number of iterations (`scram_iterations`).
pub const DEFAULT_ITERATIONS: u32 = 4096;

/// The most iterations we compute: two seconds of a core at about 2 million a second. A server
/// that asks for more is broken or hostile.
pub const MAX_ITERATIONS: u32 = 4_000_000;

type Key = [u8; 32];

/// Why an exchange failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// A message is not what the RFC says at this point.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The proof or signature does not fit the secret.
    #[error("the password does not fit")]
    Mismatch,
    /// The nonce of the peer's answer does not begin with ours.
    #[error("the peer answered with a nonce that is not ours")]
    Nonce,
    /// The client insists on channel binding, which was not offered.
    #[error("the client asks for channel binding, which this connection does not offer")]
    ChannelBinding,
    /// The client could bind and believes that we cannot: somebody in between has told it so.
    #[error("the client supports channel binding and thinks that the server does not")]
    Downgraded,
    /// The client sees another certificate than ours: somebody stands in between.
    #[error("the client's channel binding is not that of this connection")]
    OtherEndPoint,
    /// The server asks for an absurd number of iterations.
    #[error("the server asks for {0} iterations, more than {MAX_ITERATIONS}")]
    Iterations(u32),
    /// The server refused, in its own words.
    #[error("the server refused: {0}")]
    Refused(String),
}

/// What a server stores instead of a password: enough to check a proof, not to make one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// Iterations of the key derivation.
    pub iterations: u32,
    /// The salt, raw.
    pub salt: Vec<u8>,
    stored_key: Key,
    server_key: Key,
}

// Whoever holds the server key can pose as the server, so it stays out of logs.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl Secret {
    /// The secret for a password. Costs `iterations` rounds of HMAC: milliseconds.
    pub fn from_password(password: &str, salt: &[u8], iterations: u32) -> Self {
        let keys = Keys::derive(password, salt, iterations);
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: sha256(&keys.client),
            server_key: keys.server,
        }
    }

    /// A secret that no password fits, the same each time for one user and `key`: an attacker
    /// cannot tell an unknown user from a wrong password by it.
    pub fn mock(user: &str, key: &[u8]) -> Self {
        let digest = hmac(key, &[user.as_bytes()]);
        Self {
            iterations: DEFAULT_ITERATIONS,
            salt: digest[..16].to_vec(),
            stored_key: hmac(key, &[b"stored key of ", user.as_bytes()]),
            server_key: hmac(key, &[b"server key of ", user.as_bytes()]),
        }
    }

    /// The keys that a password gives, if it is this secret's. Costs as much as
    /// [`Self::from_password`], whether it is or not.
    pub fn keys(&self, password: &str) -> Option<Keys> {
        let keys = Keys::derive(password, &self.salt, self.iterations);
        bool::from(sha256(&keys.client).ct_eq(&self.stored_key)).then_some(keys)
    }

    /// The keys of a client that has shown its own to fit this secret, in an exchange or by its
    /// password.
    pub fn keys_of(&self, client_key: [u8; 32]) -> Option<Keys> {
        let fits = bool::from(sha256(&client_key).ct_eq(&self.stored_key));
        fits.then_some(Keys { client: client_key, server: self.server_key })
    }

    /// Reads PostgreSQL's text form, `SCRAM-SHA-256$<iterations>:<salt>$<stored>:<server>`.
    ///
    /// `None` if the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (params, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = params.split_once(':')?;
        let (stored, server) = keys.split_once(':')?;
        let key = |text: &str| Key::try_from(BASE64.decode(text).ok()?).ok();
        Some(Self {
            iterations: iterations.parse().ok().filter(|n| (1..=MAX_ITERATIONS).contains(n))?,
            salt: BASE64.decode(salt).ok()?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// PostgreSQL's text form, as [`Self::parse`] reads it.
    pub fn to_text(&self) -> String {
        format!(
            "{MECHANISM}${}:{}${}:{}",
            self.iterations,
            BASE64.encode(&self.salt),
            BASE64.encode(self.stored_key),
            BASE64.encode(self.server_key)
        )
    }
}

/// What a client needs for a proof. Deriving it from a password is the slow part, so it may be
/// kept for as long as the server's salt and iterations stay the same.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    pub(crate) client: Key,
    server: Key,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Derives the keys; costs `iterations` rounds of HMAC.
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let prepared = stringprep::saslprep(password).unwrap_or(password.into());
        let salted = salted_password(prepared.as_bytes(), salt, iterations);
        Self { client: hmac(&salted, &[b"Client Key"]), server: hmac(&salted, &[b"Server Key"]) }
    }
}

fn salted_password(password: &[u8], salt: &[u8], iterations: u32) -> Key {
    let keyed = new_hmac(password);
    let finish = |parts: &[&[u8]]| -> Key {
        let mut mac = keyed.clone();
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    };
    let mut block = finish(&[salt, &1u32.to_be_bytes()]);
    let mut result = block;
    for _ in 1..iterations {
        block = finish(&[&block]);
        xor(&mut result, &block);
    }
    result
}

fn new_hmac(key: &[u8]) -> Hmac<Sha256> {
    Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length")
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = new_hmac(key);
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// HMAC-SHA-256, for who keeps something that nobody is to guess back from it.
pub fn keyed_hash(key: &[u8], text: &[u8]) -> [u8; 32] {
    hmac(key, &[text])
}

fn sha256(bytes: &[u8]) -> Key {
    Sha256::digest(bytes).into()
}

fn xor(into: &mut Key, with: &Key) {
    into.iter_mut().zip(with).for_each(|(into, with)| *into ^= with);
}

/// The value of an attribute such as `r=`, which must come next in `parts`.
fn attribute<'a>(
    parts: &mut std::str::Split<'a, char>,
    prefix: &str,
    missing: &'static str,
) -> Result<&'a str, ScramError> {
    parts.next().and_then(|part| part.strip_prefix(prefix)).ok_or(ScramError::Malformed(missing))
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    std::str::from_utf8(message).map_err(|_| ScramError::Malformed("not UTF-8"))
}

fn decode_key(text: &str, what: &'static str) -> Result<Key, ScramError> {
    let bytes = BASE64.decode(text).map_err(|_| ScramError::Malformed(what))?;
    Key::try_from(bytes).map_err(|_| ScramError::Malformed(what))
}

#[cfg(test)]
mod tests;
