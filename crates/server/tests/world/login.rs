//! A client that logs in by whatever it is asked for, and tells how it went.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use pgherd_wire::backend::{self, Authentication, ErrorFields};
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, ClientExchange, Keys};
use pgherd_wire::{Frame, HEADER, md5, startup};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

/// Who wants in, and with what.
#[derive(Clone, Copy)]
pub struct Asks<'a> {
    pub user: &'a str,
    pub database: &'a str,
    /// Without one it leaves when it is asked.
    pub password: Option<&'a str>,
}

/// Where it wants in.
#[derive(Clone, Copy)]
pub enum At<'a> {
    Tcp(SocketAddr),
    Unix(&'a Path),
}

impl From<SocketAddr> for At<'_> {
    fn from(at: SocketAddr) -> Self {
        Self::Tcp(at)
    }
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// A backend has answered it.
    In,
    /// The SQLSTATE.
    Refused(String),
    /// It was asked for a password and had none.
    Left,
    /// There was no agreement on TLS.
    NoTls,
}

impl Outcome {
    pub fn refused(code: &str) -> Self {
        Self::Refused(code.to_owned())
    }
}

/// How it went, and what it was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub outcome: Outcome,
    /// The kinds of messages.
    pub kinds: Vec<String>,
    /// The words of an error, with its own name left out.
    pub words: String,
    /// Each byte until it was in or refused, but for its own name, and for what is random: of that the
    /// length.
    pub heard: Vec<String>,
    /// Who it is at the node.
    pub role: String,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Logs in, within TLS if it is told how.
pub fn log_in<'a>(at: impl Into<At<'a>>, tls: Option<&Arc<ClientConfig>>, asks: Asks<'_>) -> Told {
    let limit = Some(Duration::from_secs(20));
    let mut stream: Box<dyn Stream> = match at.into() {
        At::Tcp(at) => {
            let stream = TcpStream::connect(at).unwrap();
            stream.set_read_timeout(limit).unwrap();
            stream.set_nodelay(true).unwrap();
            Box::new(stream)
        }
        At::Unix(path) => {
            let stream = UnixStream::connect(path).unwrap();
            stream.set_read_timeout(limit).unwrap();
            Box::new(stream)
        }
    };
    let mut stream: Box<dyn Stream> = match tls {
        None => stream,
        Some(config) => {
            stream.write_all(&startup::SSL_REQUEST).unwrap();
            let mut answer = [0];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, *b"S");
            let name = ServerName::try_from("localhost").unwrap();
            let connection = ClientConnection::new(Arc::clone(config), name).unwrap();
            Box::new(StreamOwned::new(connection, stream))
        }
    };
    let Asks { user, database, password } = asks;
    let mut out = Vec::new();
    startup::put_startup(&mut out, startup::PROTOCOL_3_0, [("user", user), ("database", database)]);
    let (exchange, first) = ClientExchange::start(b"a nonce of ours");
    let (mut exchange, mut proved) = (Some(exchange), None);
    let mut told = Told {
        outcome: Outcome::Left,
        kinds: Vec::new(),
        words: String::new(),
        heard: Vec::new(),
        role: String::new(),
    };
    let mut unread = Vec::new();
    loop {
        let exchanged = stream.write_all(&out).and_then(|()| next(&mut *stream, &mut unread));
        out.clear();
        let message = match exchanged {
            Ok(message) => message,
            Err(_) if tls.is_some() && told.kinds.is_empty() => {
                told.outcome = Outcome::NoTls;
                return told;
            }
            Err(error) => panic!("in the middle of a login, after {told:?}: {error}"),
        };
        let body = &message[HEADER..];
        match message[0] {
            b'R' => {
                let request = Authentication::read(body).unwrap();
                told.kinds.push(kind(&request).to_owned());
                told.heard.push(lasting(&request, body));
                if !matches!(request, Authentication::Ok) && password.is_none() {
                    return told;
                }
                let password = password.unwrap_or_default();
                match request {
                    Authentication::Ok => {}
                    Authentication::Cleartext => frontend::put_password(&mut out, password),
                    Authentication::Md5 { salt } => {
                        frontend::put_password(&mut out, &md5::response(user, password, salt));
                    }
                    Authentication::Sasl { .. } => {
                        let data = first.as_bytes();
                        SaslInitial { mechanism: scram::MECHANISM, data }.put(&mut out);
                    }
                    Authentication::SaslContinue(challenge) => {
                        let derive = |salt: &[u8], rounds| derived(password, salt, rounds);
                        let exchange = exchange.take().unwrap();
                        let (next, proof) = exchange.prove(challenge, derive).unwrap();
                        proved = Some(next);
                        frontend::put_sasl_response(&mut out, proof.as_bytes());
                    }
                    Authentication::SaslFinal(signature) => {
                        proved.take().unwrap().verify(signature).unwrap();
                    }
                }
            }
            b'E' => {
                let error = ErrorFields::read(body).unwrap();
                told.kinds.push("error".to_owned());
                told.outcome = Outcome::refused(error.code);
                told.words = error.message.replace(user, "NAME");
                told.heard.push(format!("E{}", text(body).replace(user, "NAME")));
                return told;
            }
            b'Z' if told.role.is_empty() => frontend::put_query(&mut out, "select current_user"),
            b'Z' => {
                told.outcome = Outcome::In;
                return told;
            }
            b'D' => told.role = text(backend::data_row(body).unwrap()[0].unwrap()),
            _ => {}
        }
    }
}

fn kind(request: &Authentication<'_>) -> &'static str {
    match request {
        Authentication::Ok => "ok",
        Authentication::Cleartext => "password",
        Authentication::Md5 { .. } => "md5",
        Authentication::Sasl { .. } => "sasl",
        Authentication::SaslContinue(_) => "challenge",
        Authentication::SaslFinal(_) => "signature",
    }
}

/// What of a request is not random.
fn lasting(request: &Authentication<'_>, body: &[u8]) -> String {
    match request {
        Authentication::Md5 { .. } => "md5 with a salt".to_owned(),
        Authentication::SaslContinue(challenge) => {
            let challenge = text(challenge);
            let fields = challenge.split(',').map(|field| match field.split_at(2) {
                ("i=", _) => field.to_owned(),
                (name, random) => format!("{name}{} bytes", random.len()),
            });
            fields.collect::<Vec<_>>().join(",")
        }
        Authentication::SaslFinal(signature) => format!("{} bytes", signature.len()),
        _ => text(body),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Keys that were derived from a password, a salt and a number of rounds: that is most of the time of a
/// login where nothing is optimised, and a test logs in with the same ones again and again.
type Derived = HashMap<(String, Vec<u8>, u32), Keys>;

fn derived(password: &str, salt: &[u8], rounds: u32) -> Keys {
    static DERIVED: LazyLock<Mutex<Derived>> = LazyLock::new(Mutex::default);
    let of = (password.to_owned(), salt.to_vec(), rounds);
    if let Some(keys) = DERIVED.lock().unwrap().get(&of) {
        return keys.clone();
    }
    let keys = Keys::derive(password, salt, rounds);
    DERIVED.lock().unwrap().insert(of, keys.clone());
    keys
}

fn next(stream: &mut dyn Stream, unread: &mut Vec<u8>) -> io::Result<Vec<u8>> {
    loop {
        if let Some(frame) = Frame::read(unread, u32::MAX).unwrap()
            && unread.len() >= frame.size
        {
            return Ok(unread.drain(..frame.size).collect());
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => unread.extend_from_slice(&bytes[..n]),
        }
    }
}
