//! A client that sends what no driver would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pgherd_wire::frontend::{self, Bind, Target};
use pgherd_wire::{Frame, frame, startup};

use super::{World, until};

/// Connected and logged in; the proxy has to trust it.
pub struct Raw<S = TcpStream> {
    stream: S,
    unread: Vec<u8>,
    // The body of BackendKeyData.
    key: Vec<u8>,
}

/// One message: its type and its body.
pub type Message = (char, Vec<u8>);

impl Raw {
    pub fn log_in(world: &World, parameters: &[(&str, &str)]) -> Self {
        let mut raw = Self::start(world, parameters);
        let last = raw.until('Z').pop().unwrap();
        assert_eq!(last, ('Z', vec![b'I']));
        raw
    }

    /// Sends the startup packet and no more.
    pub fn start(world: &World, parameters: &[(&str, &str)]) -> Self {
        Self::start_at(world.address(), startup::PROTOCOL_3_0, parameters)
    }

    /// The same with this version of the protocol, at any proxy.
    pub fn start_at(address: SocketAddr, protocol: u32, parameters: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self::over(stream, protocol, parameters)
    }

    /// The port of its end of the connection.
    pub fn port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    /// Begins a statement that sleeps, and returns when it runs.
    pub fn sleep(&mut self, world: &World) {
        let mut out = Vec::new();
        frontend::put_query(&mut out, "select pg_sleep(60)");
        self.send(&out);
        let asleep = "select count(*) from pg_stat_activity \
                      where state = 'active' and query = 'select pg_sleep(60)'";
        let node = world.node("coordinator");
        until("it runs", || node.psql(asleep).unwrap() == "1");
    }

    /// Asks to cancel what it runs, and returns once the request was taken.
    pub fn cancel(&self, world: &World) {
        send_cancel(world.address(), &self.key);
    }
}

impl<S: Read + Write> Raw<S> {
    /// The same over a connection that is there.
    pub fn over(stream: S, protocol: u32, parameters: &[(&str, &str)]) -> Self {
        let mut raw = Self { stream, unread: Vec::new(), key: Vec::new() };
        let all = [&[("user", "app"), ("database", "app")], parameters].concat();
        let mut out = Vec::new();
        startup::put_startup(&mut out, protocol, all);
        raw.send(&out);
        raw
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// What it is to be cancelled by: the body of BackendKeyData.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The next message; `None` at the end.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(frame) = Frame::read(&self.unread, u32::MAX).unwrap()
                && self.unread.len() >= frame.size
            {
                let message: Vec<u8> = self.unread.drain(..frame.size).collect();
                if frame.tag == b'K' {
                    self.key = message[5..].to_vec();
                }
                return Some((char::from(frame.tag), message[5..].to_vec()));
            }
            let mut bytes = [0; 8192];
            match self.stream.read(&mut bytes).unwrap() {
                0 => return None,
                n => self.unread.extend_from_slice(&bytes[..n]),
            }
        }
    }

    /// Messages up to the first of this type.
    pub fn until(&mut self, tag: char) -> Vec<Message> {
        let mut messages = Vec::new();
        loop {
            let message =
                self.next().unwrap_or_else(|| panic!("the end before {tag}: {messages:?}"));
            messages.push(message);
            if messages.last().unwrap().0 == tag {
                return messages;
            }
        }
    }

    /// Runs a simple query; the text of its rows' first columns, and of its errors.
    pub fn query(&mut self, sql: &str) -> Vec<String> {
        let mut out = Vec::new();
        frontend::put_query(&mut out, sql);
        self.send(&out);
        self.until('Z').into_iter().filter_map(text_of).collect()
    }
}

/// Sends a request to cancel, and returns once it was taken.
pub fn send_cancel(address: SocketAddr, key: &[u8]) {
    send_cancel_over(TcpStream::connect(address).unwrap(), key);
}

/// The same over a connection that is there.
pub fn send_cancel_over(mut stream: impl Read + Write, key: &[u8]) {
    let (pid, secret) = key.split_at(4);
    let mut out = Vec::new();
    startup::put_cancel(&mut out, u32::from_be_bytes(pid.try_into().unwrap()), secret);
    stream.write_all(&out).unwrap();
    stream.read_to_end(&mut Vec::new()).unwrap();
}

/// The first column of a row, or the message of an error.
pub fn text_of((tag, body): Message) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match tag {
        'D' => {
            let length = u32::from_be_bytes(body[2..6].try_into().unwrap());
            Some(text(body[6..].get(..length as usize).unwrap_or_default()))
        }
        'E' => {
            let fields = body.split(|byte| *byte == 0);
            let field = |tag| fields.clone().find_map(|field| field.strip_prefix(tag));
            let (code, message) = (field(b"C"), field(b"M"));
            Some(format!("{}: {}", text(code.unwrap()), text(message.unwrap())))
        }
        _ => None,
    }
}

pub fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    frontend::put_parse(out, name.as_bytes(), sql.as_bytes(), &[0, 0]);
}

/// Bind without parameters, and Execute.
pub fn run(out: &mut Vec<u8>, name: &str) {
    frame::put(out, frontend::BIND, |out| {
        out.push(0);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0]);
    });
    assert!(Bind::read(&out[out.len() - name.len() - 8..]).is_ok());
    frame::put(out, frontend::EXECUTE, |out| out.extend_from_slice(&[0, 0, 0, 0, 0]));
}

pub fn sync(out: &mut Vec<u8>) {
    frame::put(out, frontend::SYNC, |_| {});
}

pub fn flush(out: &mut Vec<u8>) {
    frame::put(out, frontend::FLUSH, |_| {});
}

pub fn close(out: &mut Vec<u8>, name: &str) {
    Target::Statement(name.as_bytes()).put(out, frontend::CLOSE);
}

pub fn copy_data(out: &mut Vec<u8>, rows: &str) {
    frame::put(out, b'd', |out| out.extend_from_slice(rows.as_bytes()));
}
