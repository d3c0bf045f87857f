//! Clients that are consoles: what they ask is gathered from all cores, what they order is carried
//! out.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use pgherd_wire::backend::{self, Authentication};
use pgherd_wire::startup::PROTOCOL_3_2;
use pgherd_wire::{TxStatus, sqlstate};

use super::Phase;
use crate::admin::console::{Ask, Console, Failure, Outcome, Step};
use crate::admin::show::{View, is_of_transactions};
use crate::admin::{Command, Order, Pause, Report, Rights, Scope, Shutdown};
use crate::auth::UserId;
use crate::control::Left;
use crate::databases::DatabaseId;
use crate::reactor::driver::{Entry, Requester};
use crate::reactor::{Driver, Mail, Proxy, Todo, Worker};
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
    // Its order that has everything stand still, which goes on when it leaves.
    suspended_by: Option<u64>,
    // It has had its turn.
    pub(super) rests: bool,
}

#[derive(Debug)]
struct Asked {
    ask: Ask,
    // The number of the order that it is.
    number: u64,
    since: Instant,
    reports: Vec<Report>,
    // Whether the settings are read again, once they are.
    reload: Option<Arc<OnceLock<Result<(), String>>>>,
    // Whether they were when the cores were last asked to look at them.
    were_read: bool,
    // What is prepared on the shards, once they were looked at.
    left: Option<Arc<OnceLock<Left>>>,
}

/// Reads the settings again in a thread of its own, because that waits for the disk.
fn reload_aside(proxy: Arc<Proxy>) -> Arc<OnceLock<Result<(), String>>> {
    let outcome = Arc::new(OnceLock::new());
    let tell = Arc::clone(&outcome);
    let thread = std::thread::Builder::new().name("reload".to_owned());
    let started = thread.spawn(move || {
        let done = proxy.reload().map(|_| ());
        // Nobody else tells.
        let _ = tell.set(done);
    });
    if let Err(error) = started {
        let _ = outcome.set(Err(error.to_string()));
    }
    outcome
}

/// What has become of something that was asked.
enum Verdict {
    Outcome(Outcome),
    /// It takes longer.
    Later,
}

impl AtConsole {
    /// Whether it waits for an answer: nothing more is read from it until then.
    pub(super) fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether it has something to do that waits for no input.
    pub(super) fn is_in_query(&self) -> bool {
        self.console.is_in_query()
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
        let (pid, console) = (self.give_key(key), Console::new(rights));
        let parameters = self.intern(request.parameters.clone());
        let client = &mut self.clients[key];
        client.greeting = false;
        client.long_key = request.protocol >= PROTOCOL_3_2;
        client.since = self.now;
        let at = AtConsole {
            console,
            user: request.user,
            asked: None,
            round: 0,
            suspended_by: None,
            rests: false,
        };
        self.proxy.admin.console_opened();
        client.phase = Phase::Console(Box::new(at));
        client.at_login = parameters;
        self.note_login(key);
        let client = &mut self.clients[key];
        Authentication::Ok.put(&mut said);
        Console::put_welcome(&mut said);
        backend::put_key_data(&mut said, pid, client.told_secret());
        backend::put_ready(&mut said, TxStatus::Idle);
        client.send([&said[..]].into_iter());
        if self.draining {
            self.dismiss_if_idle(key);
        }
    }

    /// `None` when the rest has to wait: for an answer, for others to have their turn, or for what was
    /// sent to be taken.
    pub(super) fn console_sent(&mut self, key: usize, input: &[u8]) -> Option<usize> {
        let client = &mut self.clients[key];
        let takes_more = client.takes_more();
        let Phase::Console(at) = &mut client.phase else { return None };
        if at.waits() || at.rests || !takes_more {
            client.resume();
            return None;
        }
        let mut out = Vec::new();
        let (used, step) = at.console.on_bytes(input, &mut out);
        client.send([&out[..]].into_iter());
        client.since = self.now;
        let needs_more = used == 0 && step == Step::NeedMore;
        match step {
            Step::NeedMore => {}
            Step::Close => self.leave(key, "its console is closed"),
            Step::Rest => self.rest(key),
            Step::Ask(ask) => {
                if let Some(outcome) = self.begin_ask(key, ask) {
                    self.finish_ask(key, outcome);
                }
            }
        }
        (!needs_more).then_some(used)
    }

    /// A console has done enough for this turn: one read may hold thousands of statements, and each
    /// may come to a long table.
    fn rest(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if let Phase::Console(at) = &mut client.phase {
            at.rests = true;
            client.resume();
            self.todo.push_back(Todo::Client(key));
        }
    }

    /// The outcome, unless that takes longer.
    fn begin_ask(&mut self, key: usize, ask: Ask) -> Option<Outcome> {
        let number = self.proxy.admin.next_order();
        let (order, scope) = match &ask {
            Ask::Show(table) => (Order::Tell, table.scope),
            Ask::Do(command) => match self.prepare(command, number) {
                Ok(order) => (order, Scope::Sums),
                Err(failure) => return Some(Outcome::Failed(failure)),
            },
        };
        let Phase::Console(at) = &mut self.clients[key].phase else { return None };
        if ask == Ask::Do(Command::Suspend) {
            at.suspended_by = Some(number);
        }
        let is_reload = ask == Ask::Do(Command::Reload);
        let reload = is_reload.then(|| reload_aside(Arc::clone(&self.proxy)));
        let looks = matches!(&ask, Ask::Show(table) if is_of_transactions(table));
        let left = looks.then(|| (self.proxy.left)());
        let (since, reports, were_read) = (self.now, Vec::new(), false);
        at.asked = Some(Asked { ask, number, since, reports, reload, were_read, left });
        self.gather(key, order, scope)
    }

    /// Has every core do something and tell what there is then. The outcome, if it is known at once.
    fn gather(&mut self, key: usize, order: Order, scope: Scope) -> Option<Outcome> {
        let reload = self.asked_at(key).and_then(|asked| asked.reload.as_ref());
        let were_read = reload.is_some_and(|reload| reload.get().is_some());
        let report = self.obey(order.clone(), scope);
        let own = self.core;
        // It may have been its own end.
        let client = self.clients.get_mut(key)?;
        let by = Requester { core: own, entry: Entry::new(key, client.serial) };
        let Phase::Console(at) = &mut client.phase else { return None };
        at.round += 1;
        let round = at.round;
        let asked = at.asked.as_mut()?;
        (asked.reports, asked.were_read) = (vec![report], were_read);
        for core in (0..self.proxy.cores).filter(|core| *core != own) {
            self.driver.post(core, Mail::Order { order: order.clone(), scope, by, round });
        }
        self.judge(key)
    }

    /// What a console waits for.
    fn asked_at(&self, key: usize) -> Option<&Asked> {
        match &self.clients.get(key)?.phase {
            Phase::Console(at) => at.asked.as_ref(),
            _ => None,
        }
    }

    /// Another core has done what a console here has ordered.
    pub(in crate::reactor) fn reported(&mut self, to: Entry, round: u64, report: Report) {
        let Some(client) = self.clients.get_mut(to.key) else { return };
        if to != Entry::new(to.key, client.serial) {
            return;
        }
        let Phase::Console(at) = &mut client.phase else { return };
        let Some(asked) = at.asked.as_mut().filter(|_| at.round == round) else { return };
        asked.reports.push(report);
        if let Some(outcome) = self.judge(to.key) {
            self.finish_ask(to.key, outcome);
        }
    }

    /// The outcome of what a console has asked, if it is known. Where it takes longer, it is looked at
    /// again with the next tick.
    fn judge(&mut self, key: usize) -> Option<Outcome> {
        let client = self.clients.get_mut(key)?;
        let entry = Entry::new(key, client.serial);
        let Phase::Console(at) = &mut client.phase else { return None };
        let asked = at.asked.take_if(|asked| asked.reports.len() == self.proxy.cores)?;
        match self.verdict(&asked) {
            Verdict::Outcome(outcome) => Some(outcome),
            Verdict::Later => {
                self.waiting_consoles.push(entry);
                if let Phase::Console(at) = &mut self.clients[key].phase {
                    at.asked = Some(asked);
                }
                None
            }
        }
    }

    fn verdict(&self, asked: &Asked) -> Verdict {
        let Asked { ask, since, reports, reload, were_read, left, .. } = asked;
        let command = match ask {
            Ask::Show(table) => {
                let left = match left.as_ref().map(|left| left.get()) {
                    Some(None) => return Verdict::Later,
                    left => left.flatten(),
                };
                let view = View { proxy: &self.proxy, reports, now: self.now, left };
                return Verdict::Outcome(match (table.rows)(&view) {
                    Ok(rows) => Outcome::Rows(rows),
                    Err(message) => Outcome::Failed(Failure::new(message)),
                });
            }
            Ask::Do(command) => command,
        };
        let left = match command {
            Command::Pause(name) => self.backends_of(self.ids_of(name.as_deref()).as_deref()),
            Command::WaitClose(name) => {
                let ids = self.ids_of(name.as_deref());
                let pools = reports.iter().flat_map(|report| &report.pools);
                let of_it =
                    pools.filter(|((of, _), _)| ids.as_ref().is_none_or(|ids| ids.contains(of)));
                of_it.map(|(_, pool)| pool.counts.backends.close_needed).sum()
            }
            Command::Suspend => reports.iter().map(|report| report.unsent).sum(),
            Command::Reload => {
                // Not before all cores have looked at them: who hears the answer is served by them.
                let read = reload.as_ref().filter(|_| *were_read);
                let outcome = match read.and_then(|reload| reload.get()) {
                    None => return Verdict::Later,
                    Some(Ok(())) => Outcome::Done,
                    Some(Err(error)) => {
                        let message = format!("RELOAD failed: {error}");
                        Outcome::Failed(Failure::with_code(sqlstate::CONFIG_FILE_ERROR, message))
                    }
                };
                return Verdict::Outcome(outcome);
            }
            Command::KillClient(_) => {
                let is_found = reports.iter().any(|report| report.has_dismissed);
                return Verdict::Outcome(match is_found {
                    true => Outcome::Done,
                    false => Outcome::Failed(Failure::new("client not found")),
                });
            }
            _ => 0,
        };
        // Whoever has not taken it by then keeps it.
        let is_late = *command == Command::Suspend
            && self.now.saturating_duration_since(*since) >= self.live.suspend_timeout;
        match left == 0 || is_late {
            true => Verdict::Outcome(Outcome::Done),
            false => Verdict::Later,
        }
    }

    /// The databases of this name; `None` stands for all, where none is named.
    fn ids_of(&self, name: Option<&str>) -> Option<Vec<DatabaseId>> {
        // There may be none any more.
        let named = self.proxy.databases.all_named(name?).unwrap_or_default();
        Some(named.iter().map(|database| database.id).collect())
    }

    /// A console is told, and goes on in its next turn.
    fn finish_ask(&mut self, key: usize, outcome: Outcome) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Phase::Console(at) = &mut client.phase else { return };
        let mut out = Vec::new();
        at.console.answer(outcome, &mut out);
        client.send([&out[..]].into_iter());
        self.rest(key);
    }

    /// Looks again at what consoles wait for.
    pub(in crate::reactor) fn go_on_with_consoles(&mut self) {
        for entry in std::mem::take(&mut self.waiting_consoles) {
            let Some(client) = self.clients.get(entry.key) else { continue };
            let is_it = entry == Entry::new(entry.key, client.serial);
            let reloads = self.asked_at(entry.key).is_some_and(|asked| asked.reload.is_some());
            let order = if reloads { Order::Follow } else { Order::Tell };
            if is_it && let Some(outcome) = self.gather(entry.key, order, Scope::Sums) {
                self.finish_ask(entry.key, outcome);
            }
        }
    }

    /// Ctrl-C at a console: what it waits for is called off, and undone.
    pub(super) fn cancel_console(&mut self, key: usize) {
        let Phase::Console(at) = &mut self.clients[key].phase else { return };
        let waits = |asked: &mut Asked| matches!(asked.ask, Ask::Do(_));
        let Some(Asked { ask: Ask::Do(command), number, .. }) = at.asked.take_if(waits) else {
            return;
        };
        at.round += 1;
        if !self.is_ending() {
            match &command {
                Command::Pause(Some(name)) => {
                    let named = self.proxy.databases.all_named(name).unwrap_or_default();
                    named.iter().for_each(|database| database.undo_pause(number));
                }
                Command::Pause(None) | Command::Suspend => self.proxy.admin.undo_pause(number),
                _ => {}
            }
            self.follow_everywhere(key);
        }
        let message = "canceling statement due to user request";
        let failure = Failure::with_code(sqlstate::QUERY_CANCELED, message);
        self.finish_ask(key, Outcome::Failed(failure));
    }

    /// A console has left. Who has everything stand still and leaves, lets it go on.
    pub(super) fn console_left(&mut self, key: usize, at: &AtConsole) {
        self.proxy.admin.console_closed();
        if let Some(order) = at.suspended_by {
            self.proxy.admin.undo_pause(order);
            self.follow_everywhere(key);
        }
    }

    /// All cores look what is paused. Nobody waits for it.
    fn follow_everywhere(&mut self, key: usize) {
        let (own, entry) = (self.core, Entry::new(key, self.clients[key].serial));
        let (order, scope) = (Order::Follow, Scope::Sums);
        for core in (0..self.proxy.cores).filter(|core| *core != own) {
            let by = Requester { core: own, entry };
            // No console has a question of this number.
            self.driver.post(core, Mail::Order { order: order.clone(), scope, by, round: 0 });
        }
        self.obey(order, scope);
    }

    /// Notes what is ordered, where all cores see it, and tells what they have to do about it.
    fn prepare(&mut self, command: &Command, number: u64) -> Result<Order, Failure> {
        let proxy = Arc::clone(&self.proxy);
        let admin = &proxy.admin;
        let find = |name: &String, what: &str| {
            if proxy.databases.is_console(name) {
                return Err(Failure::new(format!("cannot {what} admin db: {name}")));
            }
            let found = proxy.databases.all_named(name);
            found.map_err(|_| Failure::new(format!("no such database: {name}")))
        };
        let nothing_stands = || match admin.pause() {
            Pause::None => Ok(()),
            Pause::Paused | Pause::Suspended => Err(Failure::new("already suspended/paused")),
        };
        Ok(match command {
            Command::Pause(name) => {
                nothing_stands()?;
                match name {
                    Some(name) => {
                        find(name, "pause")?.iter().for_each(|database| database.pause(number));
                    }
                    None => admin.set_pause(Pause::Paused, number),
                }
                Order::Follow
            }
            Command::Resume(Some(name)) => {
                let resumed =
                    find(name, "resume")?.into_iter().filter(|database| database.resume());
                if resumed.count() == 0 {
                    return Err(Failure::new(format!("database {name} is not paused")));
                }
                Order::Follow
            }
            Command::Resume(None) if self.is_ending() => {
                return Err(Failure::new("pooler is shutting down"));
            }
            Command::Resume(None) => {
                if admin.pause() == Pause::None {
                    return Err(Failure::new("pooler is not paused/suspended"));
                }
                admin.set_pause(Pause::None, number);
                Order::Follow
            }
            Command::Suspend => {
                nothing_stands()?;
                if proxy.databases.all().iter().any(|database| database.is_paused()) {
                    return Err(Failure::new("cannot suspend with paused databases"));
                }
                admin.set_pause(Pause::Suspended, number);
                Order::Follow
            }
            Command::Disable(name) => {
                find(name, "disable")?.iter().for_each(|database| database.set_disabled(true));
                Order::Tell
            }
            Command::Enable(name) => {
                find(name, "enable")?.iter().for_each(|database| database.set_disabled(false));
                Order::Tell
            }
            Command::Kill(Some(name)) => {
                let named = find(name, "kill")?;
                named.iter().for_each(|database| database.pause(number));
                Order::Kill(Some(named.iter().map(|database| database.id).collect()))
            }
            Command::Kill(None) => {
                if admin.pause() == Pause::Suspended {
                    return Err(Failure::new("already suspended/paused"));
                }
                admin.set_pause(Pause::Paused, number);
                Order::Kill(None)
            }
            Command::KillClient(id) => Order::KillClient(*id),
            Command::Reconnect(Some(name)) => {
                let now = admin.nanos(self.now);
                find(name, "reconnect")?.iter().for_each(|database| database.reconnect(now));
                // Each core sees to the pools of which that is news.
                Order::Follow
            }
            Command::Reconnect(None) => {
                admin.reconnect(self.now);
                Order::Reconnect
            }
            Command::WaitClose(Some(name)) => {
                find(name, "wait in")?;
                Order::Tell
            }
            Command::WaitClose(None) => Order::Tell,
            Command::Reload if admin.has_source() => Order::Tell,
            Command::Reload => {
                let message =
                    "RELOAD failed: settings are read at the start only, so start pgherd anew";
                return Err(Failure::with_code(sqlstate::CONFIG_FILE_ERROR, message));
            }
            Command::Shutdown(Shutdown::Now) => Order::Halt,
            Command::Shutdown(Shutdown::WaitForServers) => Order::Drain,
            Command::Shutdown(Shutdown::WaitForClients) => Order::AwaitClients,
            Command::Set { key, value } => {
                let set = admin.set(key, value);
                set.map_err(|error| Failure::new(format!("SET failed: {error}")))?;
                Order::Follow
            }
        })
    }
}
