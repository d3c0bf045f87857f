//! Simulated clients: each does what its script says, and judges what it reads.

mod judge;
mod login;
mod messages;
mod script;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::{Frame, TxStatus, sqlstate, startup};

use judge::{Judge, Reading, described};
pub(super) use login::KeyCache;
use login::{Kind, Login};
use script::{Author, Leave, Step};

use super::invariants::{Invariant, violated};
use super::network::{Conn, Connect, Event, Peer, Stream};
use super::random::Random;
use super::session::Session;
use super::trace::Note;
use super::world::{ACQUIRE_TIMEOUT, LOGIN_TIMEOUT, World};
use crate::reactor::{Mail, Via};

#[derive(Debug)]
enum Stage {
    Away,
    LoggingIn(Box<Login>),
    In(Box<Judge>),
    /// It is told goodbye, or says it, and waits for the end.
    Leaving,
}

/// A client, which comes and goes.
#[derive(Debug)]
pub(super) struct Client {
    stage: Stage,
    pub(super) conn: Option<Conn>,
    /// Of this connection. None is used twice.
    pub(super) number: u32,
    counter: u32,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    script: VecDeque<Step>,
    random: Random,
    user: &'static str,
    key: (u32, Vec<u8>),
    canceller: Option<Conn>,
    /// Its backend died, so that it may be told.
    pub(super) lost: bool,
    expects: Option<&'static str>,
    // Since when it waits for something.
    since: Instant,
    reads: Pace,
    reads_from: Instant,
    is_pausing: bool,
    is_done: bool,
}

/// How fast a client reads.
#[derive(Debug, Clone, Copy)]
struct Pace {
    most: usize,
    pause: Duration,
}

/// How long a client waits for anything at most: the time to wait for a backend, that for which a
/// node is frozen, and the retries.
const PATIENCE: Duration = Duration::from_secs(120);

impl Client {
    pub(super) fn new(mut random: Random, now: Instant) -> Self {
        let reads = match random.below(12) {
            0 => Pace { most: 300, pause: Duration::from_micros(300) },
            1 => Pace { most: 4000, pause: Duration::from_millis(3) },
            _ => Pace { most: 100_000, pause: Duration::from_micros(20) },
        };
        Self {
            stage: Stage::Away,
            conn: None,
            number: 0,
            counter: 0,
            inbox: Vec::new(),
            outbox: Vec::new(),
            script: VecDeque::new(),
            random,
            user: "",
            key: (0, Vec::new()),
            canceller: None,
            lost: false,
            expects: None,
            since: now,
            reads,
            reads_from: now,
            is_pausing: false,
            is_done: false,
        }
    }

    /// Whether it is gone for good.
    pub(super) fn is_done(&self) -> bool {
        self.is_done && self.canceller.is_none()
    }

    /// Whether it holds something that keeps a backend.
    pub(super) fn is_held(&self) -> bool {
        matches!(&self.stage, Stage::In(judge) if judge.session.is_held())
    }

    /// What it has sent and read last.
    pub(super) fn story(&self) -> String {
        match &self.stage {
            Stage::In(judge) => {
                let last: Vec<&str> = judge.last.iter().map(String::as_str).collect();
                format!("c{} was last:\n  {}", self.number, last.join("\n  "))
            }
            other => format!("c{} is {other:?}", self.number),
        }
    }
}

impl World {
    /// A client does what it does next.
    pub(super) fn client_wakes(&mut self, id: usize) {
        if self.clients[id].is_done {
            return;
        }
        match self.clients[id].stage {
            Stage::Away if self.is_closing => self.clients[id].is_done = true,
            Stage::Away => self.client_comes(id),
            Stage::In(_) => {
                self.clients[id].is_pausing = false;
                self.client_acts(id);
            }
            Stage::LoggingIn(_) | Stage::Leaving => {}
        }
    }

    fn client_comes(&mut self, id: usize) {
        self.numbers += 1;
        let now = self.now();
        let conn = self.network.borrow_mut().open(Peer::Client(id), Connect::Done);
        let stream = Stream::new(&self.network, conn);
        let core = self.random.below(self.workers.len());
        self.post.borrow_mut()[core].push_back(Mail::Client(stream, Via::Tcp));
        let client = &mut self.clients[id];
        client.number = self.numbers;
        client.counter = 0;
        client.conn = Some(conn);
        client.lost = false;
        client.is_pausing = false;
        client.since = now;
        client.inbox.clear();
        client.outbox.clear();
        client.script.clear();
        let kind = Kind::pick(&mut client.random, self.is_trusting);
        client.expects = kind.refusal();
        let login = Login::begin(kind, client.random.fork(), &mut client.outbox);
        client.stage = Stage::LoggingIn(Box::new(login));
        self.trace.note(Note::Comes { client: self.numbers, conn, kind: client.expects });
        self.client_sends(id);
    }

    fn client_sends(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let Some(conn) = client.conn else { return };
        if !client.outbox.is_empty() {
            let sent = self.network.borrow_mut().peer_writes(conn, &client.outbox);
            client.outbox.drain(..sent);
        }
    }

    /// A client looks at its connection.
    pub(super) fn client_looks(&mut self, id: usize, conn: Conn) {
        self.network.borrow_mut().peer_looks(conn);
        if self.clients[id].conn != Some(conn) {
            return;
        }
        self.client_sends(id);
        let mut network = self.network.borrow_mut();
        let now = network.now;
        let client = &mut self.clients[id];
        if client.reads_from > now {
            let after = client.reads_from - now;
            return network.schedule(after, Event::Peer(conn));
        }
        network.peer_reads(conn, client.reads.most, &mut client.inbox);
        let has_more = network.peer_has_more(conn);
        let ends = !has_more && network.peer_sees_end(conn);
        if has_more {
            client.reads_from = now + client.reads.pause;
            network.schedule(client.reads.pause, Event::Peer(conn));
        }
        drop(network);
        self.client_reads(id);
        if ends && self.clients[id].conn == Some(conn) {
            self.client_sees_end(id);
        }
    }

    fn client_reads(&mut self, id: usize) {
        let mut at = 0;
        let inbox = std::mem::take(&mut self.clients[id].inbox);
        loop {
            let rest = &inbox[at..];
            if let Stage::LoggingIn(login) = &mut self.clients[id].stage
                && login.awaits_byte()
                && let Some(byte) = rest.first()
                && *byte != b'E'
            {
                let mut out = Vec::new();
                let step = login.on_byte(*byte, &mut out);
                self.client_login(id, step, &out);
                at += 1;
                continue;
            }
            let Ok(frame) = Frame::read(rest, MAX_MESSAGE) else {
                self.client_violated(id, "it reads what is no message");
            };
            let Some(message) = frame.and_then(|frame| rest.get(..frame.size)) else { break };
            at += message.len();
            self.client_reads_message(id, message);
            if self.clients[id].conn.is_none() {
                return;
            }
        }
        self.clients[id].inbox = inbox[at..].to_vec();
        if matches!(self.clients[id].stage, Stage::In(_)) {
            self.client_acts(id);
        }
    }

    fn client_reads_message(&mut self, id: usize, message: &[u8]) {
        let now = self.now();
        let client = &mut self.clients[id];
        match &mut client.stage {
            Stage::LoggingIn(login) => {
                let mut out = Vec::new();
                let step = login.on_message(message, &mut self.keys, &mut out);
                self.client_login(id, step, &out);
            }
            Stage::In(judge) => {
                let reading = judge.read(message);
                if !matches!(reading, Reading::Fatal(..)) {
                    client.since = now;
                }
                let confirmed = std::mem::take(&mut judge.session.committed);
                for tag in confirmed {
                    self.confirmed += 1;
                    if self.servers.written.get(&tag) != Some(&1) {
                        let text = format!("{tag} was confirmed and is not written");
                        violated(Invariant::NothingLost, text);
                    }
                }
                match reading {
                    Reading::Expected => {}
                    Reading::Cancelled => self.cancelled += 1,
                    Reading::Ready(status) => self.transactions += u64::from(status.is_idle()),
                    Reading::Fatal(code, text) => self.client_dismissed(id, &code, &text),
                    Reading::Wrong(text) => self.client_violated(id, &text),
                }
            }
            Stage::Leaving => {
                if self.clients[id].lost || self.clients[id].expects.is_some() {
                    let text = format!("it was dismissed, and reads {}", described(message));
                    self.client_violated(id, &text);
                }
            }
            Stage::Away => {}
        }
    }

    fn client_login(&mut self, id: usize, step: login::Step, out: &[u8]) {
        let now = self.now();
        let client = &mut self.clients[id];
        client.outbox.extend_from_slice(out);
        match step {
            login::Step::More => self.client_sends(id),
            login::Step::Wrong(text) => self.client_violated(id, &text),
            login::Step::Refused(code, text) => self.client_dismissed(id, &code, &text),
            login::Step::In => {
                let Stage::LoggingIn(login) = std::mem::replace(&mut client.stage, Stage::Away)
                else {
                    return;
                };
                let Login { parameters, told, key, user, .. } = *login;
                if client.expects.is_some() {
                    self.client_violated(id, "it was let in");
                }
                let session = Session::new(false, user, parameters);
                for (name, value) in session.reported() {
                    if told.get(name) != Some(&value) {
                        let text = format!("it was told of its session {told:?}, not {value}");
                        self.client_violated(id, &text);
                    }
                }
                let client = &mut self.clients[id];
                client.user = user;
                client.key = key;
                client.since = now;
                client.stage = Stage::In(Box::new(Judge::new(session, told)));
                self.logins += 1;
            }
        }
    }

    /// A client was told that its connection ends.
    fn client_dismissed(&mut self, id: usize, code: &str, text: &str) {
        let now = self.now();
        let client = &mut self.clients[id];
        let waited = now - client.since;
        let is_right = match code {
            sqlstate::TOO_MANY_CONNECTIONS => {
                // Who would wait in vain for the next try to open one is told at once.
                self.had_outage || waited + super::LATE >= ACQUIRE_TIMEOUT
            }
            sqlstate::CONNECTION_FAILURE | sqlstate::ADMIN_SHUTDOWN => client.lost,
            sqlstate::CANNOT_CONNECT => client.lost || self.had_outage,
            sqlstate::LIMIT_EXCEEDED => true,
            _ => false,
        };
        let is_login = client.expects == Some(sqlstate::INVALID_AUTHORIZATION);
        let is_late = !is_login || waited + super::LATE >= LOGIN_TIMEOUT;
        if !(is_right || client.expects == Some(code) && is_late) {
            let text = format!("it was dismissed after {waited:?} for no reason: {code}: {text}");
            self.client_violated(id, &text);
        }
        *self.dismissed.entry(code.to_owned()).or_default() += 1;
        let client = &mut self.clients[id];
        self.trace.note(Note::Dismissed { client: client.number });
        client.lost = true;
        client.stage = Stage::Leaving;
        client.since = now;
        client.script.clear();
    }

    fn client_sees_end(&mut self, id: usize) {
        let client = &mut self.clients[id];
        let is_cut = !client.inbox.is_empty();
        let is_right = match &client.stage {
            Stage::Leaving => true,
            // Half a message, and nothing can be said behind it.
            Stage::In(_) => client.lost && is_cut,
            _ => false,
        };
        if !is_right {
            self.client_violated(id, "its connection ended without a word");
        }
        self.client_goes(id, false);
    }

    /// The connection is closed from this end, and another comes later.
    fn client_goes(&mut self, id: usize, breaks: bool) {
        let client = &mut self.clients[id];
        client.stage = Stage::Away;
        client.inbox.clear();
        client.outbox.clear();
        client.script.clear();
        let mut network = self.network.borrow_mut();
        if let Some(conn) = client.conn.take() {
            network.peer_closes(conn, breaks);
        }
        let after = Duration::from_micros(client.random.within(50, 30_000));
        network.schedule(after, Event::Client(id));
    }

    /// Goes on with the script as far as it can.
    fn client_acts(&mut self, id: usize) {
        loop {
            let now = self.now();
            let client = &mut self.clients[id];
            let Stage::In(judge) = &mut client.stage else { return };
            if client.is_pausing {
                return;
            }
            let Some(step) = client.script.front().cloned() else {
                if !judge.is_settled() {
                    return;
                }
                return self.client_begins(id);
            };
            match step {
                Step::Settle => {
                    if !judge.is_settled() {
                        return;
                    }
                    client.since = now;
                }
                Step::Send(messages) => {
                    if judge.is_settled() {
                        client.since = now;
                    }
                    if client.expects.is_none() {
                        judge.sent(&messages.0);
                    }
                    client.outbox.extend_from_slice(&messages.0);
                    client.script.pop_front();
                    self.client_sends(id);
                    if self.clients[id].expects.is_some() {
                        return;
                    }
                    continue;
                }
                Step::Pause(length) => {
                    client.script.pop_front();
                    client.is_pausing = true;
                    return self.network.borrow_mut().schedule(length, Event::Client(id));
                }
                Step::Cancel => {
                    client.script.pop_front();
                    self.client_cancels(id);
                    continue;
                }
                Step::Expect(code) => client.expects = Some(code),
                Step::Leave(leave) => return self.client_leaves(id, leave),
            }
            self.clients[id].script.pop_front();
        }
    }

    fn client_begins(&mut self, id: usize) {
        if self.is_closing {
            return self.client_leaves(id, Leave::Politely);
        }
        let held = self.clients.iter().filter(|client| client.is_held()).count();
        let client = &mut self.clients[id];
        let Stage::In(judge) = &mut client.stage else { return };
        if judge.session.tx() != TxStatus::Idle {
            // What was to end the transaction was cancelled.
            client.script.extend(script::give_up());
            return self.client_acts(id);
        }
        let mut author = Author {
            random: &mut client.random,
            session: &judge.session,
            number: client.number,
            counter: &mut client.counter,
            may_hold: held < self.may_hold,
        };
        let mut steps = author.unit();
        let micros = match client.random.below(20) {
            0 => client.random.within(10_000, 400_000),
            1..8 => client.random.within(100, 10_000),
            _ => 0,
        };
        steps.push(Step::Pause(Duration::from_micros(micros)));
        client.script.extend(steps);
        self.client_acts(id);
    }

    fn client_leaves(&mut self, id: usize, leave: Leave) {
        let client = &mut self.clients[id];
        self.trace.note(Note::Leaves { client: client.number, leave: leave as u8 });
        let Some(conn) = client.conn else { return };
        if leave == Leave::Politely {
            client.outbox.extend_from_slice(b"X\0\0\0\x04");
            self.client_sends(id);
        }
        if leave == Leave::Half {
            self.network.borrow_mut().peer_shuts(conn);
            let client = &mut self.clients[id];
            client.stage = Stage::Leaving;
            client.lost = false;
            client.expects = None;
            return;
        }
        self.client_goes(id, leave == Leave::Broken);
    }

    fn client_cancels(&mut self, id: usize) {
        let client = &mut self.clients[id];
        if client.canceller.is_some() {
            return;
        }
        let Stage::In(judge) = &mut client.stage else { return };
        judge.cancels();
        let conn = self.network.borrow_mut().open(Peer::Canceller(id), Connect::Done);
        client.canceller = Some(conn);
        let stream = Stream::new(&self.network, conn);
        let core = self.random.below(self.workers.len());
        self.post.borrow_mut()[core].push_back(Mail::Client(stream, Via::Tcp));
        let client = &self.clients[id];
        let mut request = Vec::new();
        startup::put_cancel(&mut request, client.key.0, &client.key.1);
        self.trace.note(Note::Cancels { client: client.number });
        self.network.borrow_mut().peer_writes(conn, &request);
    }

    /// A cancel request's connection has ended, or not yet.
    pub(super) fn canceller_looks(&mut self, id: usize, conn: Conn) {
        let mut network = self.network.borrow_mut();
        network.peer_looks(conn);
        if !network.peer_sees_end(conn) {
            return;
        }
        network.peer_closes(conn, false);
        let client = &mut self.clients[id];
        client.canceller = None;
        if let Stage::In(judge) = &mut client.stage {
            judge.has_cancelled();
        }
    }

    /// Nobody waits for ever.
    pub(super) fn look_for_forgotten_clients(&self) {
        let now = self.now();
        for client in &self.clients {
            let waits = match &client.stage {
                Stage::Away => false,
                Stage::LoggingIn(_) | Stage::Leaving => true,
                Stage::In(judge) => {
                    !judge.session.is_idle() && matches!(client.script.front(), Some(Step::Settle))
                }
            };
            if waits && now - client.since > PATIENCE {
                let waited = now - client.since;
                violated(
                    Invariant::NothingLost,
                    format!("it waits since {waited:?} for an answer: {}", client.story()),
                );
            }
        }
    }

    fn client_violated(&self, id: usize, text: &str) -> ! {
        violated(Invariant::OwnAnswers, format!("{text}: {}", self.clients[id].story()));
    }
}
