//! Each method with each kind of password, user and connection: what comes of it here, beside what
//! PostgreSQL and PgBouncer say, asked for real.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;

use pgherd_core::settings::AuthMethod;
use pgherd_lab::{Engine, PgBouncer, cluster};
use rustls::ClientConfig;

use super::RIGHT;
use super::people::{BARRED, Known, LOOK, People, STRANGERS, WAYS, Way};
use super::world::login::{Asks, At, Outcome, Told, log_in};

/// What is shown: a password, or where the method is `cert` a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Shown {
    Right,
    Wrong,
    Missing,
    Empty,
    /// The right password of a role that is past its `VALID UNTIL`; a certificate that is past its own.
    Expired,
}

impl Shown {
    const ALL: [Self; 5] = [Self::Right, Self::Wrong, Self::Missing, Self::Empty, Self::Expired];

    fn password(self) -> Option<&'static str> {
        match self {
            Self::Right | Self::Expired => Some(RIGHT),
            Self::Wrong => Some("nonsense"),
            Self::Missing => None,
            Self::Empty => Some(""),
        }
    }
}

/// A place in the table.
#[derive(Debug, Clone, Copy)]
struct Case {
    way: Way,
    known: Known,
    shown: Shown,
    tls: bool,
}

impl Case {
    fn all(way: Way) -> impl Iterator<Item = Self> {
        let of = move |(known, shown)| [false, true].map(|tls| Self { way, known, shown, tls });
        let cases = |known| Shown::ALL.map(|shown| (known, shown));
        let is_there = |case: &Self| case.known.is_somebody() || case.shown != Shown::Expired;
        Known::ALL.into_iter().flat_map(cases).flat_map(of).filter(is_there)
    }

    fn is_by(&self, auth: AuthMethod) -> bool {
        self.way.auth == auth
    }

    /// Whether it is over the Unix socket, and else over TCP; that is for the method `peer` what TLS is for
    /// the others.
    fn is_local(&self) -> bool {
        self.is_by(AuthMethod::Peer) && !self.tls
    }

    /// The database, if it is not one that is barred.
    fn database<'d>(&self, usual: &'d str) -> &'d str {
        let is_barred = self.is_by(AuthMethod::Peer) && self.shown == Shown::Wrong;
        if is_barred { BARRED } else { usual }
    }

    fn role(&self) -> &'static str {
        self.known.role(self.shown == Shown::Expired && !self.is_by(AuthMethod::Cert))
    }
}

/// What is meant to be otherwise here than elsewhere.
struct Difference {
    than: &'static str,
    here: &'static str,
    there: &'static str,
    is_it: fn(&Case) -> bool,
    why: &'static str,
}

const POSTGRESQL: &str = "PostgreSQL";
const PGBOUNCER: &str = "PgBouncer";

fn is_scram(case: &Case) -> bool {
    matches!(case.known, Known::Scram | Known::FoundScram)
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        than: POSTGRESQL,
        here: "28P01",
        there: "in",
        is_it: |case| {
            let without = [AuthMethod::Trust, AuthMethod::Cert, AuthMethod::Peer];
            let shows_none = without.contains(&case.way.auth);
            shows_none && (is_scram(case) || case.shown == Shown::Expired)
        },
        why: "Behind pgherd there is a node that wants a proof, too. With `trust`, `cert` and `peer` \
              the client has brought none along: a SCRAM secret alone opens no node, and nothing opens one for a \
              role that is expired there.",
    },
    Difference {
        than: POSTGRESQL,
        here: "no TLS",
        there: "28000",
        is_it: |case| case.is_by(AuthMethod::Cert) && case.shown == Shown::Missing,
        why: "Who has no certificate is told so while TLS is agreed on, before it can say who it is.",
    },
    Difference {
        than: PGBOUNCER,
        here: "in",
        there: "refused",
        is_it: |case| is_scram(case) && case.shown == Shown::Right && case.is_by(AuthMethod::Plain),
        why: "From a password in plain pgherd derives the key that opens the node; PgBouncer 1.18 does not.",
    },
    Difference {
        than: PGBOUNCER,
        here: "asks",
        there: "refused",
        is_it: |case| !case.known.is_somebody() && case.shown == Shown::Missing,
        why: "PgBouncer 1.18 tells who is unknown before it asks for a password. Here a name that does \
              not exist is asked like one that does.",
    },
];

/// An outcome, for the table.
fn word(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::In => "in",
        Outcome::Refused(code) => code,
        Outcome::Left => "asks",
        Outcome::NoTls => "no TLS",
    }
}

/// The same where PgBouncer is compared with: it has one SQLSTATE for all that goes wrong in a login.
fn rough_word(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(_) => "refused",
        other => word(other),
    }
}

/// A case, and what has come of it here and elsewhere.
struct Cell {
    case: Case,
    ours: Told,
    theirs: Vec<(&'static str, Outcome)>,
}

impl Cell {
    /// What is not the same, and not meant to be. Whatever is meant is crossed off.
    fn differs(&self, unseen: &mut Vec<&'static str>) -> Option<String> {
        let case = &self.case;
        let told = self.theirs.iter().find_map(|(than, theirs)| {
            let word = if *than == PGBOUNCER { rough_word } else { word };
            let (here, there) = (word(&self.ours.outcome), word(theirs));
            let is_meant = |one: &&Difference| {
                (one.than, one.here, one.there) == (*than, here, there) && (one.is_it)(case)
            };
            if here == there {
                return None;
            }
            match DIFFERENCES.iter().find(is_meant) {
                Some(one) => unseen.retain(|why| *why != one.why),
                None => return Some(format!("{there} by {than}")),
            }
            None
        })?;
        let Case { known, shown, tls, .. } = case;
        let (auth, here) = (case.way.auth, &self.ours);
        Some(format!("{auth}, {known:?}, {shown:?}, TLS {tls}: {told}, and here {here:?}"))
    }
}

/// The clients' side of TLS: for the method `cert` one for each certificate.
struct Clients {
    shows_none: Arc<ClientConfig>,
    show: BTreeMap<(&'static str, Shown), Arc<ClientConfig>>,
}

impl Clients {
    fn new(people: &People) -> Self {
        let encrypted = &people.encrypted;
        let shows = |shown| encrypted.client_with(Some(shown));
        let of = |role: &str| shows(encrypted.authority.client(role));
        let mut show = BTreeMap::new();
        for role in Known::ALL.map(|known| known.role(false)) {
            show.insert((role, Shown::Right), of(role));
            show.insert((role, Shown::Expired), shows(encrypted.authority.expired_client(role)));
        }
        show.insert(("", Shown::Wrong), of("somebody"));
        show.insert(("", Shown::Empty), of(""));
        Self { shows_none: encrypted.client(None), show }
    }

    fn log_in(&self, case: &Case, role: &str, at: At<'_>, database: &str) -> Told {
        let of = |role| self.show.get(&(role, case.shown));
        let shows = match case.is_by(AuthMethod::Cert) {
            true => of("").or(of(case.known.role(false))),
            false => None,
        };
        let client = case.tls.then(|| shows.unwrap_or(&self.shows_none));
        let (database, password) = (case.database(database), case.shown.password());
        log_in(at, client, Asks { user: role, database, password })
    }
}

/// One method's part of the table.
fn fill(way: Way, people: &People, clients: &Clients) -> Vec<Cell> {
    let proxies = [people.proxy(way, false), people.proxy(way, true)];
    let sockets = proxies.each_ref().map(|proxy| people.socket(proxy));
    let address = |case: &Case| {
        let which = usize::from(case.known.is_looked_up());
        match case.is_local() {
            true => At::Unix(&sockets[which]),
            false => proxies[which].address().into(),
        }
    };
    let pgbouncer = way.pgbouncer.filter(|_| !PgBouncer::is_missing());
    let pgbouncer = pgbouncer.map(|auth_type| people.pgbouncer(auth_type));
    let node = people.cluster.coordinator();
    let socket = node.socket();
    let mut cells = Vec::new();
    for case in Case::all(way) {
        let tell = |at, database| clients.log_in(&case, case.role(), at, database);
        let ours = tell(address(&case), cluster::DATABASE);
        let who = if case.is_by(AuthMethod::Any) { LOOK } else { case.role() };
        assert!(ours.outcome != Outcome::In || ours.role == who, "{case:?}: {ours:?}");
        let mut theirs = Vec::new();
        if let Some(database) = way.postgres {
            let at = if case.is_local() { At::Unix(&socket) } else { node.address().into() };
            theirs.push((POSTGRESQL, tell(at, database).outcome));
        }
        if let Some(pgbouncer) = &pgbouncer {
            let at = pgbouncer.address().into();
            theirs.push((PGBOUNCER, tell(at, cluster::DATABASE).outcome));
        }
        cells.push(Cell { case, ours, theirs });
    }
    // With these nobody shows anything, and all but `any` say who is unknown, as PostgreSQL does.
    if !matches!(way.auth, AuthMethod::Trust | AuthMethod::Any | AuthMethod::Peer) {
        for (shown, tls) in [(Shown::Wrong, false), (Shown::Wrong, true), (Shown::Empty, true)] {
            let is_it = |cell: &&Cell| {
                let Case { known, .. } = cell.case;
                (cell.case.shown, cell.case.tls) == (shown, tls) && known.is_somebody()
            };
            let (found, listed): (Vec<_>, Vec<_>) =
                cells.iter().filter(is_it).partition(|cell| cell.case.known.is_looked_up());
            for known in [found, listed] {
                let case = &known[0].case;
                let tell =
                    |role: &str| clients.log_in(case, role, address(case), cluster::DATABASE);
                assert_no_difference(&known, tell);
            }
        }
    }
    proxies.iter().for_each(|proxy| proxy.stopper().stop());
    cells
}

/// Who may not log in is told what one of those is told who are known and cannot prove it.
fn assert_no_difference(known: &[&Cell], tell: impl Fn(&str) -> Told) {
    for role in STRANGERS {
        let told = tell(role);
        let is_same = known.iter().any(|cell| cell.ours == told);
        assert!(is_same, "{role} differs from who is known: {:?}: {told:?}", known[0].case);
        assert_eq!(told, tell(role), "{role} is told the same each time");
    }
}

#[test]
fn each_method_answers_each_case_as_postgresql_or_pgbouncer_does() {
    if Engine::find().unwrap().has_no_tls() {
        return;
    }
    let people = People::new();
    let clients = Clients::new(&people);
    let cells: Vec<Cell> = std::thread::scope(|scope| {
        let (people, clients) = (&people, &clients);
        let parts = WAYS.map(|way| scope.spawn(move || fill(way, people, clients)));
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    let is_there = |one: &&Difference| one.than == POSTGRESQL || !PgBouncer::is_missing();
    let mut unseen: Vec<&str> = DIFFERENCES.iter().filter(is_there).map(|one| one.why).collect();
    let differ: Vec<String> = cells.iter().filter_map(|cell| cell.differs(&mut unseen)).collect();
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(unseen.is_empty(), "what is meant to differ does not: {unseen:#?}");
    assert_documented(&render(&cells));
}

/// The table in words: one line for all users that are answered alike.
fn render(cells: &[Cell]) -> String {
    let mut text = "\n| `listen.auth` | What is known of the user | right | wrong | missing | empty | expired |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for way in WAYS {
        let mut lines: Vec<(Vec<&str>, Vec<String>)> = Vec::new();
        for known in Known::ALL {
            let outcomes = Shown::ALL.map(|shown| outcome(cells, way, known, shown)).to_vec();
            match lines.iter_mut().find(|(_, of)| *of == outcomes) {
                Some((users, _)) => users.push(known.words()),
                None => lines.push((vec![known.words()], outcomes)),
            }
        }
        for (users, outcomes) in lines {
            let (users, outcomes) = (users.join("; "), outcomes.join(" | "));
            writeln!(text, "| `{}` | {users} | {outcomes} |", way.auth).unwrap();
        }
    }
    text += "\nIt is meant that not all of that is as elsewhere:\n\n";
    for Difference { than, here, there, why, .. } in DIFFERENCES {
        writeln!(text, "- {here} here, {there} by {than}. {why}").unwrap();
    }
    text + "\n"
}

/// What comes of a case with TLS and without.
fn outcome(cells: &[Cell], way: Way, known: Known, shown: Shown) -> String {
    let is_it = |cell: &&Cell| {
        let of = &cell.case;
        of.is_by(way.auth) && (of.known, of.shown) == (known, shown)
    };
    let words: Vec<&str> =
        cells.iter().filter(is_it).map(|cell| word(&cell.ours.outcome)).collect();
    match words[..] {
        // Nobody's password expires.
        [] => "–".to_owned(),
        [plain, within] if plain == within => plain.to_owned(),
        [local, tcp] if way.auth == AuthMethod::Peer => format!("{local}; over TCP {tcp}"),
        [plain, within] => format!("{within}; in plain {plain}"),
        _ => panic!("{words:?}"),
    }
}

const BEGIN: &str = "<!-- Written by the test of logins with PGHERD_WRITE_REFERENCE=1: -->\n";
const END: &str = "<!-- to here. -->\n";

fn assert_documented(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/logins.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    if std::env::var_os("PGHERD_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, [before, BEGIN, table, END, after].concat()).unwrap();
        return;
    }
    assert!(found == table, "docs/logins.md does not say what is so, which is:\n{table}");
}
