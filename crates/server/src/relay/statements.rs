//! Prepared statements that survive a change of backend.
//!
//! A client's names are its own. Each distinct text (with its parameter types) has one number
//! in the whole process, and the name `pgherd_<number>` on whichever backends have needed it:
//! so a statement prepared by a hundred clients is prepared once on each backend.

use std::collections::HashMap;
use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pgherd_core::sql;

/// One distinct statement.
#[derive(Debug)]
pub struct Statement {
    /// Its number in this process; never used twice.
    pub id: u64,
    /// The text.
    pub sql: Box<[u8]>,
    /// Count and OIDs of its parameters, as they travelled.
    pub types: Box<[u8]>,
    /// Whether running it may leave session state behind (see [`sql::suspicion`]).
    pub suspicious: bool,
}

impl Statement {
    /// Its name on the backends.
    pub fn backend_name(&self) -> BackendName {
        BackendName::new(self.id)
    }
}

/// The name of a statement on a backend, without an allocation.
#[derive(Debug, Clone, Copy)]
pub struct BackendName {
    bytes: [u8; 28],
    len: usize,
}

impl BackendName {
    /// The name for a statement's number.
    pub fn new(id: u64) -> Self {
        let mut bytes = [0; 28];
        let mut rest = &mut bytes[..];
        // 7 bytes of prefix and at most 20 digits.
        write!(rest, "pgherd_{id}").expect("27 bytes fit into 28");
        let len = 28 - rest.len();
        Self { bytes, len }
    }

    /// The name's bytes, without a zero.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Every statement that some client has prepared, shared by all cores.
///
/// Bounded in bytes: above the bound, statements that no client holds any more are let go.
/// The lock guards the map and is held for a look-up, once per Parse of a named statement.
#[derive(Debug)]
pub struct StatementTable {
    by_key: Mutex<HashMap<Box<[u8]>, Arc<Statement>>>,
    bytes: AtomicUsize,
    limit: usize,
    next: AtomicU64,
}

impl StatementTable {
    /// An empty table that keeps unused statements up to `limit` bytes of text.
    pub fn new(limit: usize) -> Self {
        Self {
            by_key: Mutex::default(),
            bytes: AtomicUsize::new(0),
            limit,
            next: AtomicU64::new(1),
        }
    }

    /// The one statement with this text and these types, for sessions of this flavour: what a
    /// literal such as '2020-01-01' means is settled when a statement is parsed, and depends on
    /// the session's parameters.
    pub fn intern(&self, sql: &[u8], types: &[u8], flavour: u64) -> Arc<Statement> {
        // The types begin with their count, so the parts cannot be confused.
        let key = [&flavour.to_be_bytes(), types, sql].concat();
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = by_key.get(&key[..]) {
            return Arc::clone(statement);
        }
        let statement = Arc::new(Statement {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            sql: sql.into(),
            types: types.into(),
            suspicious: sql::suspicion(sql),
        });
        let bytes = self.bytes.fetch_add(key.len(), Ordering::Relaxed) + key.len();
        if bytes > self.limit {
            by_key.retain(|_, statement| Arc::strong_count(statement) > 1);
            self.bytes.store(by_key.keys().map(|key| key.len()).sum(), Ordering::Relaxed);
            self.bytes.fetch_add(key.len(), Ordering::Relaxed);
        }
        by_key.insert(key.into(), Arc::clone(&statement));
        statement
    }
}

/// The unnamed statement's Parse, without its name.
#[derive(Debug)]
pub struct Unnamed {
    /// The text.
    pub sql: Box<[u8]>,
    /// Count and OIDs of its parameters.
    pub types: Box<[u8]>,
}

type ByName = HashMap<Box<[u8]>, Arc<Statement>>;

/// What one client has prepared.
#[derive(Debug, Default)]
pub struct ClientStatements {
    // Boxed and absent until used: most idle clients have none.
    named: Option<Box<ByName>>,
    unnamed: Option<Box<Unnamed>>,
    flavour: u64,
}

impl ClientStatements {
    /// Statements prepared from now on belong to sessions with these parameters.
    pub fn set_flavour(&mut self, flavour: u64) {
        self.flavour = flavour;
    }

    /// See [`StatementTable::intern`].
    pub fn flavour(&self) -> u64 {
        self.flavour
    }

    /// The statement the client calls `name`.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        self.named.as_ref()?.get(name)
    }

    /// Remembers a statement under the client's name for it.
    pub fn insert(&mut self, name: &[u8], statement: Arc<Statement>) {
        self.named.get_or_insert_default().insert(name.into(), statement);
    }

    /// Forgets a name; `false` if it was not known.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.named.as_mut().is_some_and(|named| named.remove(name).is_some())
    }

    /// Forgets everything: the client said DISCARD ALL or DEALLOCATE ALL.
    pub fn clear(&mut self) {
        self.named = None;
        self.unnamed = None;
    }

    /// The number of named statements.
    pub fn len(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.len())
    }

    /// Whether there is no named statement.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last unnamed Parse, unless a simple query has ended it.
    pub fn unnamed(&self) -> Option<&Unnamed> {
        self.unnamed.as_deref()
    }

    /// Remembers the unnamed Parse, or that there is none any more.
    pub fn set_unnamed(&mut self, unnamed: Option<Unnamed>) {
        match (&mut self.unnamed, unnamed) {
            (Some(slot), Some(unnamed)) => **slot = unnamed,
            (slot, unnamed) => *slot = unnamed.map(Box::new),
        }
    }
}

/// Statements one backend holds at most; above it the least recently used is closed.
const PER_BACKEND: usize = 1000;

#[derive(Debug)]
struct Prepared {
    used: u64,
    // While its ParseComplete is awaited: the stretch (up to a Sync) it was sent in.
    pending_in: Option<u64>,
}

/// What to do before a statement can be used on a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It is there, or its Parse is ahead in the same stretch.
    Ready,
    /// Parse it first.
    Parse,
    /// Its Parse was sent in an earlier stretch and may have been dropped by an error: close
    /// it, which never fails, and parse it again.
    CloseAndParse,
}

/// What one backend has prepared.
#[derive(Debug, Default)]
pub struct BackendStatements {
    prepared: HashMap<u64, Prepared>,
    clock: u64,
    stretch: u64,
    unnamed_is_here: bool,
}

impl BackendStatements {
    /// What a use of this statement needs; with anything but `Ready` the caller sends it, and
    /// says so by [`Self::sent`].
    pub fn readiness(&mut self, id: u64) -> Readiness {
        self.clock += 1;
        match self.prepared.get_mut(&id) {
            None => Readiness::Parse,
            Some(prepared) => {
                prepared.used = self.clock;
                match prepared.pending_in {
                    Some(stretch) if stretch != self.stretch => Readiness::CloseAndParse,
                    _ => Readiness::Ready,
                }
            }
        }
    }

    /// Its Parse was sent. Returns the statement to close because there are too many.
    pub fn sent(&mut self, id: u64) -> Option<u64> {
        self.clock += 1;
        let prepared = Prepared { used: self.clock, pending_in: Some(self.stretch) };
        self.prepared.insert(id, prepared);
        if self.prepared.len() <= PER_BACKEND {
            return None;
        }
        let oldest = *self.prepared.iter().min_by_key(|(_, prepared)| prepared.used)?.0;
        self.prepared.remove(&oldest);
        Some(oldest)
    }

    /// Its ParseComplete came.
    pub fn confirmed(&mut self, id: u64) {
        if let Some(prepared) = self.prepared.get_mut(&id) {
            prepared.pending_in = None;
        }
    }

    /// Its Parse was dropped by an error.
    pub fn dropped(&mut self, id: u64) {
        if self.prepared.get(&id).is_some_and(|prepared| prepared.pending_in.is_some()) {
            self.prepared.remove(&id);
        }
    }

    /// A Sync or Query was sent: what is pending now belongs to an earlier stretch.
    pub fn end_stretch(&mut self) {
        self.stretch += 1;
    }

    /// What is here may have been made for tables that are others now: each is parsed again
    /// before it is used.
    pub fn distrust(&mut self) {
        self.stretch += 1;
        let before = self.stretch - 1;
        self.prepared.values_mut().for_each(|prepared| prepared.pending_in = Some(before));
        self.stretch += 1;
    }

    /// Everything is gone: DISCARD ALL or DEALLOCATE ALL ran here.
    pub fn clear(&mut self) {
        self.prepared.clear();
        self.unnamed_is_here = false;
    }

    /// Whether the unnamed statement here is that of the client holding the lease.
    pub fn unnamed_is_here(&self) -> bool {
        self.unnamed_is_here
    }

    /// The client's unnamed Parse was sent here.
    pub fn unnamed_sent(&mut self) {
        self.unnamed_is_here = true;
    }

    /// Whatever unnamed statement is here, it is not the client's.
    pub fn forget_unnamed(&mut self) {
        self.unnamed_is_here = false;
    }

    /// The number of statements.
    pub fn len(&self) -> usize {
        self.prepared.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.prepared.is_empty()
    }
}
