//! How far a commit has come, for whoever has no more time to wait for it.
//!
//! A commit goes on in a task of its own. Until something was sent that may commit it, whoever waits
//! for it can put an end to it, and be sure that nothing is committed.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Committed, InDoubt};
use crate::Error;
use crate::mutex::Mutex;
use crate::pool::NodePool;
use crate::session::Progress;

/// See the module's header.
pub(super) struct Stage {
    // Held for a look or a step.
    reached: Mutex<Reached>,
    given_up: watch::Sender<bool>,
}

#[derive(Clone)]
enum Reached {
    /// Nothing was sent that commits anything.
    Undecided,
    /// Nothing was, and nothing will be.
    GivenUp,
    /// COMMIT was sent to this node. What may be prepared elsewhere for it.
    Deciding(Arc<NodePool>, Vec<InDoubt>),
    /// What has not been finished.
    Committed(Vec<InDoubt>),
    /// Why.
    RolledBack(String),
}

impl Stage {
    pub(super) fn new() -> Self {
        Self { reached: Mutex::new(Reached::Undecided), given_up: watch::Sender::new(false) }
    }

    /// COMMIT is about to be sent to this node; whether it may be.
    pub(super) fn may_decide(&self, node: &Arc<NodePool>, prepared: Vec<InDoubt>) -> bool {
        let mut reached = self.reached.lock();
        let may = !matches!(*reached, Reached::GivenUp);
        if may {
            *reached = Reached::Deciding(node.clone(), prepared);
        }
        may
    }

    /// It is committed, and this is not finished.
    pub(super) fn is_committed(&self, pending: Vec<InDoubt>) {
        *self.reached.lock() = Reached::Committed(pending);
    }

    /// It will not be committed.
    pub(super) fn is_rolled_back(&self, why: impl FnOnce() -> String) {
        let mut reached = self.reached.lock();
        if !matches!(*reached, Reached::GivenUp | Reached::RolledBack(_)) {
            *reached = Reached::RolledBack(why());
        }
    }

    /// Waits until nobody waits for the commit any more.
    pub(super) async fn given_up(&self) {
        let mut given_up = self.given_up.subscribe();
        given_up.wait_for(|given_up| *given_up).await.expect("the stage has the sender");
    }

    /// The time is up: what is known now. What is not decided will not be.
    pub(super) fn give_up(&self, progress: &Progress) -> Result<Committed, Error> {
        let reached = {
            let mut reached = self.reached.lock();
            if matches!(*reached, Reached::Undecided) {
                *reached = Reached::GivenUp;
            }
            reached.clone()
        };
        self.given_up.send_replace(true);
        match reached {
            Reached::Committed(pending) => Ok(Committed { pending }),
            Reached::Deciding(node, in_doubt) => {
                Err(progress.late_commit(Some((&node, in_doubt)), None))
            }
            Reached::RolledBack(why) => Err(progress.late_commit(None, Some(why))),
            Reached::Undecided | Reached::GivenUp => Err(progress.late_commit(None, None)),
        }
    }
}
