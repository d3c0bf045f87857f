//! Clients that are consoles: what they ask is gathered from all cores, what they order is carried
//! out.

use pgherd_wire::TxStatus;
use pgherd_wire::backend::{self, Authentication};
use pgherd_wire::startup::PROTOCOL_3_2;

use super::Phase;
use crate::admin::console::{Ask, Console, Failure, Outcome, Step};
use crate::admin::report::{Report, Scope};
use crate::admin::show::View;
use crate::admin::{Command, Rights};
use crate::auth::UserId;
use crate::reactor::cancels::cancel_pid;
use crate::reactor::driver::{Entry, Requester};
use crate::reactor::{Driver, Mail, Todo, Worker};
use crate::session::Request;

/// A client that is a console.
#[derive(Debug)]
pub(in crate::reactor) struct AtConsole {
    console: Console,
    pub(in crate::reactor) user: UserId,
    // What it has asked, and what of the answer is there.
    asked: Option<Asked>,
    // Tells late answers to what it does not ask any more.
    round: u64,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    reports: Vec<Report>,
}

impl AtConsole {
    /// Whether it waits for an answer: nothing more is read from it until then.
    pub(super) fn waits(&self) -> bool {
        self.asked.is_some()
    }
}

impl<D: Driver> Worker<D> {
    /// A client has logged in to the console. `said` is what the login has still to say.
    pub(super) fn open_console(
        &mut self,
        key: usize,
        request: &Request,
        rights: Rights,
        mut said: Vec<u8>,
    ) {
        let (core, console) = (self.core, Console::new(rights));
        let client = &mut self.clients[key];
        client.greeting = false;
        client.long_key = request.protocol >= PROTOCOL_3_2;
        client.since = self.now;
        let at = AtConsole { console, user: request.user, asked: None, round: 0 };
        client.phase = Phase::Console(Box::new(at));
        Authentication::Ok.put(&mut said);
        Console::put_welcome(&mut said);
        let secret = if client.long_key { &client.secret[..] } else { &client.secret[..4] };
        backend::put_key_data(&mut said, cancel_pid(core, key), secret);
        backend::put_ready(&mut said, TxStatus::Idle);
        client.send([&said[..]].into_iter());
        if self.draining {
            self.dismiss_if_idle(key);
        }
    }

    /// `None` when the rest has to wait.
    pub(super) fn console_sent(&mut self, key: usize, input: &[u8]) -> Option<usize> {
        let client = &mut self.clients[key];
        let Phase::Console(at) = &mut client.phase else { return None };
        if at.waits() {
            return None;
        }
        let mut out = Vec::new();
        let (used, step) = at.console.on_bytes(input, &mut out);
        client.send([&out[..]].into_iter());
        client.since = self.now;
        let rests = used == 0 && step == Step::NeedMore;
        self.console_goes_on(key, step);
        (!rests).then_some(used)
    }

    /// Does what a console has come to, until that takes time.
    fn console_goes_on(&mut self, key: usize, mut step: Step) {
        loop {
            let ask = match step {
                Step::NeedMore => return,
                Step::Close => return self.leave(key),
                Step::Ask(ask) => ask,
            };
            let Some(outcome) = self.begin_ask(key, ask) else { return };
            let Some(next) = self.tell_console(key, outcome) else { return };
            step = next;
        }
    }

    fn tell_console(&mut self, key: usize, outcome: Outcome) -> Option<Step> {
        let client = self.clients.get_mut(key)?;
        let Phase::Console(at) = &mut client.phase else { return None };
        let mut out = Vec::new();
        let step = at.console.answer(outcome, &mut out);
        client.send([&out[..]].into_iter());
        Some(step)
    }

    /// The outcome, unless other cores have to be asked first.
    fn begin_ask(&mut self, key: usize, ask: Ask) -> Option<Outcome> {
        let scope = match &ask {
            Ask::Show(table) => table.scope,
            Ask::Do(command) => return Some(self.carry_out(command)),
        };
        let reports = vec![self.report(scope)];
        if self.proxy.cores == 1 {
            return Some(self.outcome(&ask, &reports));
        }
        let (own, entry) = (self.core, Entry::new(key, self.clients[key].serial));
        let Phase::Console(at) = &mut self.clients[key].phase else { return None };
        at.round += 1;
        at.asked = Some(Asked { ask, reports });
        let round = at.round;
        let by = Requester { core: own, entry };
        for core in (0..self.proxy.cores).filter(|core| *core != own) {
            self.driver.post(core, Mail::Report { scope, by, round });
        }
        None
    }

    /// Another core's console asks what there is here.
    pub(in crate::reactor) fn send_report(&mut self, scope: Scope, by: Requester, round: u64) {
        let report = Box::new(self.report(scope));
        self.driver.post(by.core, Mail::Reported { to: by.entry, round, report });
    }

    /// Another core has told what there is.
    pub(in crate::reactor) fn reported(&mut self, to: Entry, round: u64, report: Report) {
        let cores = self.proxy.cores;
        let Some(client) = self.clients.get_mut(to.key) else { return };
        if to != Entry::new(to.key, client.serial) {
            return;
        }
        let Phase::Console(at) = &mut client.phase else { return };
        if at.round != round {
            return;
        }
        let Some(asked) = &mut at.asked else { return };
        asked.reports.push(report);
        if asked.reports.len() < cores {
            return;
        }
        let Some(Asked { ask, reports }) = at.asked.take() else { return };
        let outcome = self.outcome(&ask, &reports);
        if let Some(step) = self.tell_console(to.key, outcome) {
            self.console_goes_on(to.key, step);
        }
        if let Some(client) = self.clients.get_mut(to.key) {
            client.resume();
            self.todo.push_back(Todo::Client(to.key));
        }
    }

    fn outcome(&self, ask: &Ask, reports: &[Report]) -> Outcome {
        let Ask::Show(table) = ask else { return Outcome::Done };
        let view = View { proxy: &self.proxy, reports, now: self.now };
        match (table.rows)(&view) {
            Ok(rows) => Outcome::Rows(rows),
            Err(message) => Outcome::Failed(Failure::new(message)),
        }
    }

    fn carry_out(&mut self, command: &Command) -> Outcome {
        let message = format!("{} is not carried out by this pgherd yet", command.tag());
        Outcome::Failed(Failure::new(message))
    }
}
