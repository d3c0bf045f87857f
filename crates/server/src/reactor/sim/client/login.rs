//! How a client logs in, or does not.

use std::collections::{BTreeMap, HashMap};

use pgherd_wire::backend::{self, Authentication, ErrorFields};
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{AwaitingFinal, AwaitingServer, ClientExchange, Keys, MECHANISM};
use pgherd_wire::startup::{self, PROTOCOL_3_0, PROTOCOL_3_2};
use pgherd_wire::{HEADER, sqlstate};

use crate::reactor::sim::random::Random;
use crate::reactor::sim::world::{DATABASE, PASSWORD, USERS};

/// Keys by salt: each takes milliseconds to derive.
pub(in crate::reactor::sim) type KeyCache = HashMap<Vec<u8>, Keys>;

const NAMES: [&str; 3] = ["one", "two", "three"];
const ZONES: [&str; 3] = ["UTC", "Asia/Tokyo", "America/Lima"];

/// What kind of login it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Good,
    WrongPassword,
    WrongDatabase,
    /// It sends half of its packet and waits.
    Half,
    /// No PostgreSQL client at all.
    Garbage,
}

impl Kind {
    pub(super) fn pick(random: &mut Random, is_trusting: bool) -> Self {
        match random.below(40) {
            0 if !is_trusting => Self::WrongPassword,
            1 => Self::WrongDatabase,
            2 if random.one_in(4) => Self::Half,
            3 => Self::Garbage,
            _ => Self::Good,
        }
    }

    /// The SQLSTATE of the refusal.
    pub(super) fn refusal(self) -> Option<&'static str> {
        match self {
            Self::Good => None,
            Self::WrongPassword => Some(sqlstate::INVALID_PASSWORD),
            Self::WrongDatabase => Some(sqlstate::NO_SUCH_DATABASE),
            Self::Half => Some(sqlstate::INVALID_AUTHORIZATION),
            Self::Garbage => Some(sqlstate::PROTOCOL_VIOLATION),
        }
    }
}

#[derive(Debug)]
enum State {
    /// It has asked for encryption.
    Ssl,
    Asked,
    Challenged(AwaitingServer),
    Proved(AwaitingFinal),
    Accepted,
}

/// What came of a message.
#[derive(Debug)]
pub(super) enum Step {
    More,
    In,
    Refused(String, String),
    Wrong(String),
}

/// A login under way.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) kind: Kind,
    state: State,
    random: Random,
    pub(super) user: &'static str,
    pub(super) parameters: BTreeMap<String, String>,
    /// Asks for replication: it has a backend for itself, and otherwise does what all do.
    replicates: bool,
    protocol: u32,
    pub(super) told: BTreeMap<String, String>,
    /// What it is told to cancel by.
    pub(super) key: (u32, Vec<u8>),
}

impl Login {
    pub(super) fn begin(kind: Kind, mut random: Random, out: &mut Vec<u8>) -> Self {
        let mut parameters = BTreeMap::new();
        let mut ask = |name: &str, value: &str| {
            parameters.insert(name.to_owned(), value.to_owned());
        };
        if random.one_in(2) {
            let name = *random.pick(&NAMES);
            ask("application_name", name);
        }
        if random.one_in(2) {
            let zone = *random.pick(&ZONES);
            ask("TimeZone", zone);
        }
        if random.one_in(6) {
            ask("search_path", "mine");
        }
        let protocol = *random.pick(&[PROTOCOL_3_0, PROTOCOL_3_2]);
        let state = if random.one_in(5) { State::Ssl } else { State::Asked };
        let (told, key) = (BTreeMap::new(), (0, Vec::new()));
        let user = if random.one_in(4) { USERS[1] } else { USERS[0] };
        let replicates = random.one_in(15);
        let login = Self { kind, state, random, user, parameters, replicates, protocol, told, key };
        match login.state {
            State::Ssl => out.extend_from_slice(&startup::SSL_REQUEST),
            _ => login.ask(out),
        }
        login
    }

    fn ask(&self, out: &mut Vec<u8>) {
        let before = out.len();
        let database = if self.kind == Kind::WrongDatabase { "other" } else { DATABASE };
        let names = [("user", self.user), ("database", database)];
        let others = self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let replication = self.replicates.then_some(("replication", "database"));
        let all = names.into_iter().chain(others).chain(replication);
        startup::put_startup(out, self.protocol, all);
        match self.kind {
            Kind::Half => out.truncate(before + 20),
            Kind::Garbage => out[before..before + 8].copy_from_slice(b"GET / HT"),
            _ => {}
        }
    }

    /// How long the message at the beginning of `input` is, if that can be told; one that is no
    /// message answers the question about encryption.
    pub(super) fn awaits_byte(&self) -> bool {
        matches!(self.state, State::Ssl)
    }

    pub(super) fn on_byte(&mut self, byte: u8, out: &mut Vec<u8>) -> Step {
        if byte != b'N' {
            return Step::Wrong(format!("encryption was answered by {byte}"));
        }
        self.state = State::Asked;
        self.ask(out);
        Step::More
    }

    /// A whole message has come.
    pub(super) fn on_message(
        &mut self,
        message: &[u8],
        keys: &mut KeyCache,
        out: &mut Vec<u8>,
    ) -> Step {
        let body = &message[HEADER..];
        match message[0] {
            backend::AUTHENTICATION => match Authentication::read(body) {
                Ok(request) => self.authenticate(request, keys, out),
                Err(error) => Step::Wrong(error.to_string()),
            },
            backend::PARAMETER_STATUS => {
                if let Ok((name, value)) = backend::parameter_status(body) {
                    self.told.insert(name.to_owned(), value.to_owned());
                }
                Step::More
            }
            backend::KEY_DATA => {
                if let Ok((pid, secret)) = backend::key_data(body) {
                    self.key = (pid, secret.to_vec());
                }
                Step::More
            }
            backend::READY if matches!(self.state, State::Accepted) => Step::In,
            backend::ERROR => match ErrorFields::read(body) {
                Ok(error) => Step::Refused(error.code.to_owned(), error.message.to_owned()),
                Err(error) => Step::Wrong(error.to_string()),
            },
            backend::NEGOTIATE | backend::NOTICE => Step::More,
            other => Step::Wrong(format!("{:?} in a login", char::from(other))),
        }
    }

    fn authenticate(
        &mut self,
        request: Authentication<'_>,
        keys: &mut KeyCache,
        out: &mut Vec<u8>,
    ) -> Step {
        let state = std::mem::replace(&mut self.state, State::Asked);
        self.state = match (request, state) {
            (Authentication::Ok, State::Asked | State::Accepted) => State::Accepted,
            (Authentication::Sasl { .. }, State::Asked) => {
                let mut nonce = [0; 18];
                self.random.fill(&mut nonce);
                let (next, first) = ClientExchange::start(&nonce);
                SaslInitial { mechanism: MECHANISM, data: first.as_bytes() }.put(out);
                State::Challenged(next)
            }
            (Authentication::SaslContinue(challenge), State::Challenged(exchange)) => {
                let is_wrong = self.kind == Kind::WrongPassword;
                let derive = |salt: &[u8], iterations| match is_wrong {
                    true => Keys::derive("wrong", salt, 1),
                    false => {
                        let derive = || Keys::derive(PASSWORD, salt, iterations);
                        keys.entry(salt.to_vec()).or_insert_with(derive).clone()
                    }
                };
                match exchange.prove(challenge, derive) {
                    Ok((next, proof)) => {
                        frontend::put_sasl_response(out, proof.as_bytes());
                        State::Proved(next)
                    }
                    Err(error) => return Step::Wrong(error.to_string()),
                }
            }
            (Authentication::SaslFinal(signature), State::Proved(exchange)) => {
                match exchange.verify(signature) {
                    Ok(()) => State::Accepted,
                    Err(error) => return Step::Wrong(error.to_string()),
                }
            }
            (request, state) => return Step::Wrong(format!("{request:?} in {state:?}")),
        };
        Step::More
    }
}
