//! Messages from a PostgreSQL server: reading those that matter, writing those we send
//! ourselves when we stand in for one.

use crate::frame::{Fields, put, put_str};
use crate::{TxStatus, WireError};

/// Authentication request, `R`.
pub const AUTHENTICATION: u8 = b'R';
/// BackendKeyData, `K`.
pub const KEY_DATA: u8 = b'K';
/// BindComplete, `2`.
pub const BIND_COMPLETE: u8 = b'2';
/// CloseComplete, `3`.
pub const CLOSE_COMPLETE: u8 = b'3';
/// CommandComplete, `C`.
pub const COMMAND_COMPLETE: u8 = b'C';
/// CopyData, `d`, in both directions.
pub const COPY_DATA: u8 = b'd';
/// CopyDone, `c`, in both directions.
pub const COPY_DONE: u8 = b'c';
/// CopyInResponse, `G`.
pub const COPY_IN: u8 = b'G';
/// CopyOutResponse, `H`.
pub const COPY_OUT: u8 = b'H';
/// CopyBothResponse, `W`.
pub const COPY_BOTH: u8 = b'W';
/// DataRow, `D`.
pub const DATA_ROW: u8 = b'D';
/// EmptyQueryResponse, `I`.
pub const EMPTY_QUERY: u8 = b'I';
/// ErrorResponse, `E`.
pub const ERROR: u8 = b'E';
/// FunctionCallResponse, `V`.
pub const FUNCTION_RESULT: u8 = b'V';
/// NegotiateProtocolVersion, `v`.
pub const NEGOTIATE: u8 = b'v';
/// NoData, `n`.
pub const NO_DATA: u8 = b'n';
/// NoticeResponse, `N`.
pub const NOTICE: u8 = b'N';
/// NotificationResponse, `A`.
pub const NOTIFICATION: u8 = b'A';
/// ParameterDescription, `t`.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// ParameterStatus, `S`.
pub const PARAMETER_STATUS: u8 = b'S';
/// ParseComplete, `1`.
pub const PARSE_COMPLETE: u8 = b'1';
/// PortalSuspended, `s`.
pub const PORTAL_SUSPENDED: u8 = b's';
/// ReadyForQuery, `Z`.
pub const READY: u8 = b'Z';
/// RowDescription, `T`.
pub const ROW_DESCRIPTION: u8 = b'T';

/// What a server asks for while a connection logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Nothing more: the login succeeded.
    Ok,
    /// The password as it is.
    Cleartext,
    /// The password hashed with this salt.
    Md5 {
        /// Chosen by the server for this login.
        salt: [u8; 4],
    },
    /// One of these SASL mechanisms.
    Sasl {
        /// Names in the server's order of preference.
        mechanisms: Vec<&'a str>,
    },
    /// The next SASL message.
    SaslContinue(&'a [u8]),
    /// The last SASL message.
    SaslFinal(&'a [u8]),
}

impl<'a> Authentication<'a> {
    /// Reads the body of an `R` message.
    ///
    /// # Errors
    /// [`WireError::Unknown`] for a method pgherd does not speak (Kerberos, GSSAPI, SSPI).
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(AUTHENTICATION, body);
        match fields.i32("method")? {
            0 => Ok(Self::Ok),
            3 => Ok(Self::Cleartext),
            5 => {
                let salt = fields.bytes(4, "salt")?;
                Ok(Self::Md5 { salt: [salt[0], salt[1], salt[2], salt[3]] })
            }
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match fields.text("mechanism")? {
                        "" => return Ok(Self::Sasl { mechanisms }),
                        name => mechanisms.push(name),
                    }
                }
            }
            11 => Ok(Self::SaslContinue(fields.rest())),
            12 => Ok(Self::SaslFinal(fields.rest())),
            other => Err(WireError::Unknown {
                tag: 'R',
                field: "authentication method",
                value: i64::from(other),
            }),
        }
    }

    /// Appends this request.
    pub fn put(&self, out: &mut Vec<u8>) {
        put(out, AUTHENTICATION, |out| {
            let method: i32 = match self {
                Self::Ok => 0,
                Self::Cleartext => 3,
                Self::Md5 { .. } => 5,
                Self::Sasl { .. } => 10,
                Self::SaslContinue(_) => 11,
                Self::SaslFinal(_) => 12,
            };
            out.extend_from_slice(&method.to_be_bytes());
            match self {
                Self::Ok | Self::Cleartext => {}
                Self::Md5 { salt } => out.extend_from_slice(salt),
                Self::Sasl { mechanisms } => {
                    for name in mechanisms {
                        put_str(out, name);
                    }
                    out.push(0);
                }
                Self::SaslContinue(data) | Self::SaslFinal(data) => out.extend_from_slice(data),
            }
        });
    }
}

/// Reads ParameterStatus: name and value.
///
/// # Errors
/// [`WireError`] if the body is cut short or not UTF-8.
pub fn parameter_status(body: &[u8]) -> Result<(&str, &str), WireError> {
    let mut fields = Fields::new(PARAMETER_STATUS, body);
    Ok((fields.text("name")?, fields.text("value")?))
}

/// Appends ParameterStatus.
pub fn put_parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    put(out, PARAMETER_STATUS, |out| {
        put_str(out, name);
        put_str(out, value);
    });
}

/// Reads BackendKeyData: process id and secret (4 bytes up to protocol 3.0, else to 256).
///
/// # Errors
/// [`WireError`] if the body is cut short.
pub fn key_data(body: &[u8]) -> Result<(u32, &[u8]), WireError> {
    let mut fields = Fields::new(KEY_DATA, body);
    let pid = fields.i32("process id")?.cast_unsigned();
    match fields.rest() {
        secret @ [_, ..] if secret.len() <= 256 => Ok((pid, secret)),
        _ => Err(WireError::Truncated { tag: 'K', field: "cancel key" }),
    }
}

/// Appends BackendKeyData.
pub fn put_key_data(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    put(out, KEY_DATA, |out| {
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// Appends NegotiateProtocolVersion: the newest minor version spoken, and the protocol options
/// (`_pq_.*`) not known.
pub fn put_negotiate(out: &mut Vec<u8>, newest: u32, unknown_options: &[&str]) {
    put(out, NEGOTIATE, |out| {
        out.extend_from_slice(&newest.to_be_bytes());
        let count = u32::try_from(unknown_options.len()).expect("a startup packet is 10 kB");
        out.extend_from_slice(&count.to_be_bytes());
        for option in unknown_options {
            put_str(out, option);
        }
    });
}

/// The columns of a DataRow, `None` for NULL.
///
/// # Errors
/// [`WireError::Truncated`] names the field cut short.
pub fn data_row(body: &[u8]) -> Result<Vec<Option<&[u8]>>, WireError> {
    let mut fields = Fields::new(DATA_ROW, body);
    let count = fields.i16("column count")?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let length = usize::try_from(fields.i32("column length")?).ok();
        columns.push(length.map(|length| fields.bytes(length, "column")).transpose()?);
    }
    Ok(columns)
}

/// Whether the values of a column travel as text or in binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// As text.
    #[default]
    Text,
    /// In the type's own form.
    Binary,
}

impl Format {
    fn code(self) -> u16 {
        match self {
            Self::Text => 0,
            Self::Binary => 1,
        }
    }
}

/// A column of a RowDescription that belongs to no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ColumnDescription<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its type's OID.
    pub type_oid: u32,
    /// The size of its type; -1 where that varies.
    pub type_size: i16,
    /// How its values travel.
    pub format: Format,
}

/// Appends RowDescription.
pub fn put_row_description<'a>(
    out: &mut Vec<u8>,
    columns: impl ExactSizeIterator<Item = ColumnDescription<'a>>,
) {
    put(out, ROW_DESCRIPTION, |out| {
        put_count(out, columns.len());
        for column in columns {
            put_str(out, column.name);
            // No table, and no column of one.
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&column.type_oid.to_be_bytes());
            out.extend_from_slice(&column.type_size.to_be_bytes());
            // No type modifier.
            out.extend_from_slice(&(-1i32).to_be_bytes());
            out.extend_from_slice(&column.format.code().to_be_bytes());
        }
    });
}

/// Appends DataRow; `None` is NULL.
pub fn put_data_row<V: AsRef<[u8]>>(
    out: &mut Vec<u8>,
    values: impl ExactSizeIterator<Item = Option<V>>,
) {
    put(out, DATA_ROW, |out| {
        put_count(out, values.len());
        for value in values {
            let Some(value) = value else {
                out.extend_from_slice(&(-1i32).to_be_bytes());
                continue;
            };
            let value = value.as_ref();
            let length = u32::try_from(value.len()).expect("we make no value above 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
    });
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).expect("we make no table of more than 65535 columns");
    out.extend_from_slice(&count.to_be_bytes());
}

/// Appends CommandComplete.
pub fn put_command_complete(out: &mut Vec<u8>, tag: &str) {
    put(out, COMMAND_COMPLETE, |out| put_str(out, tag));
}

/// Appends ParameterDescription of a statement without parameters.
pub fn put_no_parameters(out: &mut Vec<u8>) {
    put(out, PARAMETER_DESCRIPTION, |out| put_count(out, 0));
}

/// Reads ReadyForQuery.
///
/// # Errors
/// [`WireError`] if the body is empty or the state unknown.
pub fn ready(body: &[u8]) -> Result<TxStatus, WireError> {
    TxStatus::from_byte(Fields::new(READY, body).u8("transaction status")?)
}

/// Appends ReadyForQuery.
pub fn put_ready(out: &mut Vec<u8>, status: TxStatus) {
    out.extend_from_slice(&[READY, 0, 0, 0, 5, status.byte()]);
}

/// Appends a message without a body, such as ParseComplete.
pub fn put_empty(out: &mut Vec<u8>, tag: u8) {
    out.extend_from_slice(&[tag, 0, 0, 0, 4]);
}

/// How bad an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The statement failed; the connection goes on.
    Error,
    /// The connection ends after this.
    Fatal,
    /// The server process ends after this.
    Panic,
    /// Not an error: a notice of some kind.
    Notice,
}

/// The fields of an ErrorResponse or NoticeResponse that decide something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    /// From the untranslated field `V`; where that is missing, as from a pooler, from `S`.
    pub severity: Severity,
    /// The SQLSTATE, five bytes as a rule.
    pub code: &'a str,
    /// The message in the server's language, with `?` for what is not UTF-8: empty then.
    pub message: &'a str,
    /// The name of the C function in the server that reported it.
    pub routine: &'a str,
}

impl<'a> ErrorFields<'a> {
    /// Reads the body of `E` or `N`. Fields it does not know are passed over.
    ///
    /// # Errors
    /// [`WireError::Truncated`] if a field does not end.
    pub fn read(body: &'a [u8]) -> Result<Self, WireError> {
        let mut fields = Fields::new(ERROR, body);
        let mut found = Self { severity: Severity::Error, code: "", message: "", routine: "" };
        loop {
            match fields.u8("field type")? {
                0 => return Ok(found),
                // Comes before `V`, and may be in the server's language.
                b'S' => match fields.cstr("severity")? {
                    b"FATAL" => found.severity = Severity::Fatal,
                    b"PANIC" => found.severity = Severity::Panic,
                    _ => {}
                },
                b'V' => {
                    found.severity = match fields.cstr("severity")? {
                        b"ERROR" => Severity::Error,
                        b"FATAL" => Severity::Fatal,
                        b"PANIC" => Severity::Panic,
                        _ => Severity::Notice,
                    };
                }
                b'C' => found.code = text_or_empty(fields.cstr("code")?),
                b'M' => found.message = text_or_empty(fields.cstr("message")?),
                b'R' => found.routine = text_or_empty(fields.cstr("routine")?),
                _ => {
                    fields.cstr("field")?;
                }
            }
        }
    }
}

// A server answers in its database's encoding, which before the login is anybody's guess.
fn text_or_empty(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// An error or notice of our own, to be sent to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<'a> {
    /// `Error` keeps the connection, `Fatal` announces its end, `Notice` is a notice.
    pub severity: Severity,
    /// The SQLSTATE.
    pub code: &'a str,
    /// One line.
    pub message: &'a str,
    /// More facts, or empty.
    pub detail: &'a str,
    /// What to do next, or empty.
    pub hint: &'a str,
}

impl Report<'_> {
    /// Appends the message: ErrorResponse, or NoticeResponse for a notice.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (tag, severity) = match self.severity {
            Severity::Error => (ERROR, "ERROR"),
            Severity::Fatal => (ERROR, "FATAL"),
            Severity::Panic => (ERROR, "PANIC"),
            Severity::Notice => (NOTICE, "NOTICE"),
        };
        put(out, tag, |out| {
            let fields = [
                (b'S', severity),
                (b'V', severity),
                (b'C', self.code),
                (b'M', self.message),
                (b'D', self.detail),
                (b'H', self.hint),
            ];
            for (field, text) in fields {
                if !text.is_empty() {
                    out.push(field);
                    put_str(out, text);
                }
            }
            out.push(0);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HEADER;

    #[test]
    fn each_authentication_request_reads_back() {
        let requests = [
            Authentication::Ok,
            Authentication::Cleartext,
            Authentication::Md5 { salt: [1, 2, 3, 4] },
            Authentication::Sasl { mechanisms: vec!["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"] },
            Authentication::SaslContinue(b"r=x,s=y,i=1"),
            Authentication::SaslFinal(b"v=z"),
        ];
        for request in requests {
            let mut out = Vec::new();
            request.put(&mut out);
            assert_eq!(Authentication::read(&out[HEADER..]), Ok(request));
        }
    }

    #[test]
    fn an_error_tells_severity_code_and_message() {
        let mut out = Vec::new();
        let report = Report {
            severity: Severity::Fatal,
            code: "57P01",
            message: "going down",
            detail: "",
            hint: "wait",
        };
        report.put(&mut out);
        let fields = ErrorFields::read(&out[HEADER..]).unwrap();
        assert_eq!(fields.severity, Severity::Fatal);
        assert_eq!((fields.code, fields.message), ("57P01", "going down"));
    }

    #[test]
    fn a_row_reads_back() {
        let mut out = Vec::new();
        put_data_row(&mut out, [Some(&b"12"[..]), None, Some(b"")].into_iter());
        assert_eq!(data_row(&out[HEADER..]), Ok(vec![Some(&b"12"[..]), None, Some(b"")]));
    }

    #[test]
    fn columns_are_described_as_in_the_manual() {
        let column =
            ColumnDescription { name: "n", type_oid: 23, type_size: 4, format: Format::Binary };
        let mut out = Vec::new();
        put_row_description(&mut out, [column].into_iter());
        let body = b"\0\x01n\0\0\0\0\0\0\0\0\0\0\x17\0\x04\xff\xff\xff\xff\0\x01";
        assert_eq!(&out[HEADER..], body);
    }

    #[test]
    fn bodies_cut_short_are_errors() {
        assert!(ErrorFields::read(b"VFATAL\0C57P").is_err());
        assert!(Authentication::read(&[0, 0, 0]).is_err());
        assert!(Authentication::read(&[0, 0, 0, 5, 1, 2]).is_err());
        assert!(Authentication::read(&[0, 0, 0, 10, b'S']).is_err());
        assert!(key_data(&[0, 0, 0, 1]).is_err());
        assert!(ready(b"").is_err());
        assert!(ready(b"X").is_err());
    }
}
