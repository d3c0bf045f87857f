//! The login of pgherd at a node.
//!
//! In: bytes, the identity to log in with, random bytes. Out: bytes to send, and in the end
//! what the node said of itself. Pure: it knows no socket; the deadline is the caller's.

use std::collections::HashMap;

use pgherd_wire::backend::{self, Authentication, ErrorFields};
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{
    self, AwaitingFinal, AwaitingServer, Binding, ClientExchange, Keys, ScramError,
};
use pgherd_wire::startup::{self, PROTOCOL_3_2};
use pgherd_wire::{Frame, HEADER, WireError, md5};

use pgherd_core::settings::Secret as Password;

use crate::auth::Proof;
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
    /// What can be shown of its password.
    pub proof: Proof<'a>,
    /// The database.
    pub database: &'a str,
    /// What the login may be bound to.
    pub end_point: EndPoint<'a>,
}

/// Whether a login is bound to the TLS connection it goes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EndPoint<'a> {
    /// Not, whatever the node can.
    #[default]
    None,
    /// To the certificate of this hash, if the node can.
    Offered(&'a [u8]),
    /// To that, or there is no login; `None` if there is nothing to bind to.
    Required(Option<&'a [u8]>),
}

/// Keys derived from passwords, so that the milliseconds of the derivation are spent once for
/// each user and salt and not once for each backend.
#[derive(Debug, Default)]
pub struct KeyCache(HashMap<KeyOf, Keys>);

/// User, password, salt and iterations: while a password changes there are two of them.
type KeyOf = (Box<str>, Password, Box<[u8]>, u32);

impl KeyCache {
    fn keys(&mut self, user: &str, password: &str, salt: &[u8], iterations: u32) -> Keys {
        if self.0.len() >= KEYS_KEPT {
            self.0.clear();
        }
        self.0
            .entry((user.into(), Password::new(password), salt.into(), iterations))
            .or_insert_with(|| Keys::derive(password, salt, iterations))
            .clone()
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
    /// What is known of the password does not do for what the node asks.
    #[error("the node asks for {0}, and {1} is all that pgherd knows of the user's password")]
    Unprovable(&'static str, &'static str),
    /// Only a client's key opens the node, and none has logged in yet.
    #[error(
        "the user's SCRAM secret opens the node once a client has logged in with the password, by SCRAM \
         or in plain, and none has yet"
    )]
    NoClientYet,
    /// The settings want the login bound to the connection, and it cannot be.
    #[error("the login cannot be bound to the connection, which tls.channel_binding requires: {0}")]
    NotBound(&'static str),
    /// The node stores another SCRAM secret than the settings have.
    #[error("the node has another SCRAM secret of the user: copy `rolpassword` of pg_authid anew")]
    OtherSecret,
    /// A message came that has no place in a login.
    #[error("unexpected message {0:?} during the login")]
    Unexpected(char),
}

impl LoginError {
    /// Whether the next try goes the same way, as long as nobody changes anything: who waits for a
    /// backend waits for nothing. What the node says of it is for others to judge.
    pub fn will_last(&self) -> bool {
        match self {
            Self::Scram(_)
            | Self::Method(_)
            | Self::Unprovable(..)
            | Self::NoClientYet
            | Self::NotBound(_)
            | Self::OtherSecret => true,
            Self::Refused { .. } | Self::Protocol(_) | Self::Unexpected(_) => false,
        }
    }
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
        Self::start_with(identity.user, identity.database, [], out)
    }

    /// The same for a session that begins with these parameters.
    pub fn start_with<'a>(
        user: &'a str,
        database: &'a str,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
        out: &mut Vec<u8>,
    ) -> Self {
        let own = [("user", user), ("database", database)];
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
        if let EndPoint::Required(hash) = identity.end_point {
            match (&request, &state) {
                (Authentication::Sasl { .. }, _) if hash.is_none() => {
                    return Err(LoginError::NotBound(
                        "it is in plain, or the certificate has no hash",
                    ));
                }
                (Authentication::Sasl { mechanisms }, _)
                    if !mechanisms.contains(&scram::MECHANISM_PLUS) =>
                {
                    return Err(LoginError::NotBound("the node does not offer it"));
                }
                (Authentication::Cleartext | Authentication::Md5 { .. }, _)
                | (Authentication::Ok, State::Asked) => {
                    return Err(LoginError::NotBound("the node does not ask for SCRAM"));
                }
                _ => {}
            }
        }
        self.state = match (request, state) {
            // Not while a proof is unanswered: whoever accepts us without showing that it
            // knows the secret is not the node.
            (Authentication::Ok, State::Asked | State::Accepted) => State::Accepted,
            (Authentication::Cleartext, State::Asked) => {
                let Proof::Password(password) = identity.proof else {
                    return Err(LoginError::Unprovable("the password", "a hash"));
                };
                frontend::put_password(out, password);
                State::Asked
            }
            (Authentication::Md5 { salt }, State::Asked) => {
                let answer = match identity.proof {
                    Proof::Password(password) => md5::response(identity.user, password, salt),
                    Proof::Md5(hash) => md5::response_of(hash, salt),
                    Proof::Scram(..) => {
                        return Err(LoginError::Unprovable("md5", "a SCRAM secret"));
                    }
                };
                frontend::put_password(out, &answer);
                State::Asked
            }
            (Authentication::Sasl { mechanisms }, State::Asked) => {
                let offers_plus = mechanisms.contains(&scram::MECHANISM_PLUS);
                let (mechanism, binding) = match identity.end_point {
                    EndPoint::Offered(hash) | EndPoint::Required(Some(hash)) if offers_plus => {
                        (scram::MECHANISM_PLUS, Binding::EndPoint(hash))
                    }
                    EndPoint::Offered(_) => (scram::MECHANISM, Binding::NotOffered),
                    EndPoint::None | EndPoint::Required(_) => (scram::MECHANISM, Binding::None),
                };
                if !mechanisms.contains(&mechanism) {
                    return Err(LoginError::Method(mechanisms.join(", ")));
                }
                match identity.proof {
                    Proof::Md5(_) => {
                        return Err(LoginError::Unprovable("SCRAM-SHA-256", "its md5"));
                    }
                    Proof::Scram(_, None) => return Err(LoginError::NoClientYet),
                    Proof::Password(_) | Proof::Scram(_, Some(_)) => {}
                }
                let mut nonce = [0; 18];
                random(&mut nonce);
                let (next, first) = ClientExchange::start_bound(&nonce, binding);
                SaslInitial { mechanism, data: first.as_bytes() }.put(out);
                State::Challenged(next)
            }
            (Authentication::SaslContinue(challenge), State::Challenged(exchange)) => {
                let (next, proof) = prove(exchange, challenge, identity, keys)?;
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

/// The proof for a node's challenge.
fn prove(
    exchange: AwaitingServer,
    challenge: &[u8],
    identity: Identity<'_>,
    cache: &mut KeyCache,
) -> Result<(AwaitingFinal, String), LoginError> {
    match identity.proof {
        Proof::Password(password) => {
            let derive =
                |salt: &[u8], iterations| cache.keys(identity.user, password, salt, iterations);
            Ok(exchange.prove(challenge, derive)?)
        }
        Proof::Scram(secret, Some(keys)) => {
            let mut is_same = false;
            let known = |salt: &[u8], iterations| {
                is_same = *salt == *secret.salt && iterations == secret.iterations;
                keys.clone()
            };
            let proved = exchange.prove(challenge, known)?;
            // A proof from another secret's keys fits nothing, and is not sent.
            if is_same { Ok(proved) } else { Err(LoginError::OtherSecret) }
        }
        Proof::Md5(_) | Proof::Scram(_, None) => Err(LoginError::Unexpected('R')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pgherd_wire::TxStatus;
    use pgherd_wire::scram::{Secret, ServerExchange};

    const IDENTITY: Identity<'_> = Identity {
        user: "app",
        proof: Proof::Password("secret"),
        database: "app",
        end_point: EndPoint::None,
    };

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
    fn where_a_login_has_to_be_bound_nothing_else_will_do() {
        let asked = |end_point, request: Authentication<'_>| {
            let identity = Identity { end_point, ..IDENTITY };
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            request.put(&mut bytes);
            let mut login = Login::start(identity, &mut out);
            out.clear();
            let mut keys = KeyCache::default();
            let step = login.on_bytes(&bytes, identity, &mut keys, &mut no_random, &mut out);
            step.map(|_| SaslInitial::read(&out[HEADER..]).map(|first| first.mechanism.to_owned()))
        };
        let plus =
            || Authentication::Sasl { mechanisms: vec![scram::MECHANISM_PLUS, scram::MECHANISM] };
        let plain = || Authentication::Sasl { mechanisms: vec![scram::MECHANISM] };
        let mechanism = |end_point, request| asked(end_point, request).unwrap().unwrap();
        assert_eq!(mechanism(EndPoint::Offered(b"hash"), plus()), scram::MECHANISM_PLUS);
        assert_eq!(mechanism(EndPoint::Required(Some(b"hash")), plus()), scram::MECHANISM_PLUS);
        assert_eq!(mechanism(EndPoint::Offered(b"hash"), plain()), scram::MECHANISM);
        assert_eq!(mechanism(EndPoint::None, plus()), scram::MECHANISM);
        for (end_point, request) in [
            (EndPoint::Required(Some(b"hash")), plain()),
            (EndPoint::Required(None), plus()),
            (EndPoint::Required(Some(b"hash")), Authentication::Cleartext),
            (EndPoint::Required(Some(b"hash")), Authentication::Md5 { salt: [1; 4] }),
            (EndPoint::Required(Some(b"hash")), Authentication::Ok),
        ] {
            assert!(matches!(asked(end_point, request), Err(LoginError::NotBound(_))));
        }
    }

    #[test]
    fn a_node_that_accepts_in_the_middle_of_a_proof_is_refused() {
        let mut bytes = Vec::new();
        Authentication::Sasl { mechanisms: vec![scram::MECHANISM] }.put(&mut bytes);
        Authentication::Ok.put(&mut bytes);
        assert_eq!(feed(&bytes).unwrap_err(), LoginError::Unexpected('R'));
    }

    /// What becomes of a login with `proof` at a node that asks for SCRAM and stores `secret`.
    fn log_in_by_scram(proof: Proof<'_>, secret: &Secret) -> Result<LoginStep, LoginError> {
        let identity = Identity { proof, ..IDENTITY };
        let (mut out, mut keys) = (Vec::new(), KeyCache::default());
        let mut login = Login::start(identity, &mut out);
        let mut say = |message: Authentication<'_>| {
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            message.put(&mut bytes);
            let step = login.on_bytes(&bytes, identity, &mut keys, &mut no_random, &mut out)?;
            Ok::<_, LoginError>((step.1, out))
        };
        let (_, out) = say(Authentication::Sasl { mechanisms: vec![scram::MECHANISM] })?;
        let first = SaslInitial::read(&out[HEADER..]).unwrap();
        let (server, reply) = ServerExchange::start(first.data, b"node", secret.clone()).unwrap();
        let (_, out) = say(Authentication::SaslContinue(reply.as_bytes()))?;
        let accepted = server.check(&out[HEADER..])?;
        say(Authentication::SaslFinal(accepted.server_final.as_bytes()))?;
        Ok(say(Authentication::Ok)?.0)
    }

    #[test]
    fn a_clients_key_opens_a_node_that_stores_the_same_secret() {
        let secret = Secret::from_password("secret", b"salt", 4096);
        let keys = secret.keys("secret").unwrap();
        log_in_by_scram(Proof::Scram(&secret, Some(&keys)), &secret).unwrap();
        log_in_by_scram(Proof::Password("secret"), &secret).unwrap();
        let error = |proof: Proof<'_>, at: &Secret| log_in_by_scram(proof, at).unwrap_err();
        for (salt, iterations) in [(&b"other"[..], 4096), (b"salt", 4097)] {
            let other = Secret::from_password("secret", salt, iterations);
            assert_eq!(error(Proof::Scram(&secret, Some(&keys)), &other), LoginError::OtherSecret);
        }
        assert_eq!(error(Proof::Scram(&secret, None), &secret), LoginError::NoClientYet);
        let hash = md5::stored("app", "secret");
        assert!(matches!(error(Proof::Md5(&hash), &secret), LoginError::Unprovable(..)));
    }

    #[test]
    fn an_md5_hash_opens_a_node_that_asks_for_md5() {
        let answers = |proof| {
            let identity = Identity { proof, ..IDENTITY };
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            let mut login = Login::start(identity, &mut out);
            out.clear();
            Authentication::Md5 { salt: [1, 2, 3, 4] }.put(&mut bytes);
            let mut keys = KeyCache::default();
            let step = login.on_bytes(&bytes, identity, &mut keys, &mut no_random, &mut out);
            step.map(|_| out)
        };
        let hash = md5::stored("app", "secret");
        assert_eq!(answers(Proof::Md5(&hash)), answers(Proof::Password("secret")));
        let secret = Secret::from_password("secret", b"salt", 1);
        assert!(answers(Proof::Scram(&secret, None)).is_err());
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
