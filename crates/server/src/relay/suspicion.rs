//! What a client may have left in the session of its backend.
//!
//! In: texts and commands as they are sent, tags as they come back. Out: whether the node has to be
//! asked what is there, where to look, and which statement to name for what is found.
//!
//! | Seen                                | Then                                                   |
//! |-------------------------------------|--------------------------------------------------------|
//! | a text with a word that counts      | the parser tells what it leaves                        |
//! | the tag of a command that leaves    | it did, unless the parser knows that this text leaves  |
//! | state                               | nothing (SET LOCAL)                                    |
//! | FunctionCall, a text in parts       | anything may be there                                  |
//! | where something is held: DROP ...   | it may have ended                                      |
//!
//! Most texts cost a look at their bytes. What the bodies of functions do is not seen, unless DO or
//! CALL runs them.

use std::collections::VecDeque;

use pgherd_core::held::dotted_names;
use pgherd_core::sql::{self, Classified, Look, Remains, StateKind};

/// What of a text is kept to be shown: 200 bytes.
const SHOWN: usize = 200;

/// Statements that are remembered because they may have left something.
const MOST_CAUSES: usize = 8;

/// Names of settings to ask for.
const MOST_NAMES: usize = 64;

/// Answers what a text is, from a cache or the parser.
pub trait Classify {
    /// `text` may hold several statements, and need not be UTF-8.
    fn classify(&mut self, text: &[u8]) -> Classified;
}

/// What the bytes of a text say, before it is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traits {
    look: Look,
    // A statement of it may be a SET, and names in it those of settings.
    sets: bool,
}

impl Traits {
    /// Looks at a text.
    pub fn of(text: &[u8]) -> Self {
        Self { look: sql::look(text), sets: sets(text) }
    }

    fn is_plain(self) -> bool {
        self.look.is_plain() && !self.sets
    }
}

/// See the module's header.
#[derive(Debug, Default)]
pub struct Suspicion {
    // Since the node was asked last, and since the session was last clean.
    is_due: bool,
    is_dirty: bool,
    // Something may be there that ends with the session only.
    is_lasting: bool,
    holds_something: bool,
    has_reset: bool,
    causes: VecDeque<Cause>,
    names: VecDeque<Box<str>>,
    last_text: Vec<u8>,
    unnamed: Found,
    portal: Found,
    // Executes since the last Query or Sync, and whether the tag of the last one says nothing.
    executes: u32,
    // Queries and Syncs sent and answered; and those sent, by number, whose tags say nothing.
    sent: u64,
    answered: u64,
    excused: VecDeque<u64>,
}

/// A statement that may have left something.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cause {
    kind: StateKind,
    text: Box<str>,
}

/// What a look at a text has found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Found {
    leaves: Option<(StateKind, Remains)>,
    is_excused: bool,
}

impl Suspicion {
    /// Whether the node is to be asked what the session holds, before the lease ends.
    pub fn is_due(&self) -> bool {
        self.is_due
    }

    /// Whether the session has to be cleaned before anybody else gets it.
    pub fn is_dirty(&self) -> bool {
        self.is_dirty
    }

    /// Whether nothing but its end cleans the session.
    pub fn is_lasting(&self) -> bool {
        self.is_lasting
    }

    /// Whether settings were set back since the node was asked last.
    pub fn has_reset(&self) -> bool {
        self.has_reset
    }

    /// Names of settings with a dot that may have been set.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    /// The node was asked, and what it said was that the session `holds_something` beside settings.
    pub fn asked(&mut self, holds_something: bool) {
        self.is_due = false;
        self.has_reset = false;
        self.holds_something = holds_something;
    }

    /// Another client begins with a clean session.
    pub(super) fn begin_lease(&mut self) {
        if !self.is_dirty {
            self.names.clear();
        }
        (self.unnamed, self.portal) = (Found::default(), Found::default());
    }

    /// The session is as it was at its login.
    pub fn cleaned(&mut self) {
        let Self { sent, answered, last_text, .. } = std::mem::take(self);
        *self = Self { sent, answered, last_text, ..Self::default() };
    }

    /// The statement that is most likely to have left something of these kinds.
    pub fn cause(&self, kinds: &[StateKind]) -> Option<&str> {
        let fits = |cause: &&Cause| kinds.contains(&cause.kind);
        let cause = self.causes.iter().rev().find(fits).or(self.causes.back())?;
        Some(&cause.text)
    }

    /// A whole Query was sent.
    pub(super) fn query(&mut self, text: &[u8], judge: &mut dyn Classify) {
        let text = text.strip_suffix(b"\0").unwrap_or(text);
        self.remember(text);
        let traits = Traits::of(text);
        if traits.is_plain() {
            return;
        }
        let found = self.find(traits, text, judge);
        self.runs(found, text);
        if found.is_excused {
            self.excused.push_back(self.sent);
        }
    }

    /// Something was sent whose doings are not seen: FunctionCall, or a Query in parts.
    pub(super) fn unseen(&mut self, what: &str) {
        self.suspect(StateKind::Unknown, Remains::Resettable, what.as_bytes());
    }

    /// An unnamed statement was sent to be parsed.
    pub(super) fn parse_unnamed(&mut self, text: &[u8], judge: &mut dyn Classify) {
        self.remember(text);
        let traits = Traits::of(text);
        self.unnamed = match traits.is_plain() {
            true => Found::default(),
            false => self.find(traits, text, judge),
        };
        self.runs(self.unnamed, text);
    }

    /// The unnamed statement is bound to these parameters.
    pub(super) fn bind_unnamed(&mut self, parameters: &[u8]) {
        self.portal = self.unnamed;
        if self.unnamed.leaves.is_some() {
            self.note_names(parameters);
        }
    }

    /// A named statement is bound to these parameters.
    pub(super) fn bind_named(
        &mut self,
        text: &[u8],
        traits: Traits,
        parameters: &[u8],
        judge: &mut dyn Classify,
    ) {
        self.portal = Found::default();
        if traits.is_plain() {
            return;
        }
        self.remember(text);
        self.portal = self.find(traits, text, judge);
        self.runs(self.portal, text);
        if self.portal.leaves.is_some() {
            self.note_names(parameters);
        }
    }

    /// A portal is run.
    pub(super) fn execute(&mut self) {
        self.executes += 1;
    }

    /// A Sync is about to be sent.
    pub(super) fn sync(&mut self) {
        // Of several, which one a tag is of is not known.
        if self.executes == 1 && self.portal.is_excused {
            self.excused.push_back(self.sent);
        }
    }

    /// A Query, FunctionCall or Sync was sent that will be answered by ReadyForQuery.
    pub(super) fn end_sent(&mut self) {
        self.sent += 1;
        self.executes = 0;
    }

    /// ReadyForQuery came, which `is_last` if no other is owed.
    pub(super) fn ready(&mut self, is_last: bool) {
        // COPY makes the server drop some Syncs.
        self.answered = if is_last { self.sent } else { self.answered + 1 };
        while self.excused.front().is_some_and(|number| *number < self.answered) {
            self.excused.pop_front();
        }
    }

    /// The server reads a COPY: of the Syncs behind it some are dropped, and numbers are wrong.
    pub(super) fn copies_in(&mut self) {
        self.excused.clear();
    }

    /// A command of the client has completed.
    pub(super) fn tag(&mut self, tag: &[u8]) {
        let remains = sql::remains_of_tag(tag);
        if remains == Remains::Nothing && !self.holds_something {
            return;
        }
        let first = tag.split(|byte| *byte == b' ').next().unwrap_or(tag);
        if matches!(first, b"DROP" | b"CLOSE" | b"ALTER") {
            self.is_due = true;
        }
        if remains == Remains::Nothing || self.excused.front() == Some(&self.answered) {
            return;
        }
        self.has_reset |= matches!(tag, b"RESET" | b"DISCARD ALL");
        let (kind, remains) = match first {
            b"LISTEN" | b"UNLISTEN" => (StateKind::Listen, remains),
            b"LOAD" => (StateKind::Load, remains),
            // What is gone with them on the backend is known to be gone.
            b"DISCARD" => (StateKind::Discard, Remains::Resettable),
            b"PREPARE" | b"DEALLOCATE" => (StateKind::Prepared, Remains::Resettable),
            b"DO" | b"CALL" => (StateKind::Unknown, remains),
            _ => (StateKind::Setting, remains),
        };
        let text = std::mem::take(&mut self.last_text);
        let is_of_it = text.windows(first.len()).any(|word| word.eq_ignore_ascii_case(first));
        self.suspect(kind, remains, if is_of_it { &text } else { tag });
        self.last_text = text;
    }

    fn find(&mut self, traits: Traits, text: &[u8], judge: &mut dyn Classify) -> Found {
        if traits.sets {
            self.note_names(text);
        }
        let look = traits.look;
        if look.is_plain() {
            return Found::default();
        }
        let class = judge.classify(text);
        let remains = match (look.hides, look.leaves) {
            (true, _) => class.remains.max(Remains::Resettable),
            (false, true) => class.remains,
            (false, false) => Remains::Nothing,
        };
        // Nearly always it is no SQL at all, and does nothing.
        let remains = match class.parse_error {
            Some(_) if !may_last(text) => remains.min(Remains::Resettable),
            _ => remains,
        };
        let kind = class.leaves_state.unwrap_or(StateKind::Unknown);
        Found {
            leaves: (remains != Remains::Nothing).then_some((kind, remains)),
            is_excused: look.excuses && class.leaves_state.is_none(),
        }
    }

    fn runs(&mut self, found: Found, text: &[u8]) {
        if let Some((kind, remains)) = found.leaves {
            self.note_names(text);
            self.suspect(kind, remains, text);
        }
    }

    fn suspect(&mut self, kind: StateKind, remains: Remains, text: &[u8]) {
        self.is_due = true;
        self.is_dirty = true;
        self.is_lasting |= remains == Remains::Lasting;
        let text = shown(text);
        if self.causes.iter().any(|cause| cause.kind == kind && *cause.text == *text) {
            return;
        }
        if self.causes.len() == MOST_CAUSES {
            self.causes.pop_front();
        }
        self.causes.push_back(Cause { kind, text: text.into() });
    }

    fn note_names(&mut self, text: &[u8]) {
        for name in dotted_names(text) {
            if self.names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            if self.names.len() == MOST_NAMES {
                self.names.pop_front();
            }
            self.names.push_back(name.into());
        }
    }

    fn remember(&mut self, text: &[u8]) {
        self.last_text.clear();
        self.last_text.extend_from_slice(&text[..text.len().min(SHOWN)]);
    }
}

/// Whether it says something that may leave what only the end of the session ends.
fn may_last(text: &[u8]) -> bool {
    let text = text.to_ascii_lowercase();
    let words = [&b"dblink"[..], b"backup", b"replication_slot", b"origin_session", b"u&\""];
    words.iter().any(|word| memchr::memmem::find(&text, word).is_some())
}

/// Whether a statement of the text may begin with SET, behind comments too.
fn sets(text: &[u8]) -> bool {
    begins_with_set(text)
        || memchr::memchr_iter(b';', text).any(|at| begins_with_set(&text[at + 1..]))
}

fn begins_with_set(text: &[u8]) -> bool {
    let is_set = |word: &[u8]| word.eq_ignore_ascii_case(b"set");
    let text = text.trim_ascii_start();
    match text.first() {
        Some(b'/' | b'-') => {
            text.windows(4).any(|part| !part[0].is_ascii_alphanumeric() && is_set(&part[1..]))
        }
        _ => text.get(..3).is_some_and(is_set),
    }
}

/// The beginning of a text, on one line.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Parser;

    impl Classify for Parser {
        fn classify(&mut self, text: &[u8]) -> Classified {
            sql::Classifier::default().classify_bytes(text)
        }
    }

    /// What is suspected after a Query that is answered by these tags.
    fn after(text: &str, tags: &[&str]) -> Suspicion {
        let mut suspicion = Suspicion::default();
        suspicion.query(text.as_bytes(), &mut Parser);
        suspicion.end_sent();
        tags.iter().for_each(|tag| suspicion.tag(tag.as_bytes()));
        suspicion.ready(true);
        suspicion
    }

    #[test]
    fn what_ends_with_its_transaction_is_not_suspected() {
        for (text, tags) in [
            ("SET LOCAL work_mem = '1MB'", &["SET"][..]),
            ("BEGIN; SET LOCAL app.tenant = '1'; COMMIT", &["BEGIN", "SET", "COMMIT"]),
            ("SET TRANSACTION READ ONLY", &["SET"]),
            ("SELECT set_config('app.tenant', '1', true)", &["SELECT 1"]),
            ("SELECT pg_advisory_xact_lock(1)", &["SELECT 1"]),
            ("CREATE TEMP TABLE t () ON COMMIT DROP", &["CREATE TABLE"]),
            ("SELECT temp FROM weather", &["SELECT 3"]),
            ("UPDATE t SET a = 1", &["UPDATE 1"]),
            ("DECLARE c CURSOR FOR SELECT 1", &["DECLARE CURSOR"]),
        ] {
            assert!(!after(text, tags).is_due(), "{text}");
        }
    }

    #[test]
    fn what_stays_is_suspected_and_named() {
        for (text, tags, kind) in [
            ("SET  work_mem = '1MB'", &["SET"][..], StateKind::Setting),
            ("SET LOCAL a.b = 1; SET a.c = 2", &["SET", "SET"], StateKind::Setting),
            ("SELECT set_config('app.tenant', '1', false)", &["SELECT 1"], StateKind::Setting),
            ("SELECT pg_advisory_lock(1)", &["SELECT 1"], StateKind::AdvisoryLock),
            ("create temp table t ()", &["CREATE TABLE"], StateKind::Temporary),
            ("begin; LISTEN it", &["BEGIN", "LISTEN"], StateKind::Listen),
            ("do 'begin end'", &["DO"], StateKind::Unknown),
        ] {
            let suspicion = after(text, tags);
            assert!(suspicion.is_due() && suspicion.is_dirty(), "{text}");
            let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(suspicion.cause(&[kind]), Some(&*one_line));
        }
        assert!(after("LOAD 'plpgsql'", &["LOAD"]).is_lasting());
        assert!(!after("DISCARD ALL", &["DISCARD ALL"]).is_lasting());
        let broken = after("selec temp", &[]);
        assert!(broken.is_due() && !broken.is_lasting());
        assert!(after("selec dblink_connect('x')", &[]).is_lasting());
    }

    #[test]
    fn a_statement_of_a_pipeline_is_excused_only_where_it_is_alone() {
        let mut suspicion = Suspicion::default();
        let mut run = |texts: &[&str]| {
            for text in texts {
                suspicion.parse_unnamed(text.as_bytes(), &mut Parser);
                suspicion.bind_unnamed(&[]);
                suspicion.execute();
            }
            suspicion.sync();
            suspicion.end_sent();
            texts.iter().for_each(|_| suspicion.tag(b"SET"));
            suspicion.ready(true);
            suspicion.is_due()
        };
        assert!(!run(&["SET LOCAL work_mem = '1MB'"]));
        assert!(run(&["SET work_mem = '1MB'", "SET LOCAL work_mem = '1MB'"]));
    }

    #[test]
    fn names_to_ask_for_come_from_texts_and_parameters() {
        let names = |suspicion: &Suspicion| {
            suspicion.names().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&after("/* x */ set app.one = 'a'", &["SET"])), "app.one");
        assert_eq!(names(&after("select 1; Set app.one TO 2", &["SELECT 1", "SET"])), "app.one");
        assert_eq!(names(&after("select a.b from a", &["SELECT 1"])), "");
        let mut suspicion = Suspicion::default();
        suspicion.parse_unnamed(b"select set_config($1, $2, false)", &mut Parser);
        suspicion.bind_unnamed(b"\0\0\0\x05app.x\0\0\0\x011");
        assert_eq!(names(&suspicion), "app.x");
    }

    #[test]
    fn where_something_is_held_its_end_is_a_reason_to_ask() {
        let mut suspicion = after("create temp table t ()", &["CREATE TABLE"]);
        suspicion.asked(true);
        suspicion.tag(b"INSERT 0 1");
        assert!(!suspicion.is_due());
        suspicion.tag(b"DROP TABLE");
        assert!(suspicion.is_due());
        suspicion.cleaned();
        suspicion.tag(b"DROP TABLE");
        assert!(!suspicion.is_due() && !suspicion.is_dirty());
    }
}
