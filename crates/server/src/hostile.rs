//! What has to hold whatever bytes come, for property tests and fuzz targets.
//!
//! Each function takes bytes as the network gives them, panics if something does not hold, and
//! returns what was made of them: it must not depend on the pieces in which they came.

use std::sync::OnceLock;
use std::time::Instant;

use pgherd_core::Settings;
use pgherd_core::sql::{Classified, Classifier};
use pgherd_wire::replies::Show;
use pgherd_wire::{TxStatus, WireError};

use crate::admin::Rights;
use crate::admin::console::{Ask, Console, Failure, Outcome, Step};
use crate::auth::{self, Credentials, Method, Proof, Users};
use crate::backend::{self, EndPoint, Identity, KeyCache, login::LoginError};
use crate::databases::Databases;
use crate::relay::downstream::{self, Errors, Observer};
use crate::relay::survey::{self, MayRead, Survey};
use crate::relay::upstream::{self, Extent, Known};
use crate::relay::{BackendRelay, Classify, ClientRelay, Splice, StatementTable};
use crate::session::{self, Encryption, LoginStep, Rules};

/// Bytes of texts that a client of [`relay`] may have prepared.
const PREPARED: usize = 2000;

/// The only login of [`client_login`] and [`backend_login`].
pub const IDENTITY: Identity<'_> = Identity {
    user: "app",
    proof: Proof::Password(PASSWORD),
    database: "app",
    end_point: EndPoint::None,
};

/// Its password.
pub const PASSWORD: &str = "secret";

/// The same random bytes each time.
pub fn no_random(bytes: &mut [u8]) {
    bytes.fill(7);
}

/// What becomes of a client that begins so, how many bytes it was read, and what it is told.
pub fn client_login(pieces: &[&[u8]]) -> (Option<LoginStep>, usize, Vec<u8>) {
    client_login_by(Method::Scram, pieces)
}

/// For clients in plain, where nobody has failed.
pub(crate) fn rules<'r>(method: Method, users: &'r Users, databases: &'r Databases) -> Rules<'r> {
    Rules {
        method,
        users,
        databases,
        encryption: Encryption::NONE,
        hba: None,
        guard: None,
        address: None,
        is_local: false,
        system_user: None,
        now: Instant::now(),
    }
}

/// The same where it is asked for its password otherwise.
pub fn client_login_by(method: Method, pieces: &[&[u8]]) -> (Option<LoginStep>, usize, Vec<u8>) {
    // Deriving its keys takes longer than all the rest.
    static SERVED: OnceLock<(Users, Databases)> = OnceLock::new();
    let (users, databases) = SERVED.get_or_init(served);
    let rules = rules(method, users, databases);
    let (mut login, mut kept, mut told) = (session::Login::default(), Vec::new(), Vec::new());
    let mut read = 0;
    for piece in pieces {
        kept.extend_from_slice(piece);
        let (used, step) = login.on_bytes(&kept, rules, &mut no_random, &mut told);
        kept.drain(..used);
        read += used;
        if step != LoginStep::NeedMore {
            return (Some(step), read, told);
        }
        assert!(kept.len() <= 10_000, "no message of a login is longer");
        assert!(told.len() <= 10_500, "it is told no more than its own options, which are unknown");
    }
    (None, read, told)
}

fn served() -> (Users, Databases) {
    let text = "cluster = { database = \"app\" }\nuser = [{ name = \"app\" }]\n\
                node = [{ host = \"h\", role = \"coordinator\" }]";
    let settings = Settings::from_toml(text, "hostile").expect("these settings are right");
    let login = Credentials {
        name: IDENTITY.user.to_owned(),
        known: auth::Known::Password(PASSWORD.to_owned()),
        ..Credentials::default()
    };
    let users = Users::new([login], no_random);
    let databases = Databases::new(&settings, &users);
    (users, databases)
}

/// What becomes of a login at a node that answers so, and what the node is told.
pub fn backend_login(
    pieces: &[&[u8]],
) -> (Result<Option<backend::login::Welcome>, LoginError>, Vec<u8>) {
    let (mut kept, mut told) = (Vec::new(), Vec::new());
    let mut login = backend::Login::start(IDENTITY, &mut told);
    let mut keys = KeyCache::default();
    for piece in pieces {
        kept.extend_from_slice(piece);
        let step = login.on_bytes(&kept, IDENTITY, &mut keys, &mut no_random, &mut told);
        match step {
            Ok((used, backend::LoginStep::NeedMore)) => drop(kept.drain(..used)),
            Ok((_, backend::LoginStep::Ready(welcome))) => return (Ok(Some(welcome)), told),
            Err(error) => return (Err(error), told),
        }
        assert!(kept.len() <= 1024 * 1024, "no message of a login is longer");
    }
    (Ok(None), told)
}

/// Whether a node that says so asks for more than 10,000 iterations, which is allowed and takes long.
pub fn asks_for_many_iterations(said: &[u8]) -> bool {
    let digits = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    memchr::memmem::find_iter(said, b"i=").any(|at| digits(&said[at + 2..]) > 4)
}

/// What a client and its backends were told, and where that left them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    to_backend: Vec<u8>,
    to_client: Vec<u8>,
    parameters: Vec<(String, String, bool)>,
    rows: Vec<Vec<u8>>,
    end: Option<String>,
    tx: TxStatus,
    owed: usize,
    is_quiet: bool,
    is_due: bool,
    is_dirty: bool,
    prepared: usize,
}

/// A client and the backends that it is lent, line by line; `true` with the client's. An empty line
/// of a backend that is quiet: from then on it is another one.
pub fn relay(lines: &[(bool, Vec<&[u8]>)]) -> Relayed {
    let mut scene = Scene::new();
    let (mut from_client, mut from_backend) = (Vec::new(), Vec::new());
    for (asks, pieces) in lines {
        if !asks && pieces.is_empty() && scene.backend.is_quiet() && from_backend.is_empty() {
            scene.change_backend();
        }
        for piece in pieces {
            let end = match asks {
                true => {
                    from_client.extend_from_slice(piece);
                    scene.client_says(&mut from_client)
                }
                false => {
                    from_backend.extend_from_slice(piece);
                    scene.backend_says(&mut from_backend)
                }
            };
            if let Err(end) = end {
                scene.seen.end = Some(end);
                return scene.result();
            }
            assert!(scene.client.statements.bytes() <= PREPARED);
        }
    }
    scene.result()
}

struct Scene {
    client: ClientRelay,
    backend: BackendRelay,
    table: StatementTable,
    seen: Relayed,
}

impl Scene {
    fn new() -> Self {
        Self {
            client: ClientRelay::default(),
            backend: BackendRelay::default(),
            table: StatementTable::new(10 * PREPARED, PREPARED),
            seen: Relayed::default(),
        }
    }

    fn client_says(&mut self, kept: &mut Vec<u8>) -> Result<(), String> {
        loop {
            let mut out = Splice::default();
            let Self { client, backend, table, seen } = self;
            let known = &mut Known { table, judge: &mut Parser };
            let progress =
                upstream::relay(client, backend, known, kept, Extent::OneBatch, &mut out);
            seen.to_backend.extend(out.to_vec(kept));
            let mut out = Splice::default();
            downstream::made_up(Some(client), backend, &mut out);
            seen.to_client.extend(out.to_vec(&[]));
            let progress = progress.map_err(|refused| refused.to_string())?;
            kept.drain(..progress.consumed);
            match progress.stop {
                upstream::Stop::NeedMore | upstream::Stop::Open => return Ok(()),
                upstream::Stop::EndOfBatch => {}
                upstream::Stop::Terminate => return Err("goodbye".to_owned()),
            }
        }
    }

    fn backend_says(&mut self, kept: &mut Vec<u8>) -> Result<(), String> {
        let mut errors = Errors::Stop;
        loop {
            let mut out = Splice::default();
            let Self { client, backend, seen, .. } = self;
            let progress = downstream::relay(Some(client), backend, kept, errors, seen, &mut out);
            seen.to_client.extend(out.to_vec(kept));
            let progress = progress.map_err(|error| error.to_string())?;
            kept.drain(..progress.consumed);
            errors = Errors::Stop;
            match progress.stop {
                downstream::Stop::NeedMore => return Ok(()),
                downstream::Stop::Ready => {}
                downstream::Stop::Block => unreachable!("blocks are not refused here"),
                downstream::Stop::FirstError => {
                    downstream::first_error(kept).map_err(|error| error.to_string())?;
                    errors = Errors::Pass;
                }
            }
        }
    }

    fn change_backend(&mut self) {
        self.backend = BackendRelay::default();
        self.backend.begin_lease();
    }

    fn result(self) -> Relayed {
        let Self { client, backend, seen, .. } = self;
        // What an error has cut short depends on where the caller was.
        if seen.end.is_some() {
            return seen;
        }
        Relayed {
            tx: backend.tx,
            owed: backend.replies.len(),
            is_quiet: backend.is_quiet(),
            is_due: backend.suspicion.is_due(),
            is_dirty: backend.suspicion.is_dirty(),
            prepared: client.statements.bytes(),
            ..seen
        }
    }
}

impl Observer for Relayed {
    fn parameter(&mut self, name: &str, value: &str, show: Show) {
        self.parameters.push((name.to_owned(), value.to_owned(), show == Show::Client));
    }

    fn row(&mut self, body: &[u8]) {
        self.rows.push(body.to_vec());
    }
}

// Without a cache, which takes longer to make than a few texts to parse.
struct Parser;

impl Classify for Parser {
    fn classify(&mut self, text: &[u8]) -> Classified {
        Classifier::default().classify_bytes(text)
    }
}

/// What the survey says of a client's first batch once it knows; it knows the same from then on.
pub fn survey(pieces: &[&[u8]]) -> Option<Result<Survey, WireError>> {
    struct Reads;

    impl MayRead for Reads {
        fn may_read(&mut self, sql: &str) -> bool {
            sql.starts_with("select")
        }
    }

    let client = ClientRelay::default();
    let (mut kept, mut known) = (Vec::new(), None);
    for piece in pieces {
        kept.extend_from_slice(piece);
        let unrouted = survey::survey(&client, &kept, None);
        let found = survey::survey(&client, &kept, Some(&mut Reads));
        if found == Ok(Survey::NeedMore) {
            assert_eq!(known, None, "it has known before");
            assert!(kept.len() <= survey::LONGEST, "it knows too late");
            continue;
        }
        assert!(matches!(unrouted, Ok(Survey::Acquire(_))) || unrouted == found);
        match &known {
            Some(known) => assert_eq!(*known, found, "it has changed its mind"),
            None => known = Some(found),
        }
    }
    known
}

/// What a console is told that says this, and whether it is closed then. What it asks is answered at
/// once: with no rows, and what it orders is refused.
pub fn console(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut console = Console::new(Rights::Admin);
    let (mut kept, mut told) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let (used, step) = console.on_bytes(&kept, &mut told);
            kept.drain(..used);
            let outcome = match step {
                Step::NeedMore => break,
                Step::Rest => continue,
                Step::Close => return (told, true),
                Step::Ask(Ask::Show(_)) => Outcome::Rows(Vec::new()),
                Step::Ask(Ask::Do(_)) => Outcome::Failed(Failure::new("no")),
            };
            console.answer(outcome, &mut told);
        }
        assert!(kept.len() <= 65 * 1024, "no message to a console is longer");
    }
    (told, false)
}

#[cfg(test)]
mod tests;
