//! What a statement does, and what the server says to it.

use pgherd_wire::backend::{self, Report, Severity};
use pgherd_wire::frame::{put, put_str};
use pgherd_wire::{TxStatus, sqlstate};

use super::statement::{self, Statement, Value};
use super::{CopyIn, FAILED, Failure, Op, Run, Session, Tag};

pub(in crate::reactor::sim) fn error(out: &mut Vec<u8>, code: &str, message: &str) {
    Report { severity: Severity::Error, code, message, detail: "", hint: "" }.put(out);
}

pub(super) fn ready(out: &mut Vec<u8>, tx: TxStatus) {
    backend::put_ready(out, tx);
}

pub(super) fn complete(out: &mut Vec<u8>, tag: &str) {
    put(out, backend::COMMAND_COMPLETE, |out| put_str(out, tag));
}

/// Columns of text.
pub(super) fn describe(out: &mut Vec<u8>, columns: u16) {
    put(out, backend::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&columns.to_be_bytes());
        for _ in 0..columns {
            put_str(out, "v");
            out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 255, 255, 255, 255, 255, 255]);
            out.extend_from_slice(&[0, 0]);
        }
    });
}

pub(super) fn row(out: &mut Vec<u8>, columns: &[Option<&str>]) {
    put(out, backend::DATA_ROW, |out| {
        let count = u16::try_from(columns.len()).expect("a few");
        out.extend_from_slice(&count.to_be_bytes());
        for column in columns {
            let length = column.map_or(-1, |text| i32::try_from(text.len()).expect("short"));
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(column.unwrap_or_default().as_bytes());
        }
    });
}

impl Session {
    pub(super) fn run(&mut self, run: Run, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.begin();
        let ends = matches!(run.statement, Statement::Commit | Statement::Rollback);
        if self.tx == TxStatus::Failed && !ends {
            return Err(aborted());
        }
        if self.is_standby && run.statement.writes() {
            let message = "cannot execute this in a read-only transaction".to_owned();
            return Err((sqlstate::READ_ONLY_TRANSACTION, message));
        }
        let value = |value: &Value| match value {
            Value::Literal(text) => text.clone(),
            Value::Parameter => run.parameter.clone().unwrap_or_default(),
        };
        let is_simple = run.portal.is_none();
        match &run.statement {
            Statement::Select { value: what, rows, times, .. } => {
                let (text, rows, times) = (value(what), *rows, *times);
                return self.select(run, &text, rows, times, out);
            }
            // At 1 it is no SQL at all.
            Statement::Fail(what) if run.at == 1 => return Err(("42601", value(what))),
            Statement::Fail(what) => {
                return Err(("22012", format!("division by zero: {}", value(what))));
            }
            Statement::Insert(what) => {
                self.written.extend(Tag::read(&value(what)));
                complete(out, "INSERT 0 1");
            }
            Statement::CopyIn => {
                self.copy = Some(CopyIn { lines: 0 });
                put(out, backend::COPY_IN, |out| out.extend_from_slice(&[0, 0, 1, 0, 0]));
            }
            Statement::CopyOut { value: what, rows } => {
                put(out, backend::COPY_OUT, |out| out.extend_from_slice(&[0, 0, 1, 0, 0]));
                for at in 0..*rows {
                    let line = format!("{}/{at}\n", value(what));
                    put(out, backend::COPY_DATA, |out| out.extend_from_slice(line.as_bytes()));
                }
                backend::put_empty(out, backend::COPY_DONE);
                complete(out, &format!("COPY {rows}"));
            }
            Statement::Begin => {
                self.tx = TxStatus::InTransaction;
                complete(out, "BEGIN");
            }
            Statement::Commit if self.tx != TxStatus::Failed => {
                self.tx = TxStatus::Idle;
                self.commit();
                complete(out, "COMMIT");
            }
            Statement::Commit | Statement::Rollback => {
                self.tx = TxStatus::Idle;
                self.abort();
                complete(out, "ROLLBACK");
            }
            Statement::Execute(name) => {
                let prepared =
                    self.statements.get(name.as_bytes()).filter(|it| it.made_by.is_some());
                let Some(prepared) = prepared else { return Err(no_statement(name)) };
                let statement = prepared.statement.clone().expect("PREPARE takes no empty text");
                let (parameter, at, stop_at) = (None, 0, None);
                let inner = Run { statement, parameter, at, stop_at, portal: run.portal };
                self.ops.push_front(Op::Run(inner));
            }
            other => {
                if other.returns_rows() && is_simple {
                    describe(out, 1);
                }
                let statement = other.clone();
                self.command(statement, value, out)?;
            }
        }
        Ok(())
    }

    fn select(
        &mut self,
        mut run: Run,
        text: &str,
        rows: u32,
        times: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if run.at == 0 && run.portal.is_none() {
            describe(out, 1);
        }
        if run.at < rows {
            row(out, &[Some(&format!("{}/{}", text.repeat(times), run.at))]);
            run.at += 1;
        }
        if let Some(portal) = run.portal.as_ref().and_then(|name| self.portals.get_mut(name)) {
            portal.at = run.at;
        }
        if run.at == rows {
            complete(out, &format!("SELECT {rows}"));
        } else if run.stop_at == Some(run.at) {
            backend::put_empty(out, backend::PORTAL_SUSPENDED);
        } else {
            self.ops.push_front(Op::Run(run));
        }
        Ok(())
    }

    fn command(
        &mut self,
        statement: Statement,
        value: impl Fn(&Value) -> String,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        let tag = match statement {
            Statement::Set { name, value, is_local: true } => {
                self.change().set_local(&name, &value);
                "SET"
            }
            Statement::Set { name, value, .. } => {
                self.change().set(&name, &value);
                "SET"
            }
            Statement::SetConfig { name, value } => {
                self.change().set(&name, &value);
                row(out, &[Some(&value)]);
                "SELECT 1"
            }
            Statement::Reset(name) => {
                self.change().reset(&name);
                "RESET"
            }
            Statement::ResetAll => {
                self.change().reset_all();
                "RESET"
            }
            Statement::ResetNothing => "RESET",
            Statement::Show(name) => {
                row(out, &[Some(self.value(&name))]);
                "SHOW"
            }
            Statement::CreateTemp(name) if self.state.tables.contains(&name) => {
                return Err(("42P07", format!("relation \"{name}\" already exists")));
            }
            Statement::CreateTemp(name) => {
                self.change().tables.insert(name);
                "CREATE TABLE"
            }
            Statement::DropTable(name) if !self.state.tables.contains(&name) => {
                return Err(("42P01", format!("table \"{name}\" does not exist")));
            }
            Statement::DropTable(name) => {
                self.change().tables.remove(&name);
                "DROP TABLE"
            }
            Statement::DiscardTemp => {
                self.change().tables.clear();
                "DISCARD TEMP"
            }
            Statement::Lock(number) => {
                *self.locks.entry(number).or_default() += 1;
                row(out, &[Some("")]);
                "SELECT 1"
            }
            Statement::Unlock(number) => {
                row(out, &[Some(if self.unlock(number) { "t" } else { "f" })]);
                "SELECT 1"
            }
            Statement::UnlockAll => {
                self.locks.clear();
                row(out, &[Some("")]);
                "SELECT 1"
            }
            Statement::Listen(channel) => {
                self.change().channels.insert(channel);
                "LISTEN"
            }
            Statement::Unlisten(None) => {
                self.change().channels.clear();
                "UNLISTEN"
            }
            Statement::Unlisten(Some(channel)) => {
                self.change().channels.remove(&channel);
                "UNLISTEN"
            }
            Statement::Declare { name, .. } if self.state.cursors.contains_key(&name) => {
                return Err(("42P03", format!("cursor \"{name}\" already exists")));
            }
            Statement::Declare { name, value: what } => {
                self.change().cursors.insert(name, value(&what));
                "DECLARE CURSOR"
            }
            Statement::Fetch(name) => {
                let found = self.state.cursors.get(&name).ok_or_else(|| no_cursor(&name))?;
                row(out, &[Some(found)]);
                "FETCH 1"
            }
            Statement::Close(None) => {
                self.change().cursors.clear();
                "CLOSE CURSOR ALL"
            }
            Statement::Close(Some(name)) => {
                self.change().cursors.remove(&name).ok_or_else(|| no_cursor(&name))?;
                "CLOSE CURSOR"
            }
            Statement::Prepare { name, .. } if self.statements.contains_key(name.as_bytes()) => {
                return Err(statement_exists(&name));
            }
            Statement::Prepare { name, text } => {
                let mut all = statement::read_all(&text).map_err(|error| ("42601", error.0))?;
                let made_by = format!("PREPARE {name} AS {text}");
                self.keep(name.as_bytes(), all.pop(), Some(made_by));
                "PREPARE"
            }
            Statement::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Statement::Deallocate(Some(name)) => {
                self.statements.remove(name.as_bytes()).ok_or_else(|| no_statement(&name))?;
                "DEALLOCATE"
            }
            Statement::DiscardAll if !self.tx.is_idle() => {
                let message = "DISCARD ALL cannot run inside a transaction block".to_owned();
                return Err(("25001", message));
            }
            Statement::DiscardAll => {
                *self.change() = super::State::default();
                self.locks.clear();
                self.statements.clear();
                "DISCARD ALL"
            }
            Statement::Select { .. }
            | Statement::Fail(_)
            | Statement::Insert(_)
            | Statement::Begin
            | Statement::Commit
            | Statement::Rollback
            | Statement::CopyIn
            | Statement::CopyOut { .. }
            | Statement::Execute(_) => unreachable!("the caller runs it"),
        };
        complete(out, tag);
        Ok(())
    }

    fn unlock(&mut self, number: u32) -> bool {
        let Some(times) = self.locks.get_mut(&number) else { return false };
        *times -= 1;
        if *times == 0 {
            self.locks.remove(&number);
        }
        true
    }
}

pub(super) fn aborted() -> Failure {
    let message = "current transaction is aborted, commands ignored until end of transaction block";
    (FAILED, message.to_owned())
}

pub(super) fn no_statement(name: &str) -> Failure {
    let code = sqlstate::INVALID_STATEMENT_NAME;
    (code, format!("prepared statement \"{name}\" does not exist"))
}

pub(super) fn statement_exists(name: &str) -> Failure {
    (sqlstate::DUPLICATE_STATEMENT, format!("prepared statement \"{name}\" already exists"))
}

fn no_cursor(name: &str) -> Failure {
    ("34000", format!("cursor \"{name}\" does not exist"))
}
