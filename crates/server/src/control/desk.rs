//! Answers what logins ask that would hold up a core.
//!
//! In: questions of the cores. Out: answers, by mail. As many wait as [`MOST_WAITING`]; a derivation of
//! keys takes a core for milliseconds, and one runs at a time.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::lookups::Lookups;
use crate::auth::{Answer, Question};
use crate::reactor::mio_driver::Mailbox;
use crate::reactor::{Mail, Requester};

/// Questions that wait at most; one more is turned away. 1000 derivations take 2 s.
const MOST_WAITING: usize = 1000;

type Asked = (Question, Requester);

/// Where the cores leave questions.
#[derive(Debug, Clone)]
pub(crate) struct Desk(mpsc::Sender<Asked>);

/// The questions, for whoever answers them.
#[derive(Debug)]
pub(super) struct Questions(mpsc::Receiver<Asked>);

pub(super) fn desk() -> (Desk, Questions) {
    let (ask, asked) = mpsc::channel(MOST_WAITING);
    (Desk(ask), Questions(asked))
}

impl Desk {
    /// Leaves a question; `false` if too many wait.
    pub(crate) fn ask(&self, question: Question, by: Requester) -> bool {
        self.0.try_send((question, by)).is_ok()
    }
}

impl Questions {
    /// Answers them until nobody is left who could ask.
    ///
    /// Dropping the future leaves those that wait without an answer.
    pub(super) async fn answer(mut self, mailboxes: Arc<[Mailbox]>, mut lookups: Lookups) {
        let (derive, derivations) = mpsc::channel(MOST_WAITING);
        tokio::spawn(derive_in_turn(derivations, Arc::clone(&mailboxes)));
        loop {
            tokio::select! {
                asked = self.0.recv() => match asked {
                    None => return,
                    Some((Question::Forget(name), _)) => lookups.forget(&name),
                    Some((Question::User { name, place, mock_key }, by)) => {
                        if let Some(answer) = lookups.ask(name, place, mock_key, by) {
                            reply(&mailboxes, by, answer);
                        }
                    }
                    // As many as wait here wait there: there is room, or its client is told.
                    Some((Question::Keys { secret, password }, by)) => {
                        if derive.try_send((secret, password, by)).is_err() {
                            reply(&mailboxes, by, Answer::Failed);
                        }
                    }
                },
                (answer, asked_by) = lookups.next() => {
                    asked_by.into_iter().for_each(|by| reply(&mailboxes, by, answer.clone()));
                }
            }
        }
    }
}

type Derivation = (pgherd_wire::scram::Secret, pgherd_core::settings::Secret, Requester);

async fn derive_in_turn(mut waiting: mpsc::Receiver<Derivation>, mailboxes: Arc<[Mailbox]>) {
    let one = Arc::new(Semaphore::new(1));
    while let Some((secret, password, by)) = waiting.recv().await {
        let turn = Arc::clone(&one).acquire_owned().await.expect("nobody closes it");
        let mailboxes = Arc::clone(&mailboxes);
        tokio::task::spawn_blocking(move || {
            let answer = Answer::Keys(secret.keys(password.expose()));
            drop(turn);
            reply(&mailboxes, by, answer);
        });
    }
}

fn reply(mailboxes: &[Mailbox], by: Requester, answer: Answer) {
    mailboxes[by.core].post(Mail::Answer { to: by.entry, answer });
}
