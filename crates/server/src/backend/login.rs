//! The login of pgherd at a node.
//!
//! In: bytes, the identity to log in with, random bytes. Out: bytes to send, and in the end
//! what the node said of itself. Pure: it knows no socket; the deadline is the caller's.

use std::collections::HashMap;

use pgherd_wire::backend::{self, Authentication, ErrorFields};
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, AwaitingFinal, AwaitingServer, ClientExchange, Keys, ScramError};
use pgherd_wire::startup::{self, PROTOCOL_3_2};
use pgherd_wire::{Frame, HEADER, WireError, md5};

use crate::relay::Parameters;

/// The longest message of a login: 1 MiB, far above any notice or error.
const LONGEST: u32 = 1024 * 1024;

/// Keys kept at most: one for each user and salt. Replicas share their primary's salts.
const KEYS_KEPT: usize = 1024;

/// Who logs in where.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// The role's name.
    pub user: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The database.
    pub database: &'a str,
}

/// Keys derived from passwords, so that the milliseconds of the derivation are spent once for
/// each user and salt and not once for each backend.
#[derive(Debug, Default)]
pub struct KeyCache(HashMap<KeyOf, Keys>);

/// User, salt and iterations.
type KeyOf = (Box<str>, Box<[u8]>, u32);

impl KeyCache {
    fn keys(&mut self, identity: Identity<'_>, salt: &[u8], iterations: u32) -> Keys {
        if self.0.len() >= KEYS_KEPT {
            self.0.clear();
        }
        self.0
            .entry((identity.user.into(), salt.into(), iterations))
            .or_insert_with(|| Keys::derive(identity.password, salt, iterations))
            .clone()
    }

    /// Forgets everything: a password changed.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Why a login failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The node refused, in its own words.
    #[error("the node refused the login: {message} (SQLSTATE {code})")]
    Refused {
        /// The SQLSTATE.
        code: String,
        /// The message.
        message: String,
        /// The whole ErrorResponse, to be passed on unchanged.
        raw: Vec<u8>,
    },
    /// The node broke the protocol.
    #[error("the node broke the protocol")]
    Protocol(#[from] WireError),
    /// The SCRAM exchange failed.
    #[error("SCRAM authentication failed")]
    Scram(#[from] ScramError),
    /// The node asks for a mechanism pgherd does not speak.
    #[error("the node asks for authentication by {0}, which pgherd does not speak")]
    Method(String),
    /// A message came that has no place in a login.
    #[error("unexpected message {0:?} during the login")]
    Unexpected(char),
}

/// What to do after a call of [`Login::on_bytes`]; what it wrote is to be sent first.
#[derive(Debug)]
pub enum LoginStep {
    /// Read on.
    NeedMore,
    /// The backend is ready for its first query.
    Ready(Welcome),
}

/// What a node says of a new backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Welcome {
    /// The parameters it reports.
    pub parameters: Parameters,
    /// The process id to cancel it by.
    pub pid: u32,
    /// The secret to cancel it by.
    pub secret: Vec<u8>,
}

#[derive(Debug)]
enum State {
    Asked,
    Challenged(AwaitingServer),
    Proved(AwaitingFinal),
    Accepted,
}

/// One login.
#[derive(Debug)]
pub struct Login {
    state: State,
    welcome: Welcome,
}

impl Login {
    /// Begins; appends the startup packet.
    pub fn start(identity: Identity<'_>, out: &mut Vec<u8>) -> Self {
        // No application_name: a client that sets none is to find none.
        Self::start_with(identity, [], out)
    }

    /// The same for a session that begins with these parameters.
    pub fn start_with<'a>(
        identity: Identity<'a>,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        out: &mut Vec<u8>,
    ) -> Self {
        let own = [("user", identity.user), ("database", identity.database)];
        startup::put_startup(out, PROTOCOL_3_2, own.into_iter().chain(parameters));
        Self { state: State::Asked, welcome: Welcome::default() }
    }

    /// Takes what it can use of `input`; returns how many bytes, and what to do.
    ///
    /// # Errors
    /// [`LoginError`]; the connection is to be closed.
    pub fn on_bytes(
        &mut self,
        input: &[u8],
        identity: Identity<'_>,
        keys: &mut KeyCache,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<(usize, LoginStep), LoginError> {
        let mut at = 0;
        while let Some(frame) = Frame::read(&input[at..], LONGEST)? {
            let Some(message) = input.get(at..at + frame.size) else { break };
            at += frame.size;
            let body = &message[HEADER..];
            match frame.tag {
                backend::AUTHENTICATION => {
                    self.authenticate(Authentication::read(body)?, identity, keys, random, out)?;
                }
                backend::ERROR => {
                    let fields = ErrorFields::read(body)?;
                    return Err(LoginError::Refused {
                        code: fields.code.to_owned(),
                        message: fields.message.to_owned(),
                        raw: message.to_vec(),
                    });
                }
                backend::NOTICE | backend::NEGOTIATE => {}
                backend::PARAMETER_STATUS => {
                    let (name, value) = backend::parameter_status(body)?;
                    self.welcome.parameters.set(name, value);
                }
                backend::KEY_DATA => {
                    let (pid, secret) = backend::key_data(body)?;
                    self.welcome.pid = pid;
                    self.welcome.secret = secret.to_vec();
                }
                backend::READY if matches!(self.state, State::Accepted) => {
                    return Ok((at, LoginStep::Ready(std::mem::take(&mut self.welcome))));
                }
                other => return Err(LoginError::Unexpected(char::from(other))),
            }
        }
        Ok((at, LoginStep::NeedMore))
    }

    fn authenticate(
        &mut self,
        request: Authentication<'_>,
        identity: Identity<'_>,
        keys: &mut KeyCache,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), LoginError> {
        let state = std::mem::replace(&mut self.state, State::Asked);
        self.state = match (request, state) {
            // Not while a proof is unanswered: whoever accepts us without showing that it
            // knows the secret is not the node.
            (Authentication::Ok, State::Asked | State::Accepted) => State::Accepted,
            (Authentication::Cleartext, State::Asked) => {
                frontend::put_password(out, identity.password);
                State::Asked
            }
            (Authentication::Md5 { salt }, State::Asked) => {
                let answer = md5::response(identity.user, identity.password, salt);
                frontend::put_password(out, &answer);
                State::Asked
            }
            (Authentication::Sasl { mechanisms }, State::Asked) => {
                if !mechanisms.contains(&scram::MECHANISM) {
                    return Err(LoginError::Method(mechanisms.join(", ")));
                }
                let mut nonce = [0; 18];
                random(&mut nonce);
                let (next, first) = ClientExchange::start(&nonce);
                SaslInitial { mechanism: scram::MECHANISM, data: first.as_bytes() }.put(out);
                State::Challenged(next)
            }
            (Authentication::SaslContinue(challenge), State::Challenged(exchange)) => {
                let derive = |salt: &[u8], iterations| keys.keys(identity, salt, iterations);
                let (next, proof) = exchange.prove(challenge, derive)?;
                frontend::put_sasl_response(out, proof.as_bytes());
                State::Proved(next)
            }
            (Authentication::SaslFinal(signature), State::Proved(exchange)) => {
                exchange.verify(signature)?;
                State::Accepted
            }
            _ => return Err(LoginError::Unexpected('R')),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgherd_wire::TxStatus;

    const IDENTITY: Identity<'_> = Identity { user: "app", password: "secret", database: "app" };

    fn no_random(bytes: &mut [u8]) {
        bytes.fill(7);
    }

    fn feed(bytes: &[u8]) -> Result<LoginStep, LoginError> {
        let mut out = Vec::new();
        let mut login = Login::start(IDENTITY, &mut out);
        let mut keys = KeyCache::default();
        login.on_bytes(bytes, IDENTITY, &mut keys, &mut no_random, &mut out).map(|(_, step)| step)
    }

    #[test]
    fn a_trusting_node_is_ready_after_its_parameters_and_key() {
        let mut bytes = Vec::new();
        Authentication::Ok.put(&mut bytes);
        backend::put_parameter_status(&mut bytes, "TimeZone", "UTC");
        backend::put_key_data(&mut bytes, 42, &[1; 32]);
        backend::put_ready(&mut bytes, TxStatus::Idle);
        let LoginStep::Ready(welcome) = feed(&bytes).unwrap() else { panic!("not ready") };
        assert_eq!(welcome.parameters.get("TimeZone"), Some("UTC"));
        assert_eq!((welcome.pid, welcome.secret.len()), (42, 32));
    }

    #[test]
    fn a_node_that_accepts_in_the_middle_of_a_proof_is_refused() {
        let mut bytes = Vec::new();
        Authentication::Sasl { mechanisms: vec![scram::MECHANISM] }.put(&mut bytes);
        Authentication::Ok.put(&mut bytes);
        assert_eq!(feed(&bytes).unwrap_err(), LoginError::Unexpected('R'));
    }

    #[test]
    fn a_refusal_is_kept_whole() {
        let mut bytes = Vec::new();
        backend::Report {
            severity: backend::Severity::Fatal,
            code: "28P01",
            message: "password authentication failed",
            detail: "",
            hint: "",
        }
        .put(&mut bytes);
        let LoginError::Refused { code, raw, .. } = feed(&bytes).unwrap_err() else {
            panic!("not refused")
        };
        assert_eq!((code.as_str(), raw), ("28P01", bytes));
    }
}
