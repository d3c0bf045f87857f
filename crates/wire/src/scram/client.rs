//! The client's side: pgherd logs in to a node.

use super::{
    BASE64, Binding, Keys, MAX_ITERATIONS, ScramError, attribute, decode_key, hmac, sha256, text,
    xor,
};
use base64::Engine;
use subtle::ConstantTimeEq;

/// The beginning of an exchange.
#[derive(Debug)]
pub struct ClientExchange;

/// The client's first message is out.
#[derive(Debug)]
pub struct AwaitingServer {
    nonce: String,
    first_bare: String,
    // What is repeated of the binding.
    binding: String,
}

/// The proof is out; the server has still to show that it knew the secret.
#[derive(Debug)]
pub struct AwaitingFinal {
    signature: [u8; 32],
}

impl ClientExchange {
    /// Begins with a fresh random `nonce`, bound to nothing. Returns the first message.
    pub fn start(nonce: &[u8]) -> (AwaitingServer, String) {
        Self::start_bound(nonce, Binding::None)
    }

    /// The same, bound: the mechanism is then [`MECHANISM_PLUS`](super::MECHANISM_PLUS).
    pub fn start_bound(nonce: &[u8], binding: Binding<'_>) -> (AwaitingServer, String) {
        let nonce = BASE64.encode(nonce);
        // The user name is left out: PostgreSQL takes that of the startup packet.
        let first_bare = format!("n=,r={nonce}");
        let message = format!("{}{first_bare}", binding.header());
        (AwaitingServer { nonce, first_bare, binding: binding.repeated() }, message)
    }
}

/// What the server said first, to look up or derive the keys for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    nonce: &'a str,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn read(message: &'a str) -> Result<Self, ScramError> {
        let mut parts = message.split(',');
        let nonce = attribute(&mut parts, "r=", "server nonce")?;
        let salt = attribute(&mut parts, "s=", "salt")?;
        let iterations = attribute(&mut parts, "i=", "iterations")?;
        let iterations = iterations.parse().map_err(|_| ScramError::Malformed("iterations"))?;
        if iterations == 0 {
            return Err(ScramError::Malformed("iterations"));
        }
        if iterations > MAX_ITERATIONS {
            return Err(ScramError::Iterations(iterations));
        }
        let salt = BASE64.decode(salt).map_err(|_| ScramError::Malformed("salt"))?;
        Ok(Self { nonce, salt, iterations })
    }
}

impl AwaitingServer {
    /// Answers the server's first message with the proof. `keys` is called once with the
    /// salt and iterations; see [`Keys::derive`].
    ///
    /// # Errors
    /// [`ScramError`] if the message is malformed, carries a foreign nonce, or asks for too
    /// many iterations.
    pub fn prove(
        self,
        server_first: &[u8],
        keys: impl FnOnce(&[u8], u32) -> Keys,
    ) -> Result<(AwaitingFinal, String), ScramError> {
        let server_first = text(server_first)?;
        let said = ServerFirst::read(server_first)?;
        // Longer, not equal: the server has to add randomness of its own.
        if !said.nonce.starts_with(&self.nonce) || said.nonce.len() <= self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        let keys = keys(&said.salt, said.iterations);
        let without_proof = format!("c={},r={}", self.binding, said.nonce);
        let auth: [&[u8]; 5] = [
            self.first_bare.as_bytes(),
            b",",
            server_first.as_bytes(),
            b",",
            without_proof.as_bytes(),
        ];
        let mut proof = hmac(&sha256(&keys.client), &auth);
        xor(&mut proof, &keys.client);
        let signature = hmac(&keys.server, &auth);
        let message = format!("{without_proof},p={}", BASE64.encode(proof));
        Ok((AwaitingFinal { signature }, message))
    }
}

impl AwaitingFinal {
    /// Checks that the server knew the secret, too.
    ///
    /// # Errors
    /// [`ScramError::Refused`] in the server's words, [`ScramError::Mismatch`] if its
    /// signature is wrong: it is not the server it poses as.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let message = text(server_final)?;
        if let Some(reason) = message.strip_prefix("e=") {
            return Err(ScramError::Refused(reason.to_owned()));
        }
        let signature = attribute(&mut message.split(','), "v=", "server signature")?;
        let signature = decode_key(signature, "server signature")?;
        if bool::from(signature.ct_eq(&self.signature)) {
            Ok(())
        } else {
            Err(ScramError::Mismatch)
        }
    }
}
