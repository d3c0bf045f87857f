//! Prepared statements that survive a change of backend.
//!
//! A client's names are its own. Each distinct text (with its parameter types) has one number
//! in the whole process, and the name `pgherd_<number>` on whichever backends have needed it:
//! so a statement prepared by a hundred clients is prepared once on each backend.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use pgherd_wire::replies::DroppedUnnamed;

use super::suspicion::Traits;
use super::unnamed::{Unnamed, UnnamedStatement};

/// One distinct statement.
#[derive(Debug)]
pub struct Statement {
    /// Its number in this process; never used twice, and never 0.
    pub id: u64,
    /// The text.
    pub sql: Box<[u8]>,
    /// Count and OIDs of its parameters, as they travelled.
    pub types: Box<[u8]>,
    /// What may be left behind when it runs.
    pub traits: Traits,
}

impl Statement {
    /// Its name on the backends.
    pub fn backend_name(&self) -> BackendName {
        BackendName::new(self.id)
    }
}

/// What the names of statements on backends begin with.
const PREFIX: &str = "pgherd_";

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
        bytes[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
        let digits = id.checked_ilog10().unwrap_or(0) as usize + 1;
        // 7 bytes of prefix and at most 20 digits. By hand: it is done for each Bind.
        let len = PREFIX.len() + digits;
        let mut rest = id;
        for byte in bytes[PREFIX.len()..len].iter_mut().rev() {
            *byte = b'0' + u8::try_from(rest % 10).expect("a digit is below 10");
            rest /= 10;
        }
        Self { bytes, len }
    }

    /// The name of no statement, for what the client calls so and has not prepared.
    pub fn of_none() -> Self {
        Self::new(0)
    }

    /// Whether a client's name could be one of these.
    pub fn is_alike(name: &[u8]) -> bool {
        name.starts_with(PREFIX.as_bytes())
    }

    /// The first such name in a text, and its number.
    pub fn find(text: &str) -> Option<(&str, u64)> {
        let found = &text[text.find(PREFIX)?..];
        let digits = &found[PREFIX.len()..];
        let end = digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
        Some((&found[..PREFIX.len() + end], digits[..end].parse().ok()?))
    }

    /// The name's bytes, without a zero.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Every statement that some client has prepared, shared by all cores.
///
/// Bounded in bytes: above the bound, statements that no client holds any more are let go; those
/// that clients hold are bounded for each client. The lock guards the map and is held for a look-up,
/// once per Parse of a named statement, and now and then to look through all of them: once for each
/// doubling of what is held.
#[derive(Debug)]
pub struct StatementTable {
    kept: Mutex<Kept>,
    limit: usize,
    per_client: usize,
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    by_key: HashMap<Box<[u8]>, Arc<Statement>>,
    bytes: usize,
    // What clients held when all was looked through last.
    held: usize,
}

impl StatementTable {
    /// An empty table that keeps unused statements up to `limit` bytes of text, or as much as
    /// clients hold. One client may hold `per_client` bytes.
    pub fn new(limit: usize, per_client: usize) -> Self {
        Self { kept: Mutex::default(), limit, per_client, next: AtomicU64::new(1) }
    }

    /// Bytes of text that one client may have prepared under names.
    pub fn per_client(&self) -> usize {
        self.per_client
    }

    /// The one statement with this text and these types, for sessions of this flavour: what a
    /// literal such as '2020-01-01' means is settled when a statement is parsed, and depends on
    /// the session's parameters.
    pub fn intern(&self, sql: &[u8], types: &[u8], flavour: u64) -> Arc<Statement> {
        // The types begin with their count, so the parts cannot be confused.
        let key = [&flavour.to_be_bytes(), types, sql].concat();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = kept.by_key.get(&key[..]) {
            return Arc::clone(statement);
        }
        let statement = Arc::new(Statement {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            sql: sql.into(),
            types: types.into(),
            traits: Traits::of(sql),
        });
        // Not at the limit itself: when clients hold that much, each Parse would look through all.
        if kept.bytes + key.len() > self.limit.max(2 * kept.held) {
            kept.by_key.retain(|_, statement| Arc::strong_count(statement) > 1);
            kept.held = kept.by_key.keys().map(|key| key.len()).sum();
            kept.bytes = kept.held;
        }
        kept.bytes += key.len();
        kept.by_key.insert(key.into(), Arc::clone(&statement));
        statement
    }
}

type ByName = HashMap<Box<[u8]>, Arc<Statement>>;

/// What one client has prepared.
#[derive(Debug, Default)]
pub struct ClientStatements {
    // Boxed and absent until used: most idle clients have none.
    named: Option<Box<ByName>>,
    // Absent while nothing is owed.
    pending: Option<Box<Pending>>,
    unnamed: UnnamedStatement,
    // Names and texts in `named`.
    bytes: usize,
    flavour: u64,
    // What names meant before changes that may have to be made again, the last one last.
    undo: Vec<Change>,
    keeps_undo: bool,
}

/// What the client's Parses and Closes will have changed once they are answered, in their order. An
/// error before them drops them.
#[derive(Debug, Default)]
struct Pending {
    changes: VecDeque<Change>,
    // The last change of each name, counted from the first ever.
    latest: HashMap<Box<[u8]>, usize>,
    // The number of changes that are behind.
    before: usize,
    // Those with lower numbers were sent before the last Sync or Query.
    of_earlier: usize,
    // Names and texts that were added.
    bytes: usize,
}

impl Pending {
    fn pop(&mut self) -> Option<Change> {
        let change = self.changes.pop_front()?;
        if self.latest.get(&change.name) == Some(&self.before) {
            self.latest.remove(&change.name);
        }
        self.before += 1;
        self.bytes -= change.bytes();
        Some(change)
    }
}

/// The name means this statement from now on, or none.
#[derive(Debug)]
struct Change {
    name: Box<[u8]>,
    statement: Option<Arc<Statement>>,
}

impl Change {
    fn bytes(&self) -> usize {
        self.statement.as_ref().map_or(0, |statement| size_of_named(&self.name, statement))
    }
}

fn size_of_named(name: &[u8], statement: &Statement) -> usize {
    name.len() + statement.sql.len() + statement.types.len()
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

    /// The statement the client calls `name`, once all that it has sent is done.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Statement>> {
        if let Some(pending) = &self.pending
            && let Some(number) = pending.latest.get(name)
        {
            return pending.changes[number - pending.before].statement.as_ref();
        }
        self.named.as_ref()?.get(name)
    }

    /// The client's name for the statement with this number.
    pub fn name_of(&self, id: u64) -> Option<&[u8]> {
        let named = self.named.iter().flat_map(|named| named.iter());
        let pending = self.pending.iter().flat_map(|pending| &pending.changes);
        let pending = pending.filter_map(|change| Some((&change.name, change.statement.as_ref()?)));
        named.chain(pending).find(|(_, statement)| statement.id == id).map(|(name, _)| &**name)
    }

    /// Bytes of names and texts that it holds, with those that are pending.
    pub fn bytes(&self) -> usize {
        self.bytes + self.pending.as_ref().map_or(0, |pending| pending.bytes)
    }

    /// Its Parse (with a statement) or Close (without) of this name was sent, or will be answered
    /// by us: [`Self::confirm`] or [`Self::drop_pending`] says when, in order.
    pub fn change(&mut self, name: &[u8], statement: Option<Arc<Statement>>) {
        let pending = self.pending.get_or_insert_default();
        let change = Change { name: name.into(), statement };
        pending.bytes += change.bytes();
        pending.latest.insert(name.into(), pending.before + pending.changes.len());
        pending.changes.push_back(change);
    }

    /// A Sync or Query was sent: an error before it drops nothing that follows.
    pub fn end_stretch(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.of_earlier = pending.before + pending.changes.len();
        }
        self.unnamed.end_stretch();
    }

    /// Whether what `name` means depends on answers to what was sent before the last Sync or Query.
    pub fn is_open(&self, name: &[u8]) -> bool {
        if name.is_empty() {
            return !self.unnamed.is_settled();
        }
        self.pending.as_ref().is_some_and(|pending| {
            pending.latest.get(name).is_some_and(|number| *number < pending.of_earlier)
        })
    }

    /// Whether there is no such name: all Parses and Closes before the last Sync or Query are answered.
    pub fn is_settled(&self) -> bool {
        self.unnamed.is_settled()
            && self.pending.as_ref().is_none_or(|pending| pending.before >= pending.of_earlier)
    }

    /// The oldest pending change is done.
    pub fn confirm(&mut self) {
        let Some(change) = self.pop_pending() else { return };
        self.apply(change);
    }

    /// What is sent from now on may have to be sent again, to another backend.
    pub fn begin_tentative(&mut self) {
        self.undo.clear();
        self.keeps_undo = true;
    }

    /// What was done stays done.
    pub fn end_tentative(&mut self) {
        self.undo = Vec::new();
        self.keeps_undo = false;
    }

    /// What was sent since [`Self::begin_tentative`] is going to be sent again.
    pub fn rewind(&mut self) {
        self.pending = None;
        self.unnamed.rewind();
        self.keeps_undo = false;
        while let Some(before) = self.undo.pop() {
            self.apply(before);
        }
    }

    fn apply(&mut self, change: Change) {
        let added = change.bytes();
        let Change { name, statement } = change;
        let named = self.named.get_or_insert_default();
        let last = match statement {
            Some(statement) => named.insert(name.clone(), statement),
            None => named.remove(&name),
        };
        let removed = last.as_ref().map_or(0, |statement| size_of_named(&name, statement));
        self.bytes = self.bytes + added - removed;
        if named.is_empty() {
            self.named = None;
        }
        if self.keeps_undo {
            self.undo.push(Change { name, statement: last });
        }
    }

    /// An error has dropped so many of the oldest pending changes.
    pub fn drop_pending(&mut self, count: usize) {
        (0..count).for_each(|_| drop(self.pop_pending()));
    }

    fn pop_pending(&mut self) -> Option<Change> {
        let pending = self.pending.as_mut()?;
        let change = pending.pop();
        if pending.changes.is_empty() {
            self.pending = None;
        }
        change
    }

    /// Forgets everything: the client said DISCARD ALL or DEALLOCATE ALL.
    pub fn clear(&mut self) {
        self.named = None;
        self.bytes = 0;
        self.unnamed.clear();
    }

    /// The number of named statements.
    pub fn len(&self) -> usize {
        self.named.as_ref().map_or(0, |named| named.len())
    }

    /// Whether there is no named statement.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The unnamed statement, once all that the client has sent is done.
    pub fn unnamed(&self) -> Option<&Unnamed> {
        self.unnamed.last()
    }

    /// The client's Parse (with a statement) or Close (without) of it was sent.
    pub fn change_unnamed(&mut self, to: Option<Unnamed>) {
        self.unnamed.change(to);
    }

    /// The oldest of these changes is done.
    pub fn confirm_unnamed(&mut self) {
        self.unnamed.confirm();
    }

    /// An error has dropped some of them.
    pub fn drop_unnamed(&mut self, dropped: DroppedUnnamed) {
        self.unnamed.fail(dropped.count, dropped.is_cause);
    }

    /// A Query was sent, or cancelled before it was, which ends the unnamed statement.
    pub fn end_unnamed(&mut self) {
        self.unnamed.end();
    }
}

/// Statements one backend holds at most; above it the least recently used is closed.
const PER_BACKEND: usize = 1000;

/// No stretch that anything is sent in.
const BEFORE_ALL: u64 = u64::MAX;

#[derive(Debug, Default)]
struct Prepared {
    used: u64,
    // While it is not known to be there: the stretch (up to a Sync) its last Parse was sent in.
    pending_in: Option<u64>,
    // Parses whose outcome is awaited. All but the first have a Close before them.
    awaited: u32,
    // Whether one that was done before those may be there.
    was_there: bool,
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
    // Whether there were once too many.
    has_closed: bool,
    unnamed: UnnamedThere,
}

/// Whose unnamed statement a backend has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum UnnamedThere {
    /// Perhaps another client's.
    #[default]
    Foreign,
    /// The client's, unless an error has dropped what was sent in this stretch.
    Sent { in_stretch: u64 },
    /// The client's, or none if it has none.
    Own,
}

impl BackendStatements {
    /// What a use of this statement needs; with anything but `Ready` the caller sends it, and
    /// says so by [`Self::sent`].
    pub fn readiness(&mut self, id: u64) -> Readiness {
        self.clock += 1;
        match self.prepared.get_mut(&id) {
            // What was closed for want of room is still there if an error has dropped that Close.
            None if self.has_closed => Readiness::CloseAndParse,
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
        let prepared = self.prepared.entry(id).or_default();
        prepared.used = self.clock;
        prepared.pending_in = Some(self.stretch);
        prepared.awaited += 1;
        if self.prepared.len() <= PER_BACKEND {
            return None;
        }
        let oldest = *self.prepared.iter().min_by_key(|(_, prepared)| prepared.used)?.0;
        self.prepared.remove(&oldest);
        self.has_closed = true;
        Some(oldest)
    }

    /// Its ParseComplete came.
    pub fn confirmed(&mut self, id: u64) {
        if let Some(prepared) = self.prepared.get_mut(&id) {
            prepared.awaited = prepared.awaited.saturating_sub(1);
            prepared.was_there = true;
            if prepared.awaited == 0 {
                prepared.pending_in = None;
            }
        }
    }

    /// Its Parse was dropped by an error, and perhaps the Close before it.
    pub fn dropped(&mut self, id: u64) {
        let Some(prepared) = self.prepared.get_mut(&id) else { return };
        prepared.awaited = prepared.awaited.saturating_sub(1);
        match (prepared.awaited, prepared.was_there) {
            (0, false) => drop(self.prepared.remove(&id)),
            // The error may have come before the Close or behind it.
            (0, true) => prepared.pending_in = Some(BEFORE_ALL),
            // The one that was sent last tells.
            _ => {}
        }
    }

    /// A Sync or Query was sent: what is pending now belongs to an earlier stretch.
    pub fn end_stretch(&mut self) {
        self.stretch += 1;
    }

    /// What is here may have been made for tables that are others now: each is parsed again
    /// before it is used.
    pub fn distrust(&mut self) {
        self.prepared.values_mut().for_each(|prepared| prepared.pending_in = Some(BEFORE_ALL));
        self.stretch += 1;
    }

    /// Everything is gone: DISCARD ALL or DEALLOCATE ALL ran here. What is awaited was sent behind it.
    pub fn clear(&mut self) {
        self.prepared.retain(|_, prepared| prepared.awaited > 0);
        self.prepared.values_mut().for_each(|prepared| prepared.was_there = false);
        self.unnamed = UnnamedThere::Foreign;
    }

    /// Whether what is about to be sent finds no other unnamed statement here than that of the client
    /// holding the lease.
    pub fn unnamed_is_here(&self) -> bool {
        match self.unnamed {
            UnnamedThere::Foreign => false,
            // What has dropped that drops this, too.
            UnnamedThere::Sent { in_stretch } => in_stretch == self.stretch,
            UnnamedThere::Own => true,
        }
    }

    /// The client's unnamed Parse was sent here, or the Close of another's.
    pub fn unnamed_sent(&mut self) {
        if self.unnamed != UnnamedThere::Own {
            self.unnamed = UnnamedThere::Sent { in_stretch: self.stretch };
        }
    }

    /// An unnamed Parse that was sent on behalf of the client is done.
    pub fn unnamed_confirmed(&mut self) {
        if self.unnamed != UnnamedThere::Foreign {
            self.unnamed = UnnamedThere::Own;
        }
    }

    /// Whatever unnamed statement is here, it is not the client's.
    pub fn forget_unnamed(&mut self) {
        self.unnamed = UnnamedThere::Foreign;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_hold_is_not_looked_through_for_each_parse() {
        let table = StatementTable::new(1000, usize::MAX);
        let mut held = Vec::new();
        let mut looked_through = 0;
        for number in 0..1000 {
            let before = table.kept.lock().unwrap().held;
            held.push(table.intern(format!("select {number:100}").as_bytes(), &[0, 0], 0));
            looked_through += usize::from(table.kept.lock().unwrap().held != before);
        }
        assert!(looked_through < 10, "{looked_through} times");
        assert_eq!(table.kept.lock().unwrap().by_key.len(), 1000);
        held.clear();
        (0..2000).for_each(|number: u32| {
            table.intern(format!("select {number:200}").as_bytes(), &[0, 0], 0);
        });
        let kept = table.kept.lock().unwrap();
        assert!(kept.bytes <= 2 * kept.held.max(500), "{} of {}", kept.bytes, kept.held);
    }

    #[test]
    fn names_on_backends_are_the_numbers_of_statements() {
        for id in [0, 7, 10, 99, 12_345, u64::MAX] {
            let name = BackendName::new(id);
            let text = std::str::from_utf8(name.as_bytes()).unwrap();
            assert_eq!(text, format!("pgherd_{id}"));
            assert_eq!(BackendName::find(&format!("\"{text}\" is")), Some((text, id)));
        }
    }

    #[test]
    fn an_error_before_the_close_leaves_what_was_there() {
        let mut backend = BackendStatements::default();
        backend.sent(7);
        backend.confirmed(7);
        backend.distrust();
        assert_eq!(backend.readiness(7), Readiness::CloseAndParse);
        backend.sent(7);
        backend.end_stretch();
        backend.dropped(7);
        assert_eq!(backend.readiness(7), Readiness::CloseAndParse);
        backend.sent(7);
        backend.confirmed(7);
        assert_eq!(backend.readiness(7), Readiness::Ready);
    }

    #[test]
    fn the_parse_that_was_sent_last_tells_whether_a_statement_is_there() {
        let mut backend = BackendStatements::default();
        backend.sent(7);
        backend.end_stretch();
        backend.sent(7);
        backend.dropped(7);
        assert_eq!(backend.readiness(7), Readiness::Ready, "sent in this stretch");
        backend.end_stretch();
        assert_eq!(backend.readiness(7), Readiness::CloseAndParse);
        backend.confirmed(7);
        assert_eq!(backend.readiness(7), Readiness::Ready);
        backend.sent(8);
        backend.dropped(8);
        assert_eq!(backend.readiness(8), Readiness::Parse);
    }

    #[test]
    fn what_was_closed_for_want_of_room_may_still_be_there() {
        let mut backend = BackendStatements::default();
        for id in 1..=PER_BACKEND as u64 {
            assert_eq!(backend.readiness(id), Readiness::Parse);
            assert_eq!(backend.sent(id), None);
            backend.confirmed(id);
        }
        assert_eq!(backend.sent(0), Some(1));
        assert_eq!(backend.readiness(1), Readiness::CloseAndParse);
    }

    #[test]
    fn what_is_parsed_behind_discard_all_stays() {
        let mut backend = BackendStatements::default();
        backend.sent(6);
        backend.confirmed(6);
        backend.end_stretch();
        backend.sent(7);
        backend.clear();
        backend.confirmed(7);
        assert_eq!(backend.readiness(6), Readiness::Parse);
        assert_eq!(backend.readiness(7), Readiness::Ready);
    }

    #[test]
    fn what_is_to_be_sent_again_has_not_happened() {
        let table = StatementTable::new(1000, usize::MAX);
        let [one, two] = ["select 1", "select 2"].map(|sql| table.intern(sql.as_bytes(), &[], 0));
        let mut client = ClientStatements::default();
        client.change(b"s", Some(one.clone()));
        client.confirm();
        client.begin_tentative();
        for (name, statement) in [(b"s", None), (b"s", Some(&two)), (b"t", Some(&two))] {
            client.change(name, statement.cloned());
            client.confirm();
        }
        client.change(b"u", Some(two.clone()));
        client.rewind();
        assert_eq!(client.get(b"s").unwrap().id, one.id);
        assert!(client.get(b"t").is_none() && client.get(b"u").is_none());
        assert_eq!((client.len(), client.bytes()), (1, 9));
    }

    #[test]
    fn a_change_counts_at_once_and_lasts_only_if_it_is_confirmed() {
        let table = StatementTable::new(1000, usize::MAX);
        let [one, two] = ["select 1", "select 2"].map(|sql| table.intern(sql.as_bytes(), &[], 0));
        let mut client = ClientStatements::default();
        let id = |client: &ClientStatements| client.get(b"s").map(|statement| statement.id);
        client.change(b"s", Some(one.clone()));
        client.change(b"s", None);
        client.change(b"s", Some(two.clone()));
        assert_eq!(id(&client), Some(two.id));
        client.confirm();
        client.drop_pending(1);
        assert_eq!(id(&client), Some(two.id));
        client.drop_pending(1);
        assert_eq!(id(&client), Some(one.id), "neither Close nor Parse has happened");
        assert_eq!((client.len(), client.bytes()), (1, 9));
        client.change(b"s", None);
        client.confirm();
        assert_eq!((id(&client), client.bytes()), (None, 0));
    }
}
