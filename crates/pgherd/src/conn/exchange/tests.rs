use std::collections::{HashMap, VecDeque};

use pgherd_wire::TxStatus;
use pgherd_wire::frame::{HEADER, put};
use pgherd_wire::frontend::{Bind, Parse};
use proptest::prelude::*;

use super::super::cutter::{Cutter, Piece};
use super::super::heard::WireState;
use super::*;

type Message = (u8, Vec<u8>);

fn bytes(messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, body) in messages {
        put(&mut out, *tag, |out| out.extend_from_slice(body));
    }
    out
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let (mut cutter, mut left, mut all) = (Cutter::default(), bytes, Vec::new());
    while let Some(piece) = cutter.next(&mut left, |_| true).unwrap() {
        let Piece::Whole(message) = piece else { unreachable!("all are wanted") };
        all.push((message[0], message[HEADER..].to_vec()));
    }
    all
}

/// What the driver writes, by type bytes. Parse, Bind and Close are of a copy that is prepared.
fn written(tags: &str) -> Vec<u8> {
    let body: fn(u8) -> &'static [u8] = |tag| match tag {
        b'P' => b"s1\0COPY t FROM STDIN\0\0\0",
        b'B' => b"\0s1\0\0\0\0\0\0\0",
        b'D' | b'C' => b"Ss1\0",
        b'Q' => b"copy t from stdin\0",
        b'f' => b"\0",
        _ => b"",
    };
    bytes(&tags.bytes().map(|tag| (tag, body(tag).to_vec())).collect::<Vec<_>>())
}

/// What the backend answers, by type bytes.
fn answered(tags: &str) -> Vec<u8> {
    let body: fn(u8) -> &'static [u8] = |tag| match tag {
        b'C' => b"COPY 1\0",
        b'E' => b"SERROR\0\0",
        b'Z' => b"I",
        _ => b"",
    };
    bytes(&tags.bytes().map(|tag| (tag, body(tag).to_vec())).collect::<Vec<_>>())
}

fn tags(bytes: &[u8]) -> String {
    messages(bytes).iter().map(|(tag, _)| char::from(*tag)).collect()
}

fn logged_in(is_pooled: bool) -> Exchange {
    let mut exchange = Exchange::new(Tap::new(None));
    exchange.write(b"\0\0\0\x08\0\x03\0\0").unwrap();
    assert_eq!(go(&mut exchange).len(), 8);
    let mut welcome = bytes(&[(b'K', vec![0, 0, 0, 7, 1, 2, 3, 4]), (b'Z', b"I".to_vec())]);
    assert_eq!(exchange.read(&mut welcome).unwrap(), welcome.len());
    exchange.tap.heard().find_pooler(Some(if is_pooled { 8 } else { 7 }));
    exchange
}

/// Writes what there is to be written.
fn go(exchange: &mut Exchange) -> Vec<u8> {
    let mut all = Vec::new();
    while !exchange.outgoing().is_empty() {
        let outgoing = exchange.outgoing().to_vec();
        exchange.on_written(outgoing.len()).unwrap();
        all.extend(outgoing);
    }
    all
}

/// A conversation line by line: of either end, and then what the backend gets.
fn converse(exchange: &mut Exchange, lines: &[(End, &str, &str)]) {
    for (end, said, sent) in lines {
        match end {
            End::Driver => exchange.write(&written(said)).unwrap(),
            End::Backend => drop(exchange.read(&mut answered(said)).unwrap()),
        }
        assert_eq!(tags(&go(exchange)), *sent, "after {said} of the {end:?}");
    }
}

#[derive(Debug, Clone, Copy)]
enum End {
    Driver,
    Backend,
}
use End::{Backend as B, Driver as D};

/// One whose driver has prepared the copy.
fn prepared() -> Exchange {
    let mut exchange = logged_in(false);
    converse(&mut exchange, &[(D, "PDS", "PDS"), (B, "1tnZ", "")]);
    exchange
}

#[test]
fn what_passes_in_part_is_followed_by_the_rest() {
    let mut exchange = logged_in(false);
    let (first, second) = (written("Q"), written("BES"));
    // The first after the login is looked at for a pooler.
    exchange.write(&[]).unwrap();
    assert!(exchange.passes(&first));
    exchange.on_passed(&first, 7);
    assert!(!exchange.passes(&second), "it would come before the rest");
    exchange.write(&second).unwrap();
    assert_eq!(go(&mut exchange), [&first[7..], &second].concat());
    assert_eq!(exchange.tap.heard().standing().0, WireState::Owing);
    exchange.read(&mut answered("CZ2CZ")).unwrap();
    assert_eq!(exchange.tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
}

#[test]
fn what_follows_a_copy_that_was_refused_passes() {
    let mut exchange = prepared();
    assert!(exchange.passes(&written("Q")) && !exchange.passes(&written("BES")), "it may copy");
    exchange.write(&written("BES")).unwrap();
    assert!(!exchange.passes(&written("Q")), "it is not answered");
    go(&mut exchange);
    converse(&mut exchange, &[(B, "E", "S"), (B, "Z", "")]);
    assert!(exchange.passes(&written("Q")));
}

#[test]
fn what_follows_a_copy_is_written_when_that_has_been_answered() {
    converse(
        &mut prepared(),
        &[
            (D, "BES", "BEH"),
            (B, "2G", ""),
            (D, "dd", "dd"),
            (D, "cSCS", "cS"),
            (B, "C", ""),
            (B, "Z", "CS"),
            // The name is free again.
            (D, "BES", "BES"),
        ],
    );
}

#[test]
fn a_copy_given_up_before_it_has_begun_is_given_up_when_it_has() {
    let lines =
        [(D, "BESfSCS", "BEH"), (B, "2G", "fS"), (B, "E", ""), (B, "Z", "CS"), (B, "3Z", "")];
    converse(&mut prepared(), &lines);
}

#[test]
fn a_copy_that_is_refused_is_answered_once() {
    converse(
        &mut prepared(),
        &[
            (D, "BES", "BEH"),
            (B, "2E", "S"),
            (B, "Z", ""),
            (D, "fS", ""),
            (D, "BES", "BEH"),
            (D, "fSCS", ""),
            (B, "2E", "S"),
            (B, "Z", "CS"),
        ],
    );
}

#[test]
fn a_copy_that_fails_at_its_begin_or_half_way_is_answered_once() {
    // With the error comes all that there is to know.
    let lines =
        [(D, "BES", "BEH"), (B, "2GE", "S"), (D, "dd", ""), (B, "Z", ""), (D, "dfSCS", "CS")];
    converse(&mut prepared(), &lines);
    for data in ["", "d"] {
        let lines = [
            (D, "BES", "BEH"),
            (B, "2G", ""),
            (D, data, data),
            (B, "E", ""),
            (D, "dfSCS", "dfS"),
            (B, "Z", "CS"),
        ];
        converse(&mut prepared(), &lines);
    }
}

#[test]
fn a_copy_out_is_asked_for_its_end_when_that_is_there() {
    let lines = [(D, "BESCS", "BEH"), (B, "2Hdd", ""), (B, "cC", "S"), (B, "Z", "CS")];
    converse(&mut prepared(), &lines);
}

#[test]
fn without_a_pooler_nothing_else_waits() {
    let lines = [(D, "QSQ", "QSQ"), (D, "PDSPDS", "PDSPDS"), (B, "GEZ", "")];
    converse(&mut logged_in(false), &lines);
}

#[test]
fn behind_a_pooler_batches_leave_one_by_one() {
    converse(
        &mut logged_in(true),
        &[
            (D, "PDSPDSX", "PDS"),
            (B, "1tn", ""),
            (B, "Z", "PDS"),
            (B, "1tnZ", "X"),
            (D, "BESfSQ", "PBEH"),
            (B, "12G", "fS"),
            (B, "EZ", "Q"),
            // It is for the backend to say that there is no way on.
            (D, "PDS", ""),
            (B, "G", "PDS"),
        ],
    );
}

#[test]
fn behind_a_pooler_the_close_of_a_statement_is_answered_at_once_and_in_its_turn() {
    let mut exchange = logged_in(true);
    let lines = [(D, "PDS", "PDS"), (D, "CSCSQ", ""), (B, "1tn", "")];
    converse(&mut exchange, &lines);
    assert!(exchange.made_up().is_empty());
    converse(&mut exchange, &[(B, "Z", "Q")]);
    assert_eq!(tags(exchange.made_up()), "3Z3Z");
}

#[test]
fn a_part_of_an_answer_sets_nothing_free_that_another_waits_for() {
    let mut exchange = prepared();
    exchange.write(&written("PDSBES")).unwrap();
    // The socket takes the copy late: all that was written until then is answered.
    exchange.on_written(written("PDS").len()).unwrap();
    exchange.read(&mut answered("1tnZ")).unwrap();
    assert_eq!(tags(exchange.outgoing()), "BEH");
    assert_eq!(tags(&go(&mut exchange)), "BEH");
    converse(&mut exchange, &[(B, "2G", ""), (D, "cS", "cS")]);
}

#[test]
fn while_something_waits_an_answer_is_owed() {
    let mut exchange = logged_in(true);
    // Closing a portal changes nothing, and is not waited for.
    exchange.write(&bytes(&[(b'C', b"P\0".to_vec()), (b'S', Vec::new())])).unwrap();
    go(&mut exchange);
    assert_eq!(exchange.tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
    converse(&mut exchange, &[(D, "QCS", "")]);
    assert_eq!(exchange.tap.heard().standing().0, WireState::Owing);
    exchange.read(&mut answered("3Z")).unwrap();
    let standing = exchange.tap.heard().standing().0;
    assert_eq!(standing, WireState::Owing, "it is set free, and not written yet");
    assert_eq!(tags(&go(&mut exchange)), "Q");
    converse(&mut exchange, &[(B, "C", "")]);
    assert_eq!(exchange.tap.heard().standing().0, WireState::Owing);
    converse(&mut exchange, &[(B, "Z", "")]);
    assert_eq!(exchange.tap.heard().standing().0, WireState::Settled(TxStatus::Idle));

    // Until the driver has ended a copy that has failed.
    converse(
        &mut exchange,
        &[(D, "PDS", "PDS"), (B, "1tnZ", ""), (D, "BES", "PBEH"), (B, "12G", ""), (B, "E", "")],
    );
    assert_eq!(exchange.tap.heard().standing().0, WireState::Owing);
    converse(&mut exchange, &[(D, "fS", "fS"), (B, "Z", "")]);
    assert_eq!(exchange.tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
}

#[test]
fn what_waits_for_an_answer_has_a_bound() {
    let mut exchange = prepared();
    converse(&mut exchange, &[(D, "BES", "BEH")]);
    let rest = bytes(&[(b'Q', vec![b' '; WAITING_LIMIT])]);
    exchange.write(&rest).unwrap();
    assert!(exchange.is_full());
    converse(&mut exchange, &[(B, "2C", "S")]);
    exchange.read(&mut answered("Z")).unwrap();
    assert_eq!(go(&mut exchange), rest);
    assert!(!exchange.is_full());
}

/// A request of the driver. It closes the statement behind it, if that was prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Query,
    Rows,
    CopyOut,
    CopyIn { fate: Fate, end: CopyEnd },
}

/// What the backend makes of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    Refused,
    /// After it has asked for data, and before it reads any.
    FailsAtOnce,
    FailsAtData,
}

/// What becomes of it on our side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CopyEnd {
    Finished,
    Dropped,
    DroppedBeforeItBegan,
}

impl Ask {
    fn sql(self) -> &'static [u8] {
        match self {
            Self::Query | Self::Rows => b"select",
            Self::CopyOut => b"copy to",
            Self::CopyIn { fate: Fate::Works, .. } => b"copy from, works",
            Self::CopyIn { fate: Fate::Refused, .. } => b"copy from, refused",
            Self::CopyIn { fate: Fate::FailsAtOnce, .. } => b"copy from, fails at once",
            Self::CopyIn { fate: Fate::FailsAtData, .. } => b"copy from, fails at data",
        }
    }
}

/// A driver like tokio-postgres: it counts on one answer for each request, and writes the next
/// request when the data of a copy have ended.
struct Driver {
    asks: Vec<Ask>,
    written: u8,
    // Whose answer has not ended: asks by their number, and their Closes.
    unanswered: VecDeque<(u8, Part)>,
    copying: Option<Copying>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Run,
    Close,
}

#[derive(Clone, Copy)]
struct Copying {
    ask: u8,
    end: CopyEnd,
    is_begun: bool,
}

impl Driver {
    fn write(&mut self) -> Vec<Message> {
        let Some(Copying { ask, end, is_begun }) = self.copying else { return self.ask() };
        let (data, end) = match end {
            CopyEnd::Finished if is_begun => (true, b'c'),
            CopyEnd::Dropped if is_begun => (true, b'f'),
            CopyEnd::DroppedBeforeItBegan => (false, b'f'),
            _ => return Vec::new(),
        };
        self.copying = None;
        let data = data.then(|| (b'd', b"1".to_vec()));
        let end = [(end, b"\0".to_vec()), (b'S', Vec::new())];
        data.into_iter().chain(end).chain(self.close(ask)).collect()
    }

    fn ask(&mut self) -> Vec<Message> {
        let number = self.written;
        let Some(&ask) = self.asks.get(usize::from(number)) else { return Vec::new() };
        self.written += 1;
        self.unanswered.push_back((number, Part::Run));
        if ask == Ask::Query {
            return vec![(b'Q', vec![number; 10])];
        }
        let run = [
            (b'P', [&[name(number), 0], ask.sql(), b"\0\0\0"].concat()),
            (b'B', vec![0, name(number), 0, 0, 0, 0, 0, 0, 0]),
            (b'E', vec![number]),
            (b'S', Vec::new()),
        ];
        if let Ask::CopyIn { end, .. } = ask {
            self.copying = Some(Copying { ask: number, end, is_begun: false });
            return run.into();
        }
        run.into_iter().chain(self.close(number)).collect()
    }

    fn close(&mut self, ask: u8) -> [Message; 2] {
        self.unanswered.push_back((ask, Part::Close));
        [(b'C', vec![b'S', name(ask), 0]), (b'S', Vec::new())]
    }

    fn read(&mut self, (tag, body): Message) {
        let front @ (ask, part) = *self.unanswered.front().expect("an answer to nothing");
        let expected = match tag {
            b'Z' => self.unanswered.pop_front().unwrap(),
            b'3' => (ask, Part::Close),
            b'D' | b'C' | b'G' | b'H' => (body[0], Part::Run),
            _ => (ask, Part::Run),
        };
        assert_eq!(front, expected, "{} for another", char::from(tag));
        if let Some(copying) = self.copying.as_mut().filter(|it| (it.ask, Part::Run) == (ask, part))
        {
            copying.is_begun |= tag == b'G';
            if tag == b'E' {
                // Whoever wants to copy learns of it, and gives up.
                copying.end = CopyEnd::DroppedBeforeItBegan;
            }
        }
    }
}

/// Of the statement of an ask.
fn name(ask: u8) -> u8 {
    b'a' + ask
}

/// A backend, message by message.
#[derive(Default)]
struct Backend {
    statements: HashMap<Vec<u8>, Vec<u8>>,
    bound: Option<Vec<u8>>,
    copying: Option<u8>,
    is_skipping: bool,
}

impl Backend {
    fn take(&mut self, (tag, body): &Message) -> Vec<Message> {
        if let Some(ask) = self.copying {
            return self.take_in_copy(*tag, ask);
        }
        match tag {
            b'S' => {
                (self.is_skipping, self.bound) = (false, None);
                vec![(b'Z', b"I".to_vec())]
            }
            _ if self.is_skipping => Vec::new(),
            b'P' => {
                let Parse { name, sql, .. } = Parse::read(body).unwrap();
                self.statements.insert(name.to_owned(), sql.to_owned());
                vec![(b'1', Vec::new())]
            }
            b'B' => {
                let bound = self.statements.get(Bind::read(body).unwrap().statement);
                self.bound = Some(bound.expect("its Parse went elsewhere").clone());
                vec![(b'2', Vec::new())]
            }
            b'C' => vec![(b'3', Vec::new())],
            b'Q' => {
                self.bound = Some(b"select".to_vec());
                [self.execute(body[0]), self.take(&(b'S', Vec::new()))].concat()
            }
            b'E' => self.execute(body[0]),
            _ => Vec::new(),
        }
    }

    fn take_in_copy(&mut self, tag: u8, ask: u8) -> Vec<Message> {
        match tag {
            b'd' if self.bound.as_ref().unwrap().ends_with(b"at data") => self.fail(),
            b'd' | b'S' | b'H' => Vec::new(),
            b'f' => self.fail(),
            b'c' => {
                self.copying = None;
                vec![(b'C', vec![ask])]
            }
            other => panic!("{} in a copy ends the session", char::from(other)),
        }
    }

    fn execute(&mut self, ask: u8) -> Vec<Message> {
        let answer = |tags: &str| tags.bytes().map(|tag| (tag, vec![ask])).collect::<Vec<_>>();
        match &self.bound.as_ref().expect("its Bind went elsewhere")[..] {
            b"select" => answer("DC"),
            b"copy to" => answer("HdcC"),
            b"copy from, refused" => self.fail(),
            b"copy from, fails at once" => [answer("G"), self.fail()].concat(),
            _ => {
                self.copying = Some(ask);
                answer("G")
            }
        }
    }

    fn fail(&mut self) -> Vec<Message> {
        (self.copying, self.is_skipping) = (None, true);
        vec![(b'E', b"SERROR\0\0".to_vec())]
    }
}

/// PgBouncer 1.18 in transaction mode, as it counts in `handle_client_work`, `handle_server_work`
/// and `server_proto`, with two backends in turn. Or, without `pools`, a line to one of them.
#[derive(Default)]
struct Pooler {
    pools: bool,
    linked: Option<usize>,
    next: usize,
    expected: usize,
    is_copying: bool,
    to_backends: [VecDeque<Message>; 2],
    to_client: VecDeque<Message>,
}

impl Pooler {
    fn on_client(&mut self, message: Message) {
        let at = *self.linked.get_or_insert_with(|| {
            self.next = 1 - self.next;
            self.next
        });
        self.expected += usize::from(matches!(message.0, b'S' | b'Q'));
        self.to_backends[at].push_back(message);
    }

    fn on_backend(&mut self, from: usize, message: Message) {
        assert_eq!(self.linked, Some(from), "{} for nobody", char::from(message.0));
        match message.0 {
            b'G' | b'H' => self.is_copying = true,
            b'E' | b'C' if std::mem::take(&mut self.is_copying) => self.expected = 0,
            b'Z' => self.expected = self.expected.saturating_sub(1),
            _ => {}
        }
        if self.pools && message.0 == b'Z' && self.expected == 0 {
            self.linked = None;
        }
        self.to_client.push_back(message);
    }
}

/// All of them, and what is on its way between them.
struct Scene {
    driver: Driver,
    exchange: Exchange,
    to_pooler: VecDeque<Message>,
    pooler: Pooler,
    backends: [Backend; 2],
    from_backends: [VecDeque<Message>; 2],
}

impl Scene {
    fn new(asks: Vec<Ask>, pools: bool) -> Self {
        let unanswered = VecDeque::new();
        Self {
            driver: Driver { asks, written: 0, unanswered, copying: None },
            exchange: logged_in(pools),
            to_pooler: VecDeque::new(),
            pooler: Pooler { pools, ..Pooler::default() },
            backends: Default::default(),
            from_backends: Default::default(),
        }
    }

    /// One of them does something, if there is something to do.
    fn step(&mut self, who: u8) {
        match who {
            // Cut somewhere.
            0 => bytes(&self.driver.write())
                .chunks(7)
                .for_each(|bytes| self.exchange.write(bytes).unwrap()),
            // Whole, as from a socket that takes all.
            9 => {
                let bytes = bytes(&self.driver.write());
                if self.exchange.passes(&bytes) {
                    self.exchange.on_passed(&bytes, bytes.len());
                    self.to_pooler.extend(messages(&bytes));
                } else {
                    self.exchange.write(&bytes).unwrap();
                }
            }
            1 => {
                if let Some(message) = self.to_pooler.pop_front() {
                    self.pooler.on_client(message);
                }
            }
            2 | 3 => {
                let at = usize::from(who - 2);
                if let Some(message) = self.pooler.to_backends[at].pop_front() {
                    self.from_backends[at].extend(self.backends[at].take(&message));
                }
            }
            4 | 5 => {
                let at = usize::from(who - 4);
                if let Some(answer) = self.from_backends[at].pop_front() {
                    self.pooler.on_backend(at, answer);
                }
            }
            // One answer, or what there is.
            6 => {
                let answer = self.pooler.to_client.pop_front();
                self.read(bytes(&Vec::from_iter(answer)));
            }
            7 => {
                let answers = std::mem::take(&mut self.pooler.to_client);
                self.read(bytes(&Vec::from(answers)));
            }
            _ => self.to_pooler.extend(messages(&go(&mut self.exchange))),
        }
    }

    fn read(&mut self, mut answer: Vec<u8>) {
        // Made up before that has come.
        let mut heard = std::mem::take(self.exchange.made_up());
        let kept = self.exchange.read(&mut answer).unwrap();
        heard.extend_from_slice(&answer[..kept]);
        messages(&heard).into_iter().for_each(|message| self.driver.read(message));
    }
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let fates = [Fate::Works, Fate::Refused, Fate::FailsAtOnce, Fate::FailsAtData];
    let ends = [CopyEnd::Finished, CopyEnd::Dropped, CopyEnd::DroppedBeforeItBegan];
    let copy_in = (prop::sample::select(fates.to_vec()), prop::sample::select(ends.to_vec()))
        .prop_map(|(fate, end)| Ask::CopyIn { fate, end });
    let ask = prop_oneof![
        Just(Ask::Query),
        Just(Ask::Rows),
        Just(Ask::CopyOut),
        copy_in.clone(),
        copy_in
    ];
    prop::collection::vec(ask, 1..6)
}

proptest! {
    #[test]
    fn each_request_has_its_own_answer_also_through_a_pooler_that_miscounts(
        asks in asks(),
        pools in any::<bool>(),
        order in prop::collection::vec(0..10_u8, 0..400),
    ) {
        let mut scene = Scene::new(asks, pools);
        // Afterwards, what is under way comes to its end.
        for who in order.into_iter().chain((0..10).cycle().take(5000)) {
            scene.step(who);
        }
        let Scene { driver, pooler, .. } = scene;
        prop_assert_eq!(usize::from(driver.written), driver.asks.len());
        prop_assert!(driver.unanswered.is_empty(), "unanswered: {:?}", driver.unanswered);
        prop_assert!(!pools || (pooler.linked, pooler.expected) == (None, 0));
    }
}
