//! The login of a client.
//!
//! In: bytes, the rules, random bytes. Out: bytes to send, and what the client turned out to
//! be. Pure: it knows no socket; the deadline is the caller's.

mod method;
mod parameters;
mod refusal;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use pgherd_core::settings::{self, TlsMode};
use pgherd_wire::backend::{self, Authentication};
use pgherd_wire::frame::Frame;
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, AwaitingProof, Binding, ServerExchange};
use pgherd_wire::startup::{self, FirstPacket, PROTOCOL_3_0, PROTOCOL_3_2, Startup};
use pgherd_wire::{HEADER, sqlstate};

use crate::auth::{Answer, Credential, HbaFiles, LoginGuard, Method, Question, UserId, Users};
use crate::databases::{Databases, NoDatabase};
use crate::relay::Parameters;
use crate::session::{LoginFailure, Replication};

use method::{is_allowed, method};
use parameters::parameters;
use refusal::Refusal;

/// The longest message of a login behind its startup packet, which has a limit of its own: as for
/// PostgreSQL (`PG_MAX_SASL_MESSAGE_LENGTH`), 1 KiB. Anybody can have us keep as much.
const LONGEST: u32 = 1024;

/// The first byte of TLS, which begins with a handshake: RFC 8446, 5.1. Of a startup packet it would
/// be one of 300 MB and more.
const TLS_HANDSHAKE: u8 = 22;

/// What logins are decided by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// How clients prove who they are.
    pub method: Method,
    /// Who may log in.
    pub users: &'a Users,
    /// What they may name as their database.
    pub databases: &'a Databases,
    /// Whether it is encrypted, or has to be.
    pub encryption: Encryption<'a>,
    /// Who logs in how, where the method is [`Method::Hba`].
    pub hba: Option<&'a HbaFiles>,
    /// Who has failed too often, if anybody has failed.
    pub guard: Option<&'a LoginGuard>,
    /// Where the client is; needed for the two. `None` also if it has gone, or is local.
    pub address: Option<IpAddr>,
    /// Whether it has come over a Unix socket.
    pub is_local: bool,
    /// The number of the system's user that has; asked for where the method may be [`Method::Peer`].
    pub system_user: Option<u32>,
    /// It is that late.
    pub now: Instant,
}

/// How a connection stands to encryption.
#[derive(Debug, Clone, Copy)]
pub struct Encryption<'a> {
    /// What clients may ask for, and have to.
    pub mode: TlsMode,
    /// Within what the bytes have come; `None` in plain.
    pub within: Option<Within<'a>>,
}

impl Encryption<'_> {
    /// There is none.
    pub const NONE: Self = Self { mode: TlsMode::Disable, within: None };
}

/// TLS that bytes have come within.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    /// Whether the two ends have agreed on the protocol by its name (ALPN).
    pub is_named: bool,
    /// The common name that the client's certificate is made out to, if it has shown one.
    pub made_out_to: Option<&'a str>,
    /// The hash of the certificate that the client was shown, which its login may be bound to.
    pub end_point: Option<&'a [u8]>,
}

/// What a client that is logged in asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who it is.
    pub user: UserId,
    /// The database that is served to it: the one that it names, unless it asks for physical
    /// replication and names none that there is.
    pub database: String,
    /// What replication it asks for.
    pub replication: Option<Replication>,
    /// The protocol it was told it speaks: 3.0 or 3.2.
    pub protocol: u32,
    /// Session parameters it wants.
    pub parameters: Parameters,
}

/// What to do after a call of [`Login::on_bytes`]; what it wrote is to be sent first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LoginStep {
    /// Read on.
    NeedMore,
    /// It goes on within TLS: what was not used is the beginning of that.
    Encrypt,
    /// It is no client but wants this query cancelled; close without an answer.
    Cancel {
        /// The process id it was given.
        pid: u32,
        /// The secret it was given.
        secret: Vec<u8>,
    },
    /// It is who it says it is. AuthenticationOk was not sent yet.
    Authenticated(Request),
    /// It goes on when this is answered, by [`Login::on_answer`].
    Ask(Question),
    /// It was refused; close.
    Refused {
        /// The SQLSTATE that it is told.
        code: &'static str,
        /// For the metrics.
        failure: LoginFailure,
        /// For the log.
        reason: String,
        /// The name that it has failed to prove to be its own, if it has tried.
        failed_as: Option<String>,
    },
}

#[derive(Debug)]
enum State {
    First { encryption_asked: u8, is_direct: bool },
    // With the ident map that tells whom the system's user may be.
    Identifying(Pending, Option<String>),
    LookingUp(Pending),
    Password(Pending),
    Checking(Pending, settings::Secret),
    Md5(Pending, [u8; 4]),
    SaslInitial(Pending),
    Proof(Pending, Box<AwaitingProof>),
    Over,
}

#[derive(Debug)]
struct Pending {
    name: String,
    database: String,
    replication: Option<Replication>,
    protocol: u32,
    parameters: Parameters,
    method: Method,
    // What is known of the password, if clients may come under this name.
    credential: Option<Arc<Credential>>,
}

impl Pending {
    fn credential(&self) -> Option<&Credential> {
        self.credential.as_deref()
    }
}

/// One login.
#[derive(Debug)]
pub struct Login(State);

impl Default for Login {
    fn default() -> Self {
        Self(State::First { encryption_asked: 0, is_direct: false })
    }
}

impl Login {
    /// Whether it has said who it wants to be: it is no request to cancel.
    pub fn has_begun(&self) -> bool {
        !matches!(self.0, State::First { .. })
    }

    /// Whether it waits for an answer and takes no bytes.
    pub fn is_asking(&self) -> bool {
        matches!(self.0, State::Identifying(..) | State::LookingUp(_) | State::Checking(..))
    }

    /// Goes on with what has come of its question.
    pub fn on_answer(
        &mut self,
        answer: Answer,
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> LoginStep {
        let state = std::mem::replace(&mut self.0, State::Over);
        let step = match (state, answer) {
            (State::Identifying(pending, map), Answer::SystemUser(found)) => {
                match is_allowed(rules, map.as_deref(), found.as_deref(), &pending.name) {
                    true => self.look_up(pending, rules, random, out),
                    false => Err(Refusal::peer(&pending.name, found.as_deref())),
                }
            }
            (State::LookingUp(pending), Answer::User(credential)) => {
                if let Some(found) = &credential {
                    rules.users.looked_up(found);
                }
                self.request(Pending { credential, ..pending }, rules, random, out)
            }
            (State::Checking(pending, password), Answer::Keys(keys)) => {
                match (pending.credential(), keys) {
                    (Some(credential), Some(keys)) => {
                        rules.users.remember_password(credential, password.expose(), keys);
                        accept(pending, rules).map(Some)
                    }
                    _ => Err(Refusal::password(&pending.name)),
                }
            }
            (
                State::Identifying(pending, _)
                | State::LookingUp(pending)
                | State::Checking(pending, _),
                Answer::Failed,
            ) => Err(Refusal {
                for_log: format!("what user \"{}\" is let in by is not known", pending.name),
                ..Refusal::new(
                    sqlstate::CANNOT_CONNECT_NOW,
                    "logins cannot be looked at now: try again",
                )
            }),
            _ => Err(Refusal::protocol("an answer to no question")),
        };
        match step {
            Ok(step) => step.unwrap_or(LoginStep::NeedMore),
            Err(refusal) => refusal.tell(out),
        }
    }

    /// Takes what it can use of `input`; returns how many bytes, and what to do.
    pub fn on_bytes(
        &mut self,
        input: &[u8],
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> (usize, LoginStep) {
        let mut at = 0;
        loop {
            let (used, step) = match self.step(&input[at..], rules, random, out) {
                Ok(step) => step,
                Err(refusal) => {
                    self.0 = State::Over;
                    (0, Some(refusal.tell(out)))
                }
            };
            at += used;
            match step {
                Some(step) => return (at, step),
                None if used == 0 => return (at, LoginStep::NeedMore),
                None => {}
            }
        }
    }

    fn step(
        &mut self,
        input: &[u8],
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<LoginStep>), Refusal> {
        let state = std::mem::replace(&mut self.0, State::Over);
        match state {
            State::First { encryption_asked, is_direct } => {
                self.first(encryption_asked, is_direct, input, rules, random, out)
            }
            State::Password(pending) => {
                let Some(message) = password_message(input)? else {
                    self.0 = State::Password(pending);
                    return Ok((0, None));
                };
                let password = frontend::password(&message[HEADER..])?;
                // What is no text is nobody's password, and is looked at as long as one.
                let password = String::from_utf8_lossy(password);
                let (users, name) = (rules.users, &pending.name);
                if users.recognises(name, pending.credential(), &password) {
                    return Ok((message.len(), Some(accept(pending, rules)?)));
                }
                // For all names alike: what is stored may be a SCRAM secret, and what is not is
                // looked at as long.
                let secret = users.secret(name, pending.credential());
                let password = settings::Secret::new(password);
                let question = Question::Keys { secret, password: password.clone() };
                self.0 = State::Checking(pending, password);
                Ok((message.len(), Some(LoginStep::Ask(question))))
            }
            State::Md5(pending, salt) => {
                let Some(message) = password_message(input)? else {
                    self.0 = State::Md5(pending, salt);
                    return Ok((0, None));
                };
                let answer = frontend::password(&message[HEADER..])?;
                let (users, name) = (rules.users, &pending.name);
                if !users.is_md5(name, pending.credential(), salt, answer) {
                    return Err(Refusal::password(&pending.name));
                }
                Ok((message.len(), Some(accept(pending, rules)?)))
            }
            State::SaslInitial(pending) => {
                let Some(message) = password_message(input)? else {
                    self.0 = State::SaslInitial(pending);
                    return Ok((0, None));
                };
                let initial = SaslInitial::read(&message[HEADER..])?;
                let binding = match (initial.mechanism, end_point(rules)) {
                    (scram::MECHANISM_PLUS, Some(hash)) => Binding::EndPoint(hash),
                    (scram::MECHANISM, Some(_)) => Binding::NotOffered,
                    (scram::MECHANISM, None) => Binding::None,
                    _ => {
                        return Err(Refusal::protocol("the client chose a mechanism not offered"));
                    }
                };
                let mut nonce = [0; 18];
                random(&mut nonce);
                let secret = rules.users.secret(&pending.name, pending.credential());
                let (next, reply) =
                    ServerExchange::start_bound(initial.data, &nonce, secret, binding)
                        .map_err(|error| Refusal::scram(&pending.name, &error))?;
                Authentication::SaslContinue(reply.as_bytes()).put(out);
                self.0 = State::Proof(pending, Box::new(next));
                Ok((message.len(), None))
            }
            State::Proof(pending, exchange) => {
                let Some(message) = password_message(input)? else {
                    self.0 = State::Proof(pending, exchange);
                    return Ok((0, None));
                };
                let accepted = exchange
                    .check(&message[HEADER..])
                    .map_err(|error| Refusal::scram(&pending.name, &error))?;
                Authentication::SaslFinal(accepted.server_final.as_bytes()).put(out);
                if let Some(credential) = pending.credential() {
                    credential.remember(accepted.client_key);
                }
                Ok((message.len(), Some(accept(pending, rules)?)))
            }
            // It takes nothing before that.
            State::Identifying(..) | State::LookingUp(_) | State::Checking(..) => {
                self.0 = state;
                Ok((0, None))
            }
            State::Over => Ok((0, None)),
        }
    }

    fn first(
        &mut self,
        encryption_asked: u8,
        is_direct: bool,
        input: &[u8],
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<(usize, Option<LoginStep>), Refusal> {
        let Encryption { mode, within } = rules.encryption;
        let offers = within.is_none() && mode != TlsMode::Disable;
        if offers && input.first() == Some(&TLS_HANDSHAKE) {
            self.0 = State::First { encryption_asked, is_direct: true };
            return Ok((0, Some(LoginStep::Encrypt)));
        }
        // Or somebody could have it talk to a client of another protocol (ALPACA).
        if is_direct && within.is_some_and(|within| !within.is_named) {
            return Err(Refusal::protocol("direct TLS without the ALPN protocol \"postgresql\""));
        }
        let whole = startup::size(input)?.and_then(|size| input.get(..size));
        let Some(packet) = whole else {
            self.0 = State::First { encryption_asked, is_direct };
            return Ok((0, None));
        };
        let step = match startup::read(packet)? {
            FirstPacket::Ssl | FirstPacket::GssEncryption if within.is_some() => {
                return Err(Refusal::protocol("encryption was asked for within TLS"));
            }
            FirstPacket::Ssl if offers && input.len() > packet.len() => {
                // Whoever stands in between could have put it there, to be taken for the client's.
                return Err(Refusal::protocol("plain bytes behind the request for TLS"));
            }
            FirstPacket::Ssl if offers => {
                out.push(b'S');
                self.0 = State::First { encryption_asked, is_direct };
                Some(LoginStep::Encrypt)
            }
            // Once for each kind; a client that asks on and on is none.
            FirstPacket::Ssl | FirstPacket::GssEncryption if encryption_asked < 2 => {
                out.push(b'N');
                self.0 = State::First { encryption_asked: encryption_asked + 1, is_direct };
                None
            }
            FirstPacket::Ssl | FirstPacket::GssEncryption => {
                return Err(Refusal::protocol("encryption was asked for three times"));
            }
            FirstPacket::Cancel { pid, secret } => {
                Some(LoginStep::Cancel { pid, secret: secret.to_vec() })
            }
            FirstPacket::Startup(startup) => self.begin(&startup, rules, random, out)?,
        };
        Ok((packet.len(), step))
    }

    fn begin(
        &mut self,
        startup: &Startup<'_>,
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<Option<LoginStep>, Refusal> {
        let protocol = negotiate(startup, out);
        let name = startup.parameter("user").unwrap_or_default();
        if name.is_empty() {
            return Err(Refusal::new(
                sqlstate::INVALID_AUTHORIZATION,
                "no PostgreSQL user name specified in startup packet",
            ));
        }
        check_encryption(rules.encryption, name)?;
        if let Some(guard) = rules.guard
            && let Some(bar) = guard.barred(rules.address, name, rules.now)
        {
            return Err(Refusal::barred(rules.address, name, bar));
        }
        let replication = match startup.parameter("replication") {
            Some(value) => Replication::read(value).map_err(|_| {
                let message = format!("invalid value for parameter \"replication\": \"{value}\"");
                Refusal::new(sqlstate::INVALID_PARAMETER_VALUE, message)
            })?,
            None => None,
        };
        // As in PostgreSQL, the database is called like the user where none is named.
        let database = startup.parameter("database").filter(|name| !name.is_empty());
        let database = database.unwrap_or(name);
        let parameters = parameters(startup)?;
        let (method, map) = method(name, database, replication, rules)?;
        let credential = rules.users.of_client(name);
        let (name, database) = (name.to_owned(), database.to_owned());
        let pending =
            Pending { name, database, replication, protocol, parameters, method, credential };
        if method == Method::Peer {
            let Some(number) = rules.system_user else {
                return Err(Refusal::peer(&pending.name, None));
            };
            self.0 = State::Identifying(pending, map);
            return Ok(Some(LoginStep::Ask(Question::SystemUser(number))));
        }
        self.look_up(pending, rules, random, out)
    }

    /// Asks for what is known of the user, if it is one to be looked up.
    fn look_up(
        &mut self,
        pending: Pending,
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<Option<LoginStep>, Refusal> {
        if pending.method != Method::Any
            && rules.users.has_room()
            && !rules.users.is_listed(&pending.name)
            && let Some(place) = rules.databases.look_up(&pending.database)
        {
            let question = rules.users.question(&pending.name, place);
            self.0 = State::LookingUp(pending);
            return Ok(Some(LoginStep::Ask(question)));
        }
        self.request(pending, rules, random, out)
    }

    /// Asks for what the method wants to be shown, now that it is known what is known of the user.
    fn request(
        &mut self,
        pending: Pending,
        rules: Rules<'_>,
        random: &mut dyn FnMut(&mut [u8]),
        out: &mut Vec<u8>,
    ) -> Result<Option<LoginStep>, Refusal> {
        self.0 = match pending.method {
            Method::Trust | Method::Any | Method::Cert | Method::Peer | Method::Hba => {
                return Ok(Some(accept(pending, rules)?));
            }
            Method::Plain => {
                Authentication::Cleartext.put(out);
                State::Password(pending)
            }
            Method::Md5 if !rules.users.is_asked_for_scram(&pending.name, pending.credential()) => {
                let mut salt = [0; 4];
                random(&mut salt);
                Authentication::Md5 { salt }.put(out);
                State::Md5(pending, salt)
            }
            Method::Md5 | Method::Scram => {
                let plus = end_point(rules).map(|_| scram::MECHANISM_PLUS);
                let mechanisms = plus.into_iter().chain([scram::MECHANISM]).collect();
                Authentication::Sasl { mechanisms }.put(out);
                State::SaslInitial(pending)
            }
        };
        Ok(None)
    }
}

/// What logins over this connection may be bound to.
fn end_point(rules: Rules<'_>) -> Option<&[u8]> {
    rules.encryption.within?.end_point
}

/// Who has logged in. One that was looked up is a user from now on.
fn named(pending: &Pending, users: &Users) -> Result<UserId, Refusal> {
    let Pending { name, credential, .. } = pending;
    if !users.is_listed(name)
        && let Some(found) = credential
    {
        return users
            .adopt(name, found)
            .map_err(|error| Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, error.to_string()));
    }
    users.find_client(name).ok_or_else(|| Refusal {
        failed_as: Some(name.clone()),
        failure: LoginFailure::Password,
        ..Refusal::new(
            sqlstate::INVALID_AUTHORIZATION,
            format!("role \"{name}\" is not known to pgherd"),
        )
    })
}

fn accept(pending: Pending, rules: Rules<'_>) -> Result<LoginStep, Refusal> {
    let named = match pending.method {
        Method::Any => None,
        _ => Some(named(&pending, rules.users)?),
    };
    let Pending { mut database, replication, protocol, parameters, .. } = pending;
    if rules.databases.is_console(&database)
        && let Some(why) = not_for_console(named, replication, rules)
    {
        let message = format!("not allowed: {why}");
        return Err(Refusal::new(sqlstate::INVALID_AUTHORIZATION, message));
    }
    if replication == Some(Replication::Physical) && !rules.databases.serves(&database) {
        // It is of no database. This one is what its limits are taken from.
        database = rules.databases.first();
    }
    // Whoever has no name is served as the database's own user.
    let user = named.or_else(|| rules.databases.shared_login(&database));
    // Not told to strangers, as in PostgreSQL.
    let Some(user) = user.filter(|_| rules.databases.serves(&database)) else {
        let unknown = NoDatabase::Unknown(database);
        return Err(Refusal::new(sqlstate::NO_SUCH_DATABASE, unknown.to_string()));
    };
    Ok(LoginStep::Authenticated(Request { user, database, replication, protocol, parameters }))
}

/// Why a user may not have the console.
fn not_for_console(
    user: Option<UserId>,
    replication: Option<Replication>,
    rules: Rules<'_>,
) -> Option<String> {
    let Some(user) = user else {
        return Some("auth is \"any\", so that nobody has a name here".to_owned());
    };
    if rules.databases.console_rights(user).is_none() {
        let name = &rules.users.get(user).name;
        return Some(format!("\"{name}\" is in neither of admin_users and stats_users"));
    }
    replication.map(|_| "the console replicates nothing".to_owned())
}

/// Whether the connection is encrypted as the settings want it, for this user.
fn check_encryption(encryption: Encryption<'_>, name: &str) -> Result<(), Refusal> {
    let Encryption { mode, within } = encryption;
    match within {
        None if mode.is_required() => Err(Refusal::new(
            sqlstate::INVALID_AUTHORIZATION,
            "connections have to be encrypted here: connect with sslmode=require or above",
        )),
        Some(within) if mode == TlsMode::VerifyFull && within.made_out_to != Some(name) => {
            Err(Refusal::certificate(name, within.made_out_to))
        }
        _ => Ok(()),
    }
}

/// Settles on 3.0 or 3.2, and says so where the client asked for more than that.
fn negotiate(startup: &Startup<'_>, out: &mut Vec<u8>) -> u32 {
    let options: Vec<&str> = startup
        .parameters
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.starts_with("_pq_."))
        .collect();
    let protocol = if startup.protocol >= PROTOCOL_3_2 { PROTOCOL_3_2 } else { PROTOCOL_3_0 };
    if protocol != startup.protocol || !options.is_empty() {
        backend::put_negotiate(out, protocol, &options);
    }
    protocol
}

fn password_message(input: &[u8]) -> Result<Option<&[u8]>, Refusal> {
    let Some(frame) = Frame::read(input, LONGEST)? else { return Ok(None) };
    if frame.tag != frontend::PASSWORD {
        return Err(Refusal::protocol("expected a password message"));
    }
    Ok(input.get(..frame.size))
}

#[cfg(test)]
mod tests;
