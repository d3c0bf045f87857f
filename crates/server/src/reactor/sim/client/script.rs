//! What a client does, unit by unit: at the beginning and at the end of each it has all its answers
//! and no transaction is open.

use std::time::Duration;

use super::messages::Messages;
use crate::reactor::sim::random::Random;
use crate::reactor::sim::session::{Session, Tag};

/// One thing that a client does.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Send(Messages),
    /// Waits until everything is answered.
    Settle,
    Pause(Duration),
    /// Asks to cancel what it runs.
    Cancel,
    Leave(Leave),
    /// What it has sent is against the protocol: it is dismissed, with this SQLSTATE.
    Expect(&'static str),
}

/// How a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leave {
    /// Terminate, and the end.
    Politely,
    /// The end.
    Silently,
    /// It closes its sending side only.
    Half,
    /// The connection breaks.
    Broken,
}

/// What the next unit depends on.
#[derive(Debug)]
pub(super) struct Author<'c> {
    pub(super) random: &'c mut Random,
    pub(super) session: &'c Session,
    pub(super) number: u32,
    pub(super) counter: &'c mut u32,
    /// Whether it may leave something that only its session can hold.
    pub(super) may_hold: bool,
}

/// Texts of prepared statements, the same for all clients.
const SHARED: usize = 40;

/// What is set, and to what.
const VALUES: [(&str, [&str; 3]); 5] = [
    ("TimeZone", ["UTC", "Asia/Tokyo", "Europe/Riga"]),
    ("application_name", ["four", "five", "six"]),
    ("search_path", ["yours", "theirs", "pg_catalog"]),
    ("statement_timeout", ["250s", "0", "90s"]),
    ("app.tenant", ["acme", "initech", "hooli"]),
];

/// What is no message of the protocol.
const BREACHES: [&[u8]; 4] =
    [b"!\0\0\0\x04", b"Q\0\0\0\x01", b"P\0\0\0\x08oops", b"\xff\xff\xff\xff\xff"];

impl Author<'_> {
    /// The steps of one unit.
    pub(super) fn unit(&mut self) -> Vec<Step> {
        if self.session.is_held() && self.random.one_in(3) {
            return self.let_go();
        }
        if self.session.made().next().is_some() && self.random.one_in(4) {
            return self.prepare();
        }
        match self.random.below(100) {
            0..16 => self.simple(),
            16..28 => self.block(),
            28..38 => self.unnamed(),
            38..40 => self.unnamed_behind_errors(),
            40..56 => self.named(),
            56..64 => self.pipeline(),
            64..68 => self.errors(),
            68..74 => self.settings(),
            74..76 if self.may_hold => self.hold(),
            76..80 => self.copy_in(),
            80..82 => self.copy_out(),
            82..86 => self.cancel(),
            86..88 => self.portals(),
            88..90 => self.prepare(),
            90..92 => self.long(),
            92 => self.odd(),
            93 => self.leave(),
            94 if self.random.one_in(3) => self.breach(),
            _ => self.simple(),
        }
    }

    fn tag(&mut self) -> Tag {
        *self.counter += 1;
        Tag { session: self.number, number: *self.counter }
    }

    /// A text that carries a tag in a comment.
    fn tagged(&mut self, text: &str) -> String {
        format!("{text} /*'{}'*/", self.tag())
    }

    fn statement(&mut self) -> String {
        let tag = self.tag();
        match self.random.below(12) {
            0..4 => format!("SELECT '{tag}'"),
            4..6 => {
                let rows = self.random.below(12);
                format!("SELECT '{tag}' FROM generate_series(1, {rows})")
            }
            6 => format!("SELECT repeat('{tag}', {})", self.random.within(1, 400)),
            7 => format!("SHOW TimeZone /*'{tag}'*/"),
            8 => format!("SELECT coalesce(current_setting('app.tenant', true), '') /*'{tag}'*/"),
            9 => format!("SHOW search_path /*'{tag}'*/"),
            _ => format!("INSERT INTO t VALUES ('{tag}')"),
        }
    }

    fn failing(&mut self) -> String {
        let tag = self.tag();
        let text = *self.random.pick(&["SELECT 1/0, ", "SELEKT "]);
        format!("{text}'{tag}'")
    }

    fn simple(&mut self) -> Vec<Step> {
        let mut texts = vec![self.statement()];
        for _ in 0..self.random.below(3) / 2 * self.random.below(3) {
            texts.push(self.statement());
        }
        // A comment ends the text for a simulated server.
        texts.sort_by_key(|text| text.contains("/*"));
        while texts.iter().filter(|text| text.contains("/*")).count() > 1 {
            texts.pop();
        }
        settle(Messages::default().query(texts.join("; ")))
    }

    /// Messages of one block, with pauses or without.
    fn block(&mut self) -> Vec<Step> {
        let is_patient = !self.random.one_in(3);
        let mut parts = vec![Messages::default().query(self.tagged("BEGIN"))];
        for _ in 0..self.random.within(1, 4) {
            let text = self.statement();
            let messages = Messages::default();
            parts.push(match self.random.below(3) {
                0 => messages.run(text, None).sync(),
                _ => messages.query(text),
            });
        }
        if self.random.one_in(6) {
            parts.push(Messages::default().query(self.failing()));
            parts.push(Messages::default().query(self.statement()));
        }
        if self.random.one_in(5) {
            parts.push(Messages::default().query(self.tagged("SET LOCAL app.tenant = 'local'")));
            let show = "SELECT coalesce(current_setting('app.tenant', true), '')";
            parts.push(Messages::default().query(self.tagged(show)));
        }
        let end = if self.random.one_in(4) { "ROLLBACK" } else { "COMMIT" };
        parts.push(Messages::default().query(self.tagged(end)));
        let mut steps = Vec::new();
        for part in parts {
            steps.push(Step::Send(part));
            if is_patient {
                steps.push(Step::Settle);
                if self.random.one_in(8) {
                    steps.push(self.pause(20_000));
                }
            }
        }
        steps.push(Step::Settle);
        steps
    }

    fn pause(&mut self, most_micros: u64) -> Step {
        Step::Pause(Duration::from_micros(self.random.within(1, most_micros)))
    }

    fn unnamed(&mut self) -> Vec<Step> {
        let tag = self.tag().to_string();
        let messages = Messages::default();
        let messages = match self.random.below(4) {
            0 => messages.run("SELECT $1", Some(&tag)),
            1 => messages.run("INSERT INTO t VALUES ($1)", Some(&tag)),
            2 => messages.run(format!("SELECT '{tag}'"), None),
            _ => {
                // Parsed in one batch, used in another.
                let first = messages.parse("", "SELECT $1").describe_statement("").sync();
                let second = Messages::default().bind("", "", Some(&tag)).execute("", 0).sync();
                let mut steps = settle(first);
                if self.random.one_in(3) {
                    steps.push(self.pause(5000));
                }
                steps.extend(settle(second));
                return steps;
            }
        };
        if self.random.one_in(4) {
            // What comes behind Flush is waited for.
            let flushed = Step::Send(messages.flush());
            return vec![
                flushed,
                Step::Settle,
                Step::Send(Messages::default().sync()),
                Step::Settle,
            ];
        }
        settle(messages.sync())
    }

    /// An unnamed statement that was replaced or closed, or nearly so, and is used then.
    fn unnamed_behind_errors(&mut self) -> Vec<Step> {
        let mut change = Messages::default().parse("", "SELECT $1");
        if self.random.one_in(2) {
            change = change.sync();
        }
        let tag = self.tag().to_string();
        let change = match self.random.below(5) {
            0 => change.parse("", self.failing()),
            1 => change.bind("", "nobody", Some(&tag)).parse("", "INSERT INTO t VALUES ($1)"),
            2 => change.bind("", "nobody", Some(&tag)).close_statement(""),
            3 => change.parse("", "INSERT INTO t VALUES ($1)").parse("", self.failing()),
            _ => change.close_statement(""),
        };
        let tag = self.tag().to_string();
        let uses = Messages::default().bind("", "", Some(&tag)).execute("", 0).sync();
        let mut steps = vec![Step::Send(change.sync())];
        if self.random.one_in(2) {
            steps.push(Step::Settle);
            steps.push(self.pause(5000));
        }
        steps.extend(settle(uses));
        steps
    }

    fn named(&mut self) -> Vec<Step> {
        let (name, text) = self.shared();
        let is_there = self.session.prepared().any(|there| there == name.as_bytes());
        let mut messages = Messages::default();
        if is_there && self.random.one_in(12) {
            messages = messages.close_statement(&name);
        }
        if !is_there || self.random.one_in(30) {
            messages = messages.parse(&name, text);
            if self.random.one_in(2) {
                messages = messages.describe_statement(&name);
                let mut steps = match self.random.one_in(2) {
                    true => settle(messages.sync()),
                    // The proxy ends the batch; the client may go on before it has.
                    false => vec![Step::Send(messages.flush()), Step::Settle],
                };
                if self.random.one_in(3) {
                    steps.push(self.pause(2000));
                }
                steps.extend(self.use_named(&name));
                return steps;
            }
        }
        let mut steps = vec![Step::Send(messages)];
        steps.extend(self.use_named(&name));
        steps
    }

    /// A name and a text. A client has no two names for one text: an error about such a statement
    /// may name either.
    fn shared(&mut self) -> (String, String) {
        let which = self.random.below(SHARED);
        let text = match which % 5 {
            0 => format!("INSERT INTO t VALUES ($1) /*p{which}*/"),
            1 => format!("SELECT $1 FROM generate_series(1, {which}) /*p{which}*/"),
            _ => format!("SELECT $1 /*p{which}*/"),
        };
        (format!("s{}", which % 6), text)
    }

    fn use_named(&mut self, name: &str) -> Vec<Step> {
        let mut messages = Messages::default();
        for _ in 0..self.random.within(1, 3) {
            let tag = self.tag().to_string();
            messages = messages.bind("", name, Some(&tag)).execute("", 0);
            if self.random.one_in(2) {
                messages = messages.sync();
            }
        }
        settle(messages.sync())
    }

    /// Several batches at once, some of which fail.
    fn pipeline(&mut self) -> Vec<Step> {
        let mut messages = Messages::default();
        for _ in 0..self.random.within(2, 7) {
            let tag = self.tag().to_string();
            messages = match self.random.below(8) {
                0 => messages.run(self.failing(), None),
                1 => messages.query(self.statement()),
                2 => messages.run("INSERT INTO t VALUES ($1)", Some(&tag)),
                3 => {
                    let (name, text) = self.shared();
                    messages.close_statement(&name).parse(&name, text).bind("", &name, Some(&tag))
                }
                4 => {
                    let name = format!("s{}", self.random.below(6));
                    messages.bind("", &name, Some(&tag)).execute("", 0)
                }
                5 => messages.run("SELECT 1/0, $1", Some(&tag)),
                _ => messages.run("SELECT $1", Some(&tag)),
            };
            if self.random.one_in(2) {
                messages = messages.sync();
            }
        }
        settle(messages.sync())
    }

    fn errors(&mut self) -> Vec<Step> {
        match self.random.below(4) {
            0 => settle(Messages::default().query(self.failing())),
            1 => settle(Messages::default().run(self.failing(), None).sync()),
            2 => {
                let tag = self.tag().to_string();
                let messages = Messages::default().bind("", "nobody", Some(&tag)).execute("", 0);
                settle(messages.sync())
            }
            _ => {
                // What follows an error is skipped up to the Sync, which comes late.
                let messages = Messages::default().run(self.failing(), None).flush();
                let late = Messages::default().run(self.statement(), None);
                vec![Step::Send(messages), Step::Settle, Step::Send(late.sync()), Step::Settle]
            }
        }
    }

    fn settings(&mut self) -> Vec<Step> {
        let (name, values) = *self.random.pick(&VALUES);
        let value = *self.random.pick(&values);
        let text = match self.random.below(8) {
            0 => format!("RESET {name}"),
            1 => "RESET ALL".to_owned(),
            2 => "DISCARD ALL".to_owned(),
            3 => format!("SELECT set_config('{name}', '{value}', false)"),
            _ => format!("SET {name} = '{value}'"),
        };
        let text = self.tagged(&text);
        let messages = Messages::default();
        let mut steps = match self.random.below(4) {
            0 => settle(messages.run(text, None).sync()),
            1 if !text.starts_with("DISCARD") => {
                // Set, and taken back or not.
                let end = if self.random.one_in(2) { "COMMIT" } else { "ROLLBACK" };
                let begin = messages.query(self.tagged("BEGIN"));
                settle(begin.query(text).query(self.tagged(end)))
            }
            _ => settle(messages.query(text)),
        };
        if self.random.one_in(2) {
            let show = self.tagged(&match name.contains('.') {
                true => format!("SELECT coalesce(current_setting('{name}', true), '')"),
                false => format!("SHOW {name}"),
            });
            steps.extend(settle(Messages::default().query(show)));
        }
        steps
    }

    fn hold(&mut self) -> Vec<Step> {
        let tag = self.tag();
        let text = match self.random.below(4) {
            0 => self.tagged("CREATE TEMP TABLE mine ()"),
            1 => self.tagged("SELECT pg_advisory_lock(7)"),
            2 => self.tagged("LISTEN news"),
            _ => format!("DECLARE kept CURSOR WITH HOLD FOR SELECT '{tag}'"),
        };
        let messages = Messages::default();
        match self.random.below(3) {
            0 => settle(messages.run(text, None).sync()),
            1 => {
                let end = if self.random.one_in(2) { "COMMIT" } else { "ROLLBACK" };
                let begin = messages.query(self.tagged("BEGIN"));
                settle(begin.query(text).query(self.tagged(end)))
            }
            _ => settle(messages.query(text)),
        }
    }

    fn let_go(&mut self) -> Vec<Step> {
        let state = self.session.state();
        let text = if self.random.one_in(4) {
            "DISCARD ALL"
        } else if !state.tables.is_empty() {
            "DROP TABLE mine"
        } else if !state.channels.is_empty() {
            "UNLISTEN *"
        } else if !state.cursors.is_empty() {
            let fetch = Messages::default().query(self.tagged("FETCH kept"));
            let mut steps = settle(fetch);
            steps.extend(settle(Messages::default().query(self.tagged("CLOSE kept"))));
            return steps;
        } else {
            "SELECT pg_advisory_unlock(7)"
        };
        settle(Messages::default().query(self.tagged(text)))
    }

    fn copy_in(&mut self) -> Vec<Step> {
        let copy = self.tagged("COPY t FROM STDIN");
        let tag = self.tag();
        let mut data = Messages::default();
        for _ in 0..self.random.below(5) {
            data = data.copy_data(format!("{tag}\n").repeat(self.random.below(60)));
        }
        if self.random.one_in(6) {
            data = data.copy_data("bad line\n").copy_data(format!("{tag}\n"));
        }
        let data = if self.random.one_in(5) { data.copy_fail() } else { data.copy_done() };
        match self.random.below(3) {
            0 => settle(Messages::default().query(copy).raw(&data.0)),
            1 => {
                let begin = Messages::default().parse("", copy).bind("", "", None).execute("", 0);
                let begin = vec![Step::Send(begin.flush()), Step::Settle];
                let end = settle(data.sync());
                [begin, end].concat()
            }
            _ => {
                let mut steps = settle(Messages::default().query(copy));
                if self.random.one_in(3) {
                    steps.push(self.pause(5000));
                }
                steps.extend(settle(data));
                steps
            }
        }
    }

    fn copy_out(&mut self) -> Vec<Step> {
        let (tag, rows) = (self.tag(), self.random.below(300));
        let text = format!("COPY (SELECT '{tag}' FROM generate_series(1, {rows})) TO STDOUT");
        settle(Messages::default().query(text))
    }

    /// A statement that takes its time, and a cancel request that comes in time or too late.
    fn cancel(&mut self) -> Vec<Step> {
        let tag = self.tag();
        let seconds = self.random.below(40) as f64 / 1000.0;
        let text = format!("SELECT '{tag}' FROM pg_sleep({seconds})");
        let begin = Messages::default();
        let (begin, end) = match self.random.below(4) {
            0 => {
                let begin = begin.query(self.tagged("BEGIN")).query(text);
                (begin, Some(Messages::default().query(self.tagged("ROLLBACK"))))
            }
            1 => (begin.run(text, None).run(self.statement(), None).sync(), None),
            2 => (begin.query(text).query(self.statement()), None),
            _ => (begin.query(text), None),
        };
        let mut steps = vec![Step::Send(begin), self.pause(50_000), Step::Cancel];
        if self.random.one_in(2) {
            steps.extend(settle(Messages::default().query(self.statement())));
        }
        if let Some(end) = end {
            steps.push(Step::Settle);
            steps.push(Step::Send(end));
        }
        steps.push(Step::Settle);
        steps
    }

    /// Portals that are read in parts.
    fn portals(&mut self) -> Vec<Step> {
        let tag = self.tag();
        let rows = self.random.within(1, 9);
        let text = format!("SELECT '{tag}' FROM generate_series(1, {rows})");
        let most = u32::try_from(self.random.within(1, 4)).expect("small");
        let first = Messages::default().parse("", text).bind("p", "", None).execute("p", most);
        let second = Messages::default().execute("p", 0).close_portal("p").sync();
        match self.random.one_in(2) {
            true => settle(first.raw(&second.0)),
            false => {
                vec![Step::Send(first.flush()), Step::Settle, Step::Send(second), Step::Settle]
            }
        }
    }

    /// What is made with PREPARE, in one transaction or over several.
    fn prepare(&mut self) -> Vec<Step> {
        let has_one = self.session.made().next().is_some();
        let tag = self.tag();
        let (make, run) = (format!("PREPARE mine AS SELECT '{tag}'"), self.tagged("EXECUTE mine"));
        let end = self.tagged("DEALLOCATE mine");
        let messages = Messages::default();
        if has_one {
            return settle(messages.query(if self.random.one_in(2) { run } else { end }));
        }
        if self.random.one_in(2) {
            return settle(messages.query(make));
        }
        let begin = messages.query(self.tagged("BEGIN"));
        settle(begin.query(make).query(run).query(end).query(self.tagged("COMMIT")))
    }

    /// Long texts and long rows.
    fn long(&mut self) -> Vec<Step> {
        let tag = self.tag();
        let text = match self.random.below(3) {
            0 => format!("SELECT '{tag}' /*{}*/", "x".repeat(self.random.below(100_000))),
            1 => format!("SELECT repeat('{tag}', {})", self.random.below(20_000)),
            _ => format!("SELECT '{tag}' FROM generate_series(1, {})", self.random.below(2000)),
        };
        match self.random.one_in(2) {
            true => settle(Messages::default().query(text)),
            false => settle(Messages::default().run(text, None).sync()),
        }
    }

    fn odd(&mut self) -> Vec<Step> {
        let messages = Messages::default();
        settle(match self.random.below(5) {
            0 => messages.sync(),
            1 => messages.query(""),
            2 => messages.sync().sync().query(self.statement()),
            3 => messages.run("", None).sync(),
            _ => messages.copy_data("stale").copy_done().query(self.statement()),
        })
    }

    fn leave(&mut self) -> Vec<Step> {
        let leave =
            *self.random.pick(&[Leave::Politely, Leave::Silently, Leave::Half, Leave::Broken]);
        let mut steps = match self.random.below(5) {
            0 => vec![],
            1 => {
                let text = self.statement();
                vec![Step::Send(Messages::default().query(text))]
            }
            2 => {
                let begin = Messages::default().query(self.tagged("BEGIN"));
                vec![Step::Send(begin.query(self.statement())), self.pause(3000)]
            }
            3 => {
                let tag = self.tag();
                let text = format!("SELECT '{tag}' FROM pg_sleep(0.5)");
                vec![Step::Send(Messages::default().query(text)), self.pause(3000)]
            }
            _ => {
                let text = self.statement();
                vec![Step::Send(Messages::default().run(text, None).flush()), self.pause(2000)]
            }
        };
        steps.push(Step::Leave(leave));
        steps
    }

    /// Something that ends the connection.
    fn breach(&mut self) -> Vec<Step> {
        let bytes = *self.random.pick(&BREACHES);
        vec![Step::Expect("08P01"), Step::Send(Messages::default().raw(bytes)), Step::Settle]
    }
}

/// Ends a transaction that was to have ended.
pub(super) fn give_up() -> Vec<Step> {
    settle(Messages::default().query("ROLLBACK"))
}

fn settle(messages: Messages) -> Vec<Step> {
    vec![Step::Send(messages), Step::Settle]
}
