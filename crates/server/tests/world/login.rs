//! A client that logs in by whatever it is asked for, and tells how it went.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use pgherd_wire::backend::{Authentication, ErrorFields};
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

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    In,
    /// The SQLSTATE.
    Refused(String),
    /// It was asked for a password and had none.
    Left,
}

impl Outcome {
    pub fn refused(code: &str) -> Self {
        Self::Refused(code.to_owned())
    }
}

/// How it went, and what it was told: the kinds of messages, and the words of an error with its own name
/// left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub outcome: Outcome,
    pub kinds: Vec<String>,
    pub words: String,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Logs in, within TLS if it is told how.
pub fn log_in(at: SocketAddr, tls: Option<&Arc<ClientConfig>>, asks: Asks<'_>) -> Told {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(stream),
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
    let mut told = Told { outcome: Outcome::Left, kinds: Vec::new(), words: String::new() };
    let mut unread = Vec::new();
    loop {
        stream.write_all(&out).unwrap();
        out.clear();
        let message = next(&mut *stream, &mut unread);
        let body = &message[HEADER..];
        match message[0] {
            b'R' => {
                let request = Authentication::read(body).unwrap();
                told.kinds.push(kind(&request).to_owned());
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
                        let derive = |salt: &[u8], rounds| Keys::derive(password, salt, rounds);
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
                return told;
            }
            b'Z' => {
                told.outcome = Outcome::In;
                return told;
            }
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

fn next(stream: &mut dyn Stream, unread: &mut Vec<u8>) -> Vec<u8> {
    loop {
        if let Some(frame) = Frame::read(unread, u32::MAX).unwrap()
            && unread.len() >= frame.size
        {
            return unread.drain(..frame.size).collect();
        }
        let mut bytes = [0; 4096];
        let n = stream.read(&mut bytes).unwrap();
        assert!(n > 0, "the end of the connection in the middle of a login");
        unread.extend_from_slice(&bytes[..n]);
    }
}
