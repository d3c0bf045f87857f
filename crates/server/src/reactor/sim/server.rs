//! Nodes, and a process of each for every connection: they answer, stall and die.

use std::collections::{BTreeMap, HashMap};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgherd_wire::backend::{self, Authentication, Report, Severity};
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, AwaitingProof, DEFAULT_ITERATIONS, Secret, ServerExchange};
use pgherd_wire::startup::{self, FirstPacket, PROTOCOL_3_0};
use pgherd_wire::{Frame, HEADER, TxStatus, sqlstate};

use super::invariants::{Invariant, violated};
use super::network::{Conn, Connect, Event, Network, Peer};
use super::random::Random;
use super::session::{Session, Tag};
use super::trace::Note;
use super::world::{PASSWORD, World};

/// Bytes that a process gathers before it sends them unasked.
const GATHERED: usize = 8192;

/// One PostgreSQL server.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) is_standby: bool,
    /// Whether it refuses connections.
    pub(super) is_down: bool,
    /// Nothing happens there before.
    pub(super) frozen_until: Instant,
    /// The SQLSTATE that it refuses logins with.
    pub(super) refuses: Option<&'static str>,
    /// Asks for a password.
    pub(super) is_wary: bool,
    /// Speaks 3.2.
    pub(super) is_new: bool,
}

#[derive(Debug)]
enum Stage {
    Startup,
    Sasl,
    Proof(Box<AwaitingProof>),
    In(Box<Session>),
}

/// One process, which serves one connection.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) node: usize,
    stage: Stage,
    pid: u32,
    secret: Vec<u8>,
    // Who it has logged in, and with which parameters.
    login: String,
    asked: BTreeMap<String, String>,
    // It serves whom it was opened for, and nobody else.
    replicates: bool,
    inbox: Vec<u8>,
    gathered: Vec<u8>,
    outbox: Vec<u8>,
    // It has put off the next step, and may be cancelled; or has waited for it.
    waits: bool,
    has_waited: bool,
    /// Whose statement it was sent last, by number.
    pub(super) user: Option<u32>,
    // The same, of what it was sent since its session was at rest, and what it held then.
    turn_of: Option<u32>,
    leftovers: Option<String>,
}

impl Process {
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::In(session) => Some(session),
            _ => None,
        }
    }
}

/// All nodes, their processes, and what was written.
#[derive(Debug, Default)]
pub(super) struct Servers {
    pub(super) nodes: Vec<Node>,
    pub(super) processes: BTreeMap<Conn, Process>,
    /// How many times the insert of each tag was committed.
    pub(super) written: HashMap<Tag, u32>,
    /// Backends that were opened, and cancel requests.
    pub(super) logins: u64,
    pub(super) cancels: u64,
    pub(super) next_pid: u32,
}

/// How a process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Death {
    /// With an error that says so.
    Told,
    /// The connection breaks.
    Broken,
    /// The connection ends, perhaps in the middle of a message.
    Cut,
}

fn secret() -> Secret {
    static SECRET: OnceLock<Secret> = OnceLock::new();
    let make = || Secret::from_password(PASSWORD, b"salt of a node..", DEFAULT_ITERATIONS);
    SECRET.get_or_init(make).clone()
}

impl World {
    /// A connect of the proxy's has reached its node.
    pub(super) fn node_is_asked(&mut self, conn: Conn) {
        let mut network = self.network.borrow_mut();
        let Some(Peer::Node(at)) = network.peer_of(conn) else { return };
        if self.servers.nodes[at].is_down {
            return network.refuse(conn);
        }
        network.connects(conn, Connect::Done);
        self.servers.next_pid += 1;
        let pid = self.servers.next_pid;
        let mut secret = vec![0; if self.servers.nodes[at].is_new { 32 } else { 4 }];
        self.random.fill(&mut secret);
        let process = Process {
            node: at,
            stage: Stage::Startup,
            pid,
            secret,
            login: String::new(),
            asked: BTreeMap::new(),
            replicates: false,
            inbox: Vec::new(),
            gathered: Vec::new(),
            outbox: Vec::new(),
            waits: false,
            has_waited: false,
            user: None,
            turn_of: None,
            leftovers: None,
        };
        self.servers.processes.insert(conn, process);
    }

    /// A process looks at its connection.
    pub(super) fn process_looks(&mut self, conn: Conn) {
        let mut network = self.network.borrow_mut();
        network.peer_looks(conn);
        let Some(process) = self.servers.processes.get_mut(&conn) else { return };
        let thaws = self.servers.nodes[process.node].frozen_until;
        if thaws > network.now {
            let after = thaws - network.now;
            return network.schedule(after, Event::Server(conn));
        }
        // First: whoever has said enough listens again once that is gone, and is not told so twice.
        process.send(conn, &mut network);
        if process.outbox.len() < GATHERED {
            network.peer_reads(conn, usize::MAX, &mut process.inbox);
        }
        drop(network);
        self.process_goes_on(conn);
    }

    /// What a process has put off is done.
    pub(super) fn process_wakes(&mut self, conn: Conn) {
        let now = self.now();
        let Some(process) = self.servers.processes.get_mut(&conn) else { return };
        let thaws = self.servers.nodes[process.node].frozen_until;
        if thaws > now {
            return self.network.borrow_mut().schedule(thaws - now, Event::Server(conn));
        }
        process.has_waited |= std::mem::take(&mut process.waits);
        self.process_looks(conn);
    }

    fn process_goes_on(&mut self, conn: Conn) {
        let network = std::rc::Rc::clone(&self.network);
        loop {
            let Some(process) = self.servers.processes.get_mut(&conn) else { return };
            process.send(conn, &mut network.borrow_mut());
            if !process.outbox.is_empty() {
                // Once there is room again.
                if network.borrow_mut().peer_sees_end(conn) {
                    self.process_ends(conn);
                }
                return;
            }
            if process.waits {
                return;
            }
            let goes_on = match &mut process.stage {
                Stage::In(session) if !session.is_idle() => {
                    let sleep = session.sleep();
                    if session.runs() && !std::mem::take(&mut process.has_waited) {
                        let delay = sleep.max(delay(&mut self.random));
                        if !delay.is_zero() {
                            process.waits = true;
                            network.borrow_mut().schedule(delay, Event::Server(conn));
                            return;
                        }
                    }
                    session.step(&mut process.gathered);
                    let flushes = std::mem::take(&mut session.flushes);
                    if flushes || session.is_copying_in() || process.gathered.len() > GATHERED {
                        process.outbox.append(&mut process.gathered);
                    }
                    let committed = std::mem::take(&mut session.committed);
                    self.note_written(&committed);
                    true
                }
                Stage::In(_) => self.process_reads(conn),
                _ => self.process_logs_in(conn),
            };
            if !goes_on {
                break;
            }
        }
        let mut network = network.borrow_mut();
        if network.peer_sees_end(conn) && !network.peer_has_more(conn) {
            drop(network);
            self.process_ends(conn);
        }
    }

    fn process_ends(&mut self, conn: Conn) {
        if self.servers.processes.remove(&conn).is_some() {
            self.network.borrow_mut().peer_closes(conn, false);
        }
    }

    fn note_written(&mut self, tags: &[Tag]) {
        for tag in tags {
            let times = self.servers.written.entry(*tag).or_default();
            *times += 1;
            if *times > 1 {
                violated(Invariant::NothingTwice, format!("{tag} was written {times} times"));
            }
        }
    }

    /// The next message of a session; `false` if there is none.
    fn process_reads(&mut self, conn: Conn) -> bool {
        let Some(process) = self.servers.processes.get_mut(&conn) else { return false };
        let frame = Frame::read(&process.inbox, MAX_MESSAGE).expect("pgherd sends sound frames");
        let Some(frame) = frame.filter(|frame| frame.size <= process.inbox.len()) else {
            return false;
        };
        let message: Vec<u8> = process.inbox.drain(..frame.size).collect();
        if frame.tag == frontend::TERMINATE {
            self.process_ends(conn);
            return false;
        }
        let user = tag_of(&message);
        let Stage::In(session) = &mut process.stage else { return false };
        if session.is_at_rest() {
            (process.turn_of, process.leftovers) = (None, session.leftovers());
        }
        if let (Some(tag), Some(last), true) = (user, process.user, process.replicates)
            && tag.session != last
        {
            let text = format!("{tag} runs on the backend that is for c{last} alone");
            violated(Invariant::NobodyShares, text);
        }
        if let Some(tag) = user {
            if let Some(other) =
                process.turn_of.replace(tag.session).filter(|it| *it != tag.session)
            {
                let text = format!("{tag} runs on the backend that c{other} has not done with");
                violated(Invariant::NobodyShares, text);
            }
            if let Some(last) = process.user.replace(tag.session).filter(|it| *it != tag.session)
                && let Some(leftovers) = &process.leftovers
            {
                let text = format!("{tag} finds on its backend what c{last} has left: {leftovers}");
                violated(Invariant::CleanOnRelease, text);
            }
        }
        session.feed(&message);
        true
    }

    fn process_logs_in(&mut self, conn: Conn) -> bool {
        let Some(process) = self.servers.processes.get_mut(&conn) else { return false };
        let node = &self.servers.nodes[process.node];
        match std::mem::replace(&mut process.stage, Stage::Startup) {
            Stage::Startup => {
                let size = startup::size(&process.inbox).expect("pgherd sends sound packets");
                let Some(size) = size.filter(|size| *size <= process.inbox.len()) else {
                    return false;
                };
                let packet: Vec<u8> = process.inbox.drain(..size).collect();
                match startup::read(&packet).expect("pgherd sends sound packets") {
                    FirstPacket::Cancel { pid, secret } => {
                        let at = process.node;
                        self.cancel(at, pid, secret);
                        self.process_ends(conn);
                        return false;
                    }
                    FirstPacket::Startup(startup) => {
                        startup
                            .parameter("user")
                            .unwrap_or_default()
                            .clone_into(&mut process.login);
                        for (name, value) in startup.parameters {
                            match name {
                                "user" | "database" => {}
                                "replication" => process.replicates = true,
                                _ => drop(process.asked.insert(name.to_owned(), value.to_owned())),
                            }
                        }
                        if process.replicates && node.is_standby {
                            let text = "a standby is asked for replication".to_owned();
                            violated(Invariant::OwnAnswers, text);
                        }
                        if let Some(code) = node.refuses {
                            fatal(&mut process.outbox, code, "not now");
                            process.send(conn, &mut self.network.borrow_mut());
                            self.process_ends(conn);
                            return false;
                        }
                        if !node.is_new {
                            backend::put_negotiate(&mut process.outbox, PROTOCOL_3_0, &[]);
                        }
                        if node.is_wary {
                            let mechanisms = vec![scram::MECHANISM];
                            Authentication::Sasl { mechanisms }.put(&mut process.outbox);
                            process.stage = Stage::Sasl;
                        } else {
                            self.servers.logins += 1;
                            process.welcome(node.is_standby);
                        }
                    }
                    // It speaks none.
                    FirstPacket::Ssl => process.outbox.push(b'N'),
                    other @ FirstPacket::GssEncryption => panic!("pgherd asks for {other:?}"),
                }
            }
            stage => {
                let frame = Frame::read(&process.inbox, MAX_MESSAGE).expect("sound frames");
                let Some(frame) = frame.filter(|frame| frame.size <= process.inbox.len()) else {
                    process.stage = stage;
                    return false;
                };
                let message: Vec<u8> = process.inbox.drain(..frame.size).collect();
                let body = &message[HEADER..];
                match stage {
                    Stage::Proof(exchange) => {
                        let accepted = exchange.check(body).expect("pgherd knows the password");
                        Authentication::SaslFinal(accepted.server_final.as_bytes())
                            .put(&mut process.outbox);
                        self.servers.logins += 1;
                        process.welcome(node.is_standby);
                    }
                    _ => {
                        let initial = SaslInitial::read(body).expect("sound messages");
                        let mut nonce = [0; 18];
                        self.random.fill(&mut nonce);
                        let (next, reply) = ServerExchange::start(initial.data, &nonce, secret())
                            .expect("pgherd speaks SCRAM");
                        Authentication::SaslContinue(reply.as_bytes()).put(&mut process.outbox);
                        process.stage = Stage::Proof(Box::new(next));
                    }
                }
            }
        }
        true
    }

    fn cancel(&mut self, node: usize, pid: u32, secret: &[u8]) {
        self.servers.cancels += 1;
        let found = self.servers.processes.iter_mut().find(|(_, process)| {
            process.node == node && process.pid == pid && process.secret == secret
        });
        let Some((conn, process)) = found else { return };
        let conn = *conn;
        if let Stage::In(session) = &mut process.stage
            && std::mem::take(&mut process.waits)
        {
            self.trace.note(Note::Cancelled { conn, user: process.user });
            session.cancel(&mut process.gathered);
            process.has_waited = false;
            self.network.borrow_mut().schedule(Duration::ZERO, Event::Server(conn));
        }
    }

    /// A process dies.
    pub(super) fn kill(&mut self, conn: Conn, death: Death) {
        let Some(mut process) = self.servers.processes.remove(&conn) else { return };
        self.trace.note(Note::Killed { conn, death, user: process.user });
        let mut network = self.network.borrow_mut();
        if death == Death::Told {
            let code = sqlstate::ADMIN_SHUTDOWN;
            process.outbox.append(&mut process.gathered);
            fatal(&mut process.outbox, code, "terminating connection due to administrator command");
        }
        if death == Death::Cut {
            process.outbox.append(&mut process.gathered);
            let left = self.random.below(process.outbox.len() + 1);
            process.outbox.truncate(left);
        }
        if death != Death::Broken {
            process.send(conn, &mut network);
        }
        network.peer_closes(conn, death == Death::Broken);
    }
}

impl Process {
    fn send(&mut self, conn: Conn, network: &mut Network) {
        if !self.outbox.is_empty() {
            let sent = network.peer_writes(conn, &self.outbox);
            self.outbox.drain(..sent);
        }
    }

    fn welcome(&mut self, is_standby: bool) {
        let asked = std::mem::take(&mut self.asked);
        let session = Session::new(is_standby, &self.login, asked);
        let out = &mut self.outbox;
        Authentication::Ok.put(out);
        backend::put_parameter_status(out, "server_version", "15.0");
        for (name, value) in session.reported() {
            backend::put_parameter_status(out, name, &value);
        }
        backend::put_key_data(out, self.pid, &self.secret);
        backend::put_ready(out, TxStatus::Idle);
        self.stage = Stage::In(Box::new(session));
    }
}

/// How long a step takes: nearly always nothing, and now and then it waits for a lock.
fn delay(random: &mut Random) -> Duration {
    let micros = match random.below(400) {
        0 => random.within(1000, 50_000),
        1..100 => random.within(5, 300),
        _ => 0,
    };
    Duration::from_micros(micros)
}

fn fatal(out: &mut Vec<u8>, code: &str, message: &str) {
    Report { severity: Severity::Fatal, code, message, detail: "", hint: "" }.put(out);
}

/// Who has sent a message to a server, if it says so.
fn tag_of(message: &[u8]) -> Option<Tag> {
    let body = &message[HEADER..];
    match message[0] {
        frontend::QUERY | frontend::PARSE => Tag::find(&String::from_utf8_lossy(body)),
        frontend::BIND => {
            // The parameter is the only text in it with a dot.
            let parts = body.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'.');
            let texts = parts.filter_map(|part| std::str::from_utf8(part).ok());
            texts.filter(|text| text.contains('.')).find_map(Tag::read)
        }
        _ => None,
    }
}
