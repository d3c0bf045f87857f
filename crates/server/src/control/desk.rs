//! Answers what logins ask that would hold up a core.
//!
//! In: questions of the cores. Out: answers, by mail. As many wait as [`MOST_WAITING`]; a derivation of
//! keys takes a core for milliseconds, and one runs at a time. The directory of the system's users may be
//! somewhere in the network: a few are asked for at a time.

use std::sync::Arc;

use nix::unistd::{Uid, User};
use tokio::sync::{Semaphore, mpsc};

use super::lookups::Lookups;
use crate::auth::{Answer, Question};
use crate::reactor::mio_driver::Mailbox;
use crate::reactor::{Mail, Requester};

/// Questions that wait at most; one more is turned away. 1000 derivations take 2 s.
const MOST_WAITING: usize = 1000;

/// The system's users that are asked for at a time: each holds a thread.
const NAMES_AT_ONCE: usize = 10;

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
        let derive = in_turn(1, &mailboxes);
        let identify = in_turn(NAMES_AT_ONCE, &mailboxes);
        loop {
            tokio::select! {
                asked = self.0.recv() => match asked {
                    None => return,
                    Some((Question::Forget(name), _)) => lookups.forget(&name),
                    Some((Question::User { name, place, recipe }, by)) => {
                        if let Some(answer) = lookups.ask(name, place, recipe, by) {
                            reply(&mailboxes, by, answer);
                        }
                    }
                    // As many as wait here wait there: there is room, or its client is told.
                    Some((Question::Keys { secret, password }, by)) => {
                        let work = move || Answer::Keys(secret.keys(password.expose()));
                        if derive.try_send((Box::new(work), by)).is_err() {
                            reply(&mailboxes, by, Answer::Failed);
                        }
                    }
                    Some((Question::SystemUser(number), by)) => {
                        if identify.try_send((Box::new(move || name(number)), by)).is_err() {
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

type Work = (Box<dyn FnOnce() -> Answer + Send>, Requester);

/// Where to leave work that blocks, of which so many are done at a time. It ends with the sender.
fn in_turn(at_once: usize, mailboxes: &Arc<[Mailbox]>) -> mpsc::Sender<Work> {
    let (leave, mut waiting) = mpsc::channel::<Work>(MOST_WAITING);
    let mailboxes = Arc::clone(mailboxes);
    tokio::spawn(async move {
        let free = Arc::new(Semaphore::new(at_once));
        while let Some((work, by)) = waiting.recv().await {
            let turn = Arc::clone(&free).acquire_owned().await.expect("nobody closes it");
            let mailboxes = Arc::clone(&mailboxes);
            tokio::task::spawn_blocking(move || {
                let answer = work();
                drop(turn);
                reply(&mailboxes, by, answer);
            });
        }
    });
    leave
}

/// What the system's user of this number is called.
fn name(number: u32) -> Answer {
    match User::from_uid(Uid::from_raw(number)) {
        Ok(user) => Answer::SystemUser(user.map(|user| user.name)),
        Err(error) => {
            tracing::error!(number, %error, "cannot look up a user of the system");
            Answer::Failed
        }
    }
}

fn reply(mailboxes: &[Mailbox], by: Requester, answer: Answer) {
    mailboxes[by.core].post(Mail::Answer { to: by.entry, answer });
}
