//! The server's side: pgherd checks a client's password.

use super::{BASE64, Binding, ScramError, Secret, attribute, decode_key, hmac, sha256, text, xor};
use base64::Engine;
use subtle::ConstantTimeEq;

/// The beginning of an exchange.
#[derive(Debug)]
pub struct ServerExchange;

/// The server's first message is out; the client's proof is to come.
#[derive(Debug)]
pub struct AwaitingProof {
    secret: Secret,
    nonce: String,
    // What the client has to repeat of the binding with the proof, in base64.
    binding: String,
    is_bound: bool,
    client_first_bare: String,
    server_first: String,
}

/// A proof that fitted.
pub struct Accepted {
    /// The message that shows the client that we knew the secret.
    pub server_final: String,
    /// The client's key, recovered from its proof: enough to log in to a node that stores
    /// the same secret, without knowing the password.
    pub client_key: [u8; 32],
}

impl std::fmt::Debug for Accepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accepted(..)")
    }
}

impl ServerExchange {
    /// Answers the client's first message where nothing can be bound to. `nonce` is fresh and random.
    ///
    /// # Errors
    /// [`ScramError::Malformed`], or [`ScramError::ChannelBinding`] if the client insists on
    /// it.
    pub fn start(
        client_first: &[u8],
        nonce: &[u8],
        secret: Secret,
    ) -> Result<(AwaitingProof, String), ScramError> {
        Self::start_bound(client_first, nonce, secret, Binding::None)
    }

    /// The same: bound where the client has chosen [`MECHANISM_PLUS`](super::MECHANISM_PLUS). Where it
    /// was offered and not chosen, `binding` is [`Binding::NotOffered`]: a client that could have is
    /// refused.
    ///
    /// # Errors
    /// Also [`ScramError::Downgraded`].
    pub fn start_bound(
        client_first: &[u8],
        nonce: &[u8],
        secret: Secret,
        binding: Binding<'_>,
    ) -> Result<(AwaitingProof, String), ScramError> {
        let message = text(client_first)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed("flags"))?;
        match flag {
            "p=tls-server-end-point" if matches!(binding, Binding::EndPoint(_)) => {}
            _ if matches!(binding, Binding::EndPoint(_)) => {
                return Err(ScramError::Malformed("channel binding flag"));
            }
            // The client could bind, and thinks that we cannot; without TLS that is so.
            "y" if binding == Binding::NotOffered => return Err(ScramError::Downgraded),
            "n" | "y" => {}
            flag if flag.starts_with("p=") => return Err(ScramError::ChannelBinding),
            _ => return Err(ScramError::Malformed("channel binding flag")),
        }
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed("identity"))?;
        if !authzid.is_empty() {
            return Err(ScramError::Malformed("an authorization identity is not supported"));
        }
        let mut parts = bare.split(',');
        attribute(&mut parts, "n=", "user name")?;
        let client_nonce = attribute(&mut parts, "r=", "client nonce")?;
        let printable = |byte: u8| (0x21..=0x7e).contains(&byte) && byte != b',';
        if client_nonce.is_empty() || !client_nonce.bytes().all(printable) {
            return Err(ScramError::Malformed("client nonce"));
        }
        let nonce = format!("{client_nonce}{}", BASE64.encode(nonce));
        let server_first =
            format!("r={nonce},s={},i={}", BASE64.encode(&secret.salt), secret.iterations);
        let next = AwaitingProof {
            secret,
            nonce,
            binding: match binding {
                Binding::EndPoint(_) => binding.repeated(),
                _ => BASE64.encode(format!("{flag},,")),
            },
            is_bound: matches!(binding, Binding::EndPoint(_)),
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
        };
        Ok((next, server_first))
    }
}

impl AwaitingProof {
    /// Checks the client's proof.
    ///
    /// # Errors
    /// [`ScramError::Mismatch`] if the password was wrong, [`ScramError::Malformed`] or
    /// [`ScramError::Nonce`] if the message was.
    pub fn check(self, client_final: &[u8]) -> Result<Accepted, ScramError> {
        let message = text(client_final)?;
        let (without_proof, proof) =
            message.rsplit_once(",p=").ok_or(ScramError::Malformed("proof"))?;
        let mut parts = without_proof.split(',');
        let binding = attribute(&mut parts, "c=", "channel binding")?;
        if binding != self.binding {
            return Err(match self.is_bound {
                true => ScramError::OtherEndPoint,
                false => ScramError::Malformed("channel binding"),
            });
        }
        if attribute(&mut parts, "r=", "nonce")? != self.nonce {
            return Err(ScramError::Nonce);
        }
        let auth: [&[u8]; 5] = [
            self.client_first_bare.as_bytes(),
            b",",
            self.server_first.as_bytes(),
            b",",
            without_proof.as_bytes(),
        ];
        let mut client_key = decode_key(proof, "proof")?;
        xor(&mut client_key, &hmac(&self.secret.stored_key, &auth));
        if !bool::from(sha256(&client_key).ct_eq(&self.secret.stored_key)) {
            return Err(ScramError::Mismatch);
        }
        let signature = hmac(&self.secret.server_key, &auth);
        Ok(Accepted { server_final: format!("v={}", BASE64.encode(signature)), client_key })
    }
}
