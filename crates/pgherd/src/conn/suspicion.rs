//! What the statements of one session may have left in it.
//!
//! In: the messages that tell, as they pass on the wire. Out: [`LeftState`], if there is reason
//! to suspect any.
//!
//! | On the wire                              | Then                                              |
//! |------------------------------------------|---------------------------------------------------|
//! | a Query whose text is worth a parse      | the parser tells what it leaves                   |
//! | a Parse of such a text                   | the same, for each Bind of that statement         |
//! | the tag of a command that leaves state   | it did, unless the parser knows that this text    |
//! |                                          | leaves nothing (SET LOCAL)                        |
//!
//! Most texts are not worth a parse, and most statements have no such tag: they cost a look at
//! their bytes. What the bodies of functions do is not seen.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use pgherd_core::sql::{self, ClassCache, Look, Remains};
use pgherd_wire::WireError;
use pgherd_wire::frontend::{self, Bind, Parse, Target};

use crate::mutex::Mutex;

/// What texts are, remembered for all connections of a pool. The lock is held for one look-up, or
/// for one parse (microseconds).
pub(crate) type Classes = Arc<Mutex<ClassCache>>;

/// Excuses kept at most: for a pipeline of so many statements that set something locally. What is
/// not excused is asked for.
const MOST_EXCUSED: usize = 1024;

/// That a session may hold state which its next user must not find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LeftState {
    /// What may be there, at worst: something.
    pub(crate) remains: Remains,
    /// Why it is suspected.
    pub(crate) evidence: Evidence,
}

/// Why a session is taken to hold state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// A command's tag: SET, LISTEN, PREPARE, ...
    Tag,
    /// A statement's text: `set_config`, temporary tables, advisory locks, DO, ...
    Text,
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Suspicion {
    // None: nobody else uses the session, and nothing is suspected.
    classes: Option<Classes>,
    left: Option<LeftState>,
    // Settings may differ from those at the login, be it until the transaction ends.
    is_altered: bool,
    // By the driver's name, the statements whose texts say more than nothing.
    named: HashMap<Box<[u8]>, Found>,
    // The unnamed portal is of a statement whose tag is excused.
    is_bound_excused: bool,
    // The numbers of statements under way whose tags are excused, in order.
    excused: VecDeque<u64>,
}

/// What the parser has found a text to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    leaves: Option<Remains>,
    is_excused: bool,
    alters_meaning: bool,
}

impl Suspicion {
    /// With `None` of a session that is never lent.
    pub(super) fn new(classes: Option<Classes>) -> Self {
        Self {
            classes,
            left: None,
            is_altered: false,
            named: HashMap::new(),
            is_bound_excused: false,
            excused: VecDeque::new(),
        }
    }

    /// Whether the bodies of Bind, Execute and Close are needed now, and not only of what carries
    /// a text.
    pub(super) fn reads_names(&self) -> bool {
        !self.named.is_empty() || self.is_bound_excused
    }

    /// A message has left; before it, so many statements had.
    pub(super) fn on_sent(&mut self, tag: u8, body: &[u8], number: u64) -> Result<(), WireError> {
        match tag {
            frontend::QUERY => {
                if let Some(found) = self.look(body.strip_suffix(b"\0").unwrap_or(body)) {
                    self.runs(found);
                    if found.is_excused {
                        self.excuse(number);
                    }
                }
            }
            frontend::PARSE => {
                let Parse { name, sql, .. } = Parse::read(body)?;
                if let Some(found) = self.look(sql) {
                    self.named.insert(name.into(), found);
                } else if !self.named.is_empty() {
                    self.named.remove(name);
                }
            }
            frontend::BIND if self.reads_names() => {
                let Bind { portal, statement, .. } = Bind::read(body)?;
                let found = self.named.get(statement).copied();
                if let Some(found) = found {
                    self.runs(found);
                }
                if portal.is_empty() {
                    self.is_bound_excused = found.is_some_and(|found| found.is_excused);
                }
            }
            frontend::EXECUTE if self.is_bound_excused && body.first() == Some(&0) => {
                self.excuse(number);
            }
            frontend::CLOSE if self.reads_names() => {
                if let Target::Statement(name) = Target::read(tag, body)? {
                    self.named.remove(name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A command has completed, of the statement before which so many had left.
    pub(super) fn on_tag(&mut self, tag: &[u8], number: impl FnOnce() -> u64) {
        let remains = sql::remains_of_tag(tag);
        if remains == Remains::Nothing {
            return;
        }
        if !self.excused.is_empty() {
            let number = number();
            while self.excused.front().is_some_and(|excused| *excused < number) {
                self.excused.pop_front();
            }
            // Not taken out: a Query of several statements has as many tags.
            if self.excused.front() == Some(&number) {
                return;
            }
        }
        self.suspect(LeftState { remains, evidence: Evidence::Tag });
    }

    /// No transaction is open and nothing is owed: what was set for a transaction is gone.
    pub(super) fn on_idle(&mut self) {
        self.is_altered = self.left.is_some();
        self.excused.clear();
    }

    /// What the session may hold.
    pub(super) fn left(&self) -> Option<LeftState> {
        self.left
    }

    /// Whether its settings may be others than those at the login.
    pub(super) fn is_altered(&self) -> bool {
        self.is_altered
    }

    /// Takes the session to hold nothing, whatever was seen so far.
    pub(super) fn clear(&mut self) {
        self.left = None;
        self.is_altered = false;
    }

    /// What the parser says of a text, if it is worth asking.
    fn look(&self, text: &[u8]) -> Option<Found> {
        let look = sql::look(text);
        if look.is_plain() {
            return None;
        }
        let class = self.classes.as_ref()?.lock().classify_bytes(text);
        let Look { leaves, hides, excuses } = look;
        let remains = match (hides, leaves) {
            (true, _) => class.remains.max(Remains::Resettable),
            (false, true) => class.remains,
            (false, false) => Remains::Nothing,
        };
        let found = Found {
            leaves: (remains != Remains::Nothing).then_some(remains),
            is_excused: excuses && class.leaves_state.is_none(),
            alters_meaning: class.alters_meaning,
        };
        let says_something = found.leaves.is_some() || found.is_excused || found.alters_meaning;
        says_something.then_some(found)
    }

    fn runs(&mut self, found: Found) {
        self.is_altered |= found.alters_meaning;
        if let Some(remains) = found.leaves {
            self.suspect(LeftState { remains, evidence: Evidence::Text });
        }
    }

    fn suspect(&mut self, left: LeftState) {
        self.is_altered = true;
        if self.left.is_none_or(|before| before.remains < left.remains) {
            self.left = Some(left);
        }
    }

    fn excuse(&mut self, number: u64) {
        if self.excused.len() == MOST_EXCUSED {
            self.excused.pop_front();
        }
        self.excused.push_back(number);
    }
}
