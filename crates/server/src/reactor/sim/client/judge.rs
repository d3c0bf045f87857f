//! Judges what a client reads by what a server of its own would have said.

use std::collections::{BTreeMap, VecDeque};

use pgherd_wire::backend::{self, ErrorFields, Severity};
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::{Frame, HEADER, TxStatus, sqlstate};

use crate::reactor::sim::session::Session;

/// What a message means to its client.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// What a server of its own would have said.
    Expected,
    /// The same, and it is ready for more.
    Ready(TxStatus),
    /// What it has asked to cancel was cancelled.
    Cancelled,
    /// The connection ends, for this reason: SQLSTATE and message.
    Fatal(String, String),
    /// Nothing that a server of its own could have said.
    Wrong(String),
}

/// The server of its own.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) session: Session,
    expected: Vec<u8>,
    // Messages that were sent, and up to which of them a cancel request may strike.
    sent: u64,
    cancels_until: u64,
    // What the client was told of its session, and for how many ReadyForQuery that was wrong.
    told: BTreeMap<String, String>,
    wrong_for: u32,
    // The last messages, for who wants to know what has happened.
    pub(super) last: VecDeque<String>,
}

impl Judge {
    pub(super) fn new(session: Session, told: BTreeMap<String, String>) -> Self {
        Self {
            session,
            expected: Vec::new(),
            sent: 0,
            cancels_until: 0,
            told,
            wrong_for: 0,
            last: VecDeque::new(),
        }
    }

    /// Whole messages were sent.
    pub(super) fn sent(&mut self, messages: &[u8]) {
        let mut rest = messages;
        while let Ok(Some(frame)) = Frame::read(rest, MAX_MESSAGE) {
            let (message, behind) = rest.split_at(frame.size);
            self.remember("sent", message);
            self.session.feed(message);
            self.sent += 1;
            rest = behind;
        }
    }

    /// A cancel request was sent: it may strike whatever runs until it is done.
    pub(super) fn cancels(&mut self) {
        self.cancels_until = u64::MAX;
    }

    /// It is done, and strikes nothing that is sent from now on.
    pub(super) fn has_cancelled(&mut self) {
        self.cancels_until = self.sent;
    }

    /// Whether everything is answered that can be.
    pub(super) fn is_settled(&mut self) -> bool {
        while self.session.is_silent() {
            self.session.step(&mut self.expected);
        }
        self.drop_reports();
        self.expected.is_empty() && self.session.is_idle()
    }

    fn drop_reports(&mut self) {
        while self.expected.first() == Some(&backend::PARAMETER_STATUS) {
            self.pop();
        }
    }

    fn pop(&mut self) -> Vec<u8> {
        let frame = Frame::read(&self.expected, MAX_MESSAGE);
        let frame = frame.expect("the server of its own is sound").expect("whole");
        self.expected.drain(..frame.size).collect()
    }

    /// A whole message has come.
    pub(super) fn read(&mut self, message: &[u8]) -> Reading {
        self.remember("read", message);
        let body = &message[HEADER..];
        match message[0] {
            backend::PARAMETER_STATUS => {
                if let Ok((name, value)) = backend::parameter_status(body) {
                    self.told.insert(name.to_owned(), value.to_owned());
                    if self.is_told_right() {
                        self.wrong_for = 0;
                    }
                }
                return Reading::Expected;
            }
            // That it waits for a backend, say.
            backend::NOTICE => return Reading::Expected,
            backend::ERROR => {
                let Ok(error) = ErrorFields::read(body) else {
                    return Reading::Wrong("an error that cannot be read".to_owned());
                };
                if error.severity == Severity::Fatal {
                    return Reading::Fatal(error.code.to_owned(), error.message.to_owned());
                }
                if self.is_cancel(&error) {
                    self.session.cancel(&mut self.expected);
                    self.pop();
                    return Reading::Cancelled;
                }
            }
            _ => {}
        }
        loop {
            self.drop_reports();
            if !self.expected.is_empty() {
                let expected = self.pop();
                if !is_same(message, &expected) {
                    return Reading::Wrong(format!(
                        "expected {}, read {}",
                        described(&expected),
                        described(message)
                    ));
                }
                return match message[0] {
                    backend::READY => self.ready(body),
                    _ => Reading::Expected,
                };
            }
            if !self.session.step(&mut self.expected) {
                return Reading::Wrong(format!("nothing was asked, read {}", described(message)));
            }
        }
    }

    fn is_cancel(&mut self, error: &ErrorFields<'_>) -> bool {
        let says_so = error.code == sqlstate::QUERY_CANCELED
            && error.message == "canceling statement due to user request";
        if !says_so {
            return false;
        }
        while self.session.is_silent() {
            self.session.step(&mut self.expected);
        }
        self.drop_reports();
        let unread = self.session.unread() as u64;
        // The first that is not answered yet.
        let answering = self.sent - unread + u64::from(!self.session.runs());
        self.expected.is_empty() && answering <= self.cancels_until
    }

    /// Whether the client was told what its session reports.
    fn is_told_right(&self) -> bool {
        let is_right = |(name, value): (&&str, &String)| self.told.get(*name) == Some(value);
        self.session.reported().iter().all(is_right)
    }

    fn ready(&mut self, body: &[u8]) -> Reading {
        // What a RESET has set back is told behind it.
        match self.is_told_right() {
            true => self.wrong_for = 0,
            false => self.wrong_for += 1,
        }
        if self.wrong_for > 2 {
            let (reported, told) = (self.session.reported(), &self.told);
            return Reading::Wrong(format!("the session has {reported:?}, and was told {told:?}"));
        }
        match backend::ready(body) {
            Ok(status) => Reading::Ready(status),
            Err(error) => Reading::Wrong(error.to_string()),
        }
    }

    fn remember(&mut self, did: &str, message: &[u8]) {
        if self.last.len() == 40 {
            self.last.pop_front();
        }
        self.last.push_back(format!("{did} {}", described(message)));
    }
}

/// Whether two messages say the same. Of errors only what this proxy does not add to.
fn is_same(read: &[u8], expected: &[u8]) -> bool {
    if read[0] == backend::ERROR && expected[0] == backend::ERROR {
        let fields = |message: &[u8]| {
            let fields = ErrorFields::read(&message[HEADER..]).ok()?;
            Some((fields.code.to_owned(), fields.message.to_owned()))
        };
        return fields(read).is_some() && fields(read) == fields(expected);
    }
    read == expected
}

pub(super) fn described(message: &[u8]) -> String {
    let body = message.get(HEADER..).unwrap_or_default();
    let shown: String = body
        .iter()
        .take(90)
        .map(|byte| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '.' })
        .collect();
    format!("{} {shown}", char::from(message[0]))
}
