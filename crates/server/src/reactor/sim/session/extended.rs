//! The extended protocol: what is parsed, bound, described, run and closed.

use std::rc::Rc;

use pgherd_wire::TxStatus;
use pgherd_wire::backend::{self, BIND_COMPLETE, CLOSE_COMPLETE, NO_DATA, PARSE_COMPLETE};
use pgherd_wire::frame::{Fields, put};
use pgherd_wire::frontend::{self, Bind, Parse, Target};

use super::answers::{aborted, describe, no_statement, statement_exists};
use super::statement::{self, Statement};
use super::{Failure, Op, Run, Session, text};

#[derive(Debug)]
pub(super) struct Prepared {
    /// `None`: the empty text.
    pub(super) statement: Option<Statement>,
    /// The PREPARE that has made it; `None`: it was prepared over the protocol.
    pub(super) made_by: Option<String>,
}

#[derive(Debug)]
pub(super) struct Portal {
    prepared: Rc<Prepared>,
    parameter: Option<String>,
    pub(super) at: u32,
}

impl Session {
    /// Names of what was prepared over the protocol.
    pub(in crate::reactor::sim) fn prepared(&self) -> impl Iterator<Item = &[u8]> {
        let over_protocol = self.statements.iter().filter(|(_, it)| it.made_by.is_none());
        over_protocol.map(|(name, _)| &name[..]).filter(|name| !name.is_empty())
    }

    /// What was made with PREPARE: names and texts.
    pub(in crate::reactor::sim) fn made(&self) -> impl Iterator<Item = (&str, &str)> {
        self.statements.iter().filter_map(|(name, it)| Some((text(name), it.made_by.as_deref()?)))
    }

    pub(super) fn keep(
        &mut self,
        name: &[u8],
        statement: Option<Statement>,
        made_by: Option<String>,
    ) {
        self.statements.insert(name.to_vec(), Rc::new(Prepared { statement, made_by }));
    }

    pub(super) fn extended(
        &mut self,
        tag: u8,
        body: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        const SOUND: &str = "simulated clients and pgherd send sound messages";
        self.is_simple = false;
        self.begin();
        match tag {
            frontend::PARSE => self.parse(&Parse::read(body).expect(SOUND), out),
            frontend::BIND => self.bind(&Bind::read(body).expect(SOUND), out),
            frontend::DESCRIBE => self.describe(Target::read(tag, body).expect(SOUND), out),
            frontend::CLOSE => {
                match Target::read(tag, body).expect(SOUND) {
                    Target::Statement(name) => drop(self.statements.remove(name)),
                    Target::Portal(name) => drop(self.portals.remove(name)),
                }
                backend::put_empty(out, CLOSE_COMPLETE);
                Ok(())
            }
            frontend::EXECUTE => {
                let mut fields = Fields::new(tag, body);
                let name = fields.cstr("portal").expect(SOUND);
                let most = fields.i32("rows").expect(SOUND);
                self.execute(name, u32::try_from(most).unwrap_or(0), out)
            }
            other => {
                panic!("the simulated server does not know the message {:?}", char::from(other))
            }
        }
    }

    fn parse(&mut self, parse: &Parse<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        if parse.name.is_empty() {
            self.statements.remove(&b""[..]);
        }
        let mut all = statement::read_all(text(parse.sql)).map_err(|error| ("42601", error.0))?;
        let parsed = all.pop();
        self.refuse_if_aborted(parsed.as_ref())?;
        if !parse.name.is_empty() && self.statements.contains_key(parse.name) {
            return Err(statement_exists(text(parse.name)));
        }
        self.keep(parse.name, parsed, None);
        backend::put_empty(out, PARSE_COMPLETE);
        Ok(())
    }

    fn bind(&mut self, bind: &Bind<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let prepared = self.statement(bind.statement)?;
        self.refuse_if_aborted(prepared.statement.as_ref())?;
        let mut fields = Fields::new(frontend::BIND, bind.rest);
        let parameter = read_parameter(&mut fields);
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            return Err(("42P03", format!("cursor \"{}\" already exists", text(bind.portal))));
        }
        self.portals.insert(bind.portal.to_vec(), Portal { prepared, parameter, at: 0 });
        backend::put_empty(out, BIND_COMPLETE);
        Ok(())
    }

    fn describe(&mut self, target: Target<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
        let prepared = match target {
            Target::Statement(name) => self.statement(name)?,
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                Rc::clone(&portal.prepared)
            }
        };
        let statement = prepared.statement.as_ref();
        let has_rows = statement.is_some_and(Statement::returns_rows);
        if has_rows {
            self.refuse_if_aborted(statement)?;
        }
        if matches!(target, Target::Statement(_)) {
            let count = u16::from(statement.is_some_and(Statement::has_parameter));
            put(out, backend::PARAMETER_DESCRIPTION, |out| {
                out.extend_from_slice(&count.to_be_bytes());
                (0..count).for_each(|_| out.extend_from_slice(&25u32.to_be_bytes()));
            });
        }
        match has_rows {
            true => describe(out, 1),
            false => backend::put_empty(out, NO_DATA),
        }
        Ok(())
    }

    fn execute(&mut self, name: &[u8], most: u32, out: &mut Vec<u8>) -> Result<(), Failure> {
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let Some(statement) = portal.prepared.statement.clone() else {
            backend::put_empty(out, backend::EMPTY_QUERY);
            return Ok(());
        };
        let (parameter, at) = (portal.parameter.clone(), portal.at);
        let stop_at = (most > 0).then(|| at + most);
        let portal = Some(name.to_vec());
        self.ops.push_back(Op::Run(Run { statement, parameter, at, stop_at, portal }));
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<Rc<Prepared>, Failure> {
        match self.statements.get(name) {
            Some(prepared) => Ok(Rc::clone(prepared)),
            None if name.is_empty() => {
                Err(("26000", "unnamed prepared statement does not exist".to_owned()))
            }
            None => Err(no_statement(text(name))),
        }
    }

    fn refuse_if_aborted(&self, statement: Option<&Statement>) -> Result<(), Failure> {
        let ends = matches!(statement, None | Some(Statement::Commit | Statement::Rollback));
        match self.tx == TxStatus::Failed && !ends {
            true => Err(aborted()),
            false => Ok(()),
        }
    }
}

/// The first parameter that is bound: text, and the clients bind one at most.
fn read_parameter(fields: &mut Fields<'_>) -> Option<String> {
    let formats = fields.i16("formats").ok()?;
    (0..formats).for_each(|_| drop(fields.i16("format")));
    if fields.i16("parameters").ok()? == 0 {
        return None;
    }
    let length = usize::try_from(fields.i32("length").ok()?).ok()?;
    Some(text(fields.bytes(length, "parameter").ok()?).to_owned())
}

fn no_portal(name: &[u8]) -> Failure {
    ("34000", format!("portal \"{}\" does not exist", text(name)))
}
