//! Messages from a client: reading those that decide something, writing those we send
//! ourselves when we stand in for one.

use crate::WireError;
use crate::backend::Format;
use crate::frame::{Fields, put, put_str};

/// Bind, `B`.
pub const BIND: u8 = b'B';
/// Close, `C`.
pub const CLOSE: u8 = b'C';
/// CopyFail, `f`.
pub const COPY_FAIL: u8 = b'f';
/// Describe, `D`.
pub const DESCRIBE: u8 = b'D';
/// Execute, `E`.
pub const EXECUTE: u8 = b'E';
/// Flush, `H`.
pub const FLUSH: u8 = b'H';
/// FunctionCall, `F`.
pub const FUNCTION_CALL: u8 = b'F';
/// Parse, `P`.
pub const PARSE: u8 = b'P';
/// PasswordMessage and the SASL messages, `p`.
pub const PASSWORD: u8 = b'p';
/// Query, `Q`.
pub const QUERY: u8 = b'Q';
/// Sync, `S`.
pub const SYNC: u8 = b'S';
/// Terminate, `X`.
pub const TERMINATE: u8 = b'X';

/// The error for a message of a type that no client sends once it is logged in.
pub fn unknown(tag: u8) -> WireError {
    WireError::Unknown { tag: char::from(tag), field: "message type", value: i64::from(tag) }
}

/// The body of Parse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse<'a> {
    /// The statement's name; empty for the unnamed one.
    pub name: &'a [u8],
    /// The SQL text, in the client's encoding.
    pub sql: &'a [u8],
    /// The count of parameter types and their OIDs, as they travelled.
    pub types: &'a [u8],
}

impl<'a> Parse<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] names the field cut short.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(PARSE, body);
        let name = fields.cstr("statement name")?;
        let sql = fields.cstr("query")?;
        let types = fields.rest();
        let count = Fields::new(PARSE, types).i16("parameter count")?;
        if types.len() != 2 + 4 * usize::from(count.cast_unsigned()) {
            return Err(WireError::Truncated { tag: 'P', field: "parameter types" });
        }
        Ok(Self { name, sql, types })
    }
}

/// Appends Parse under another name.
pub fn put_parse(out: &mut Vec<u8>, name: &[u8], sql: &[u8], types: &[u8]) {
    put(out, PARSE, |out| {
        out.extend_from_slice(name);
        out.push(0);
        out.extend_from_slice(sql);
        out.push(0);
        out.extend_from_slice(types);
    });
}

/// The body of Bind, as far as it decides something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal to make; empty for the unnamed one.
    pub portal: &'a [u8],
    /// The statement to bind; empty for the unnamed one.
    pub statement: &'a [u8],
    /// Formats, parameters and result formats, as they travelled.
    pub rest: &'a [u8],
}

impl<'a> Bind<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] names the field cut short.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(BIND, body);
        let portal = fields.cstr("portal name")?;
        let statement = fields.cstr("statement name")?;
        Ok(Self { portal, statement, rest: fields.rest() })
    }
}

/// What a Bind says behind its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindValues {
    /// How many parameters it gives.
    pub parameters: usize,
    /// How results are to travel: none is all as text, one is for all columns.
    pub results: Vec<Format>,
}

impl BindValues {
    /// Reads [`Bind::rest`].
    ///
    /// # Errors
    /// [`WireError`] if it is cut short, or asks for a format that there is not.
    pub fn read(rest: &[u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(BIND, rest);
        read_formats(&mut fields, "parameter formats")?;
        let parameters = usize::from(fields.i16("parameter count")?.cast_unsigned());
        for _ in 0..parameters {
            // -1 is NULL.
            let length = usize::try_from(fields.i32("parameter length")?).unwrap_or(0);
            fields.bytes(length, "parameter")?;
        }
        let results = read_formats(&mut fields, "result formats")?;
        Ok(Self { parameters, results })
    }
}

fn read_formats(fields: &mut Fields<'_>, field: &'static str) -> Result<Vec<Format>, WireError> {
    let count = fields.i16(field)?.cast_unsigned();
    let mut formats = Vec::new();
    for _ in 0..count {
        formats.push(match fields.i16(field)? {
            0 => Format::Text,
            1 => Format::Binary,
            other => return Err(WireError::Unknown { tag: 'B', field, value: i64::from(other) }),
        });
    }
    Ok(formats)
}

/// The body of Execute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execute<'a> {
    /// The portal; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Rows wanted at most; 0 is all.
    pub rows: usize,
}

impl<'a> Execute<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// [`WireError::Truncated`] names the field cut short.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(EXECUTE, body);
        let portal = fields.cstr("portal name")?;
        // As in PostgreSQL, less than none is all.
        let rows = usize::try_from(fields.i32("row limit")?).unwrap_or(0);
        Ok(Self { portal, rows })
    }
}

/// Appends Bind to another statement.
pub fn put_bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], rest: &[u8]) {
    put(out, BIND, |out| {
        out.extend_from_slice(portal);
        out.push(0);
        out.extend_from_slice(statement);
        out.push(0);
        out.extend_from_slice(rest);
    });
}

/// What Describe and Close speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A prepared statement.
    Statement(&'a [u8]),
    /// A portal.
    Portal(&'a [u8]),
}

impl<'a> Target<'a> {
    /// Reads the body of a message of type `tag`: Describe or Close.
    ///
    /// # Errors
    /// [`WireError`] if it is cut short or names neither a statement nor a portal.
    pub fn read(tag: u8, body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(tag, body);
        let kind = fields.u8("kind")?;
        let name = fields.cstr("name")?;
        match kind {
            b'S' => Ok(Self::Statement(name)),
            b'P' => Ok(Self::Portal(name)),
            other => Err(WireError::Unknown {
                tag: char::from(tag),
                field: "kind",
                value: i64::from(other),
            }),
        }
    }

    /// Appends a message of type `tag`, Describe or Close, about this target.
    pub fn put(self, out: &mut Vec<u8>, tag: u8) {
        let (kind, name) = match self {
            Self::Statement(name) => (b'S', name),
            Self::Portal(name) => (b'P', name),
        };
        put(out, tag, |out| {
            out.push(kind);
            out.extend_from_slice(name);
            out.push(0);
        });
    }
}

/// Appends Query.
pub fn put_query(out: &mut Vec<u8>, sql: &str) {
    put(out, QUERY, |out| put_str(out, sql));
}

/// The password in the body of a PasswordMessage.
///
/// # Errors
/// [`WireError::Truncated`] if it has no end.
pub fn password(body: &[u8]) -> Result<&[u8], WireError> {
    Fields::new(PASSWORD, body).cstr("password")
}

/// Appends a PasswordMessage.
pub fn put_password(out: &mut Vec<u8>, password: &str) {
    put(out, PASSWORD, |out| put_str(out, password));
}

/// The body of SASLInitialResponse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    /// The mechanism the client chose.
    pub mechanism: &'a str,
    /// Its first message.
    pub data: &'a [u8],
}

impl<'a> SaslInitial<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// [`WireError`] names the field that is missing or cut short.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(PASSWORD, body);
        let mechanism = fields.text("mechanism")?;
        let length = fields.i32("length of the initial response")?;
        let length = usize::try_from(length).unwrap_or(0);
        Ok(Self { mechanism, data: fields.bytes(length, "initial response")? })
    }

    /// Appends the message.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, PASSWORD, |out| {
            put_str(out, self.mechanism);
            let length = u32::try_from(self.data.len()).expect("a SCRAM message is short");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(self.data);
        });
    }
}

/// Appends SASLResponse.
pub fn put_sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    put(out, PASSWORD, |out| out.extend_from_slice(data));
}

/// Appends Terminate.
pub fn put_terminate(out: &mut Vec<u8>) {
    out.extend_from_slice(&[TERMINATE, 0, 0, 0, 4]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HEADER;

    #[test]
    fn what_is_put_reads_back() {
        let mut out = Vec::new();
        put_parse(&mut out, b"s1", b"select $1", &[0, 1, 0, 0, 0, 23]);
        let parse = Parse::read(&out[HEADER..]).unwrap();
        assert_eq!((parse.name, parse.sql), (&b"s1"[..], &b"select $1"[..]));

        out.clear();
        put_bind(&mut out, b"", b"s1", &[0, 0, 0, 0, 0, 0]);
        let bind = Bind::read(&out[HEADER..]).unwrap();
        assert_eq!((bind.portal, bind.statement, bind.rest), (&b""[..], &b"s1"[..], &[0; 6][..]));

        for target in [Target::Statement(b"s1"), Target::Portal(b"")] {
            out.clear();
            target.put(&mut out, DESCRIBE);
            assert_eq!(Target::read(DESCRIBE, &out[HEADER..]), Ok(target));
        }

        out.clear();
        let initial = SaslInitial { mechanism: "SCRAM-SHA-256", data: b"n,,n=,r=abc" };
        initial.put(&mut out);
        assert_eq!(SaslInitial::read(&out[HEADER..]), Ok(initial));
    }

    #[test]
    fn what_a_bind_says_behind_its_names_is_read() {
        let rest = b"\0\x01\0\x01\0\x02\0\0\0\x01x\xff\xff\xff\xff\0\x01\0\x01";
        let read = BindValues { parameters: 2, results: vec![Format::Binary] };
        assert_eq!(BindValues::read(rest), Ok(read));
        assert!((0..rest.len()).all(|end| BindValues::read(&rest[..end]).is_err()));
        assert!(BindValues::read(b"\0\0\0\0\0\x01\0\x02").is_err());
        let execute = Execute { portal: b"p", rows: 7 };
        assert_eq!(Execute::read(b"p\0\0\0\0\x07"), Ok(execute));
    }

    #[test]
    fn bodies_cut_short_are_errors() {
        assert!(Parse::read(b"s1\0select 1").is_err());
        assert!(Parse::read(b"s1\0select 1\0\0\x01\0\0").is_err());
        assert!(Bind::read(b"p").is_err());
        assert!(Target::read(CLOSE, b"S").is_err());
        assert!(Target::read(CLOSE, b"Qx\0").is_err());
        assert!(SaslInitial::read(b"SCRAM-SHA-256\0\0\0\0\x09abc").is_err());
    }
}
