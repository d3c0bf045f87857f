//! What a client sends, written down.

use std::fmt::Display;

use pgherd_wire::backend;
use pgherd_wire::frame::put;
use pgherd_wire::frontend::{self, Target};

/// Messages in a row.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages(pub(super) Vec<u8>);

impl Messages {
    pub(super) fn query(mut self, text: impl Display) -> Self {
        frontend::put_query(&mut self.0, &text.to_string());
        self
    }

    pub(super) fn parse(mut self, name: &str, text: impl Display) -> Self {
        frontend::put_parse(&mut self.0, name.as_bytes(), text.to_string().as_bytes(), &[0, 0]);
        self
    }

    pub(super) fn bind(mut self, portal: &str, statement: &str, parameter: Option<&str>) -> Self {
        let mut rest = vec![0, 0];
        rest.extend_from_slice(&u16::from(parameter.is_some()).to_be_bytes());
        if let Some(text) = parameter {
            let length = u32::try_from(text.len()).expect("short");
            rest.extend_from_slice(&length.to_be_bytes());
            rest.extend_from_slice(text.as_bytes());
        }
        rest.extend_from_slice(&[0, 0]);
        frontend::put_bind(&mut self.0, portal.as_bytes(), statement.as_bytes(), &rest);
        self
    }

    pub(super) fn describe_statement(mut self, name: &str) -> Self {
        Target::Statement(name.as_bytes()).put(&mut self.0, frontend::DESCRIBE);
        self
    }

    pub(super) fn describe_portal(mut self, name: &str) -> Self {
        Target::Portal(name.as_bytes()).put(&mut self.0, frontend::DESCRIBE);
        self
    }

    pub(super) fn execute(mut self, portal: &str, most: u32) -> Self {
        put(&mut self.0, frontend::EXECUTE, |out| {
            out.extend_from_slice(portal.as_bytes());
            out.push(0);
            out.extend_from_slice(&most.to_be_bytes());
        });
        self
    }

    pub(super) fn close_statement(mut self, name: &str) -> Self {
        Target::Statement(name.as_bytes()).put(&mut self.0, frontend::CLOSE);
        self
    }

    pub(super) fn close_portal(mut self, name: &str) -> Self {
        Target::Portal(name.as_bytes()).put(&mut self.0, frontend::CLOSE);
        self
    }

    /// Parse, Bind, Describe and Execute without a name.
    pub(super) fn run(self, text: impl Display, parameter: Option<&str>) -> Self {
        self.parse("", text).bind("", "", parameter).describe_portal("").execute("", 0)
    }

    pub(super) fn sync(mut self) -> Self {
        backend::put_empty(&mut self.0, frontend::SYNC);
        self
    }

    pub(super) fn flush(mut self) -> Self {
        backend::put_empty(&mut self.0, frontend::FLUSH);
        self
    }

    pub(super) fn copy_data(mut self, text: impl Display) -> Self {
        put(&mut self.0, backend::COPY_DATA, |out| {
            out.extend_from_slice(text.to_string().as_bytes());
        });
        self
    }

    pub(super) fn copy_done(mut self) -> Self {
        backend::put_empty(&mut self.0, backend::COPY_DONE);
        self
    }

    pub(super) fn copy_fail(mut self) -> Self {
        put(&mut self.0, frontend::COPY_FAIL, |out| out.extend_from_slice(b"enough\0"));
        self
    }

    pub(super) fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}
