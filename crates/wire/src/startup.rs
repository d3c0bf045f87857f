//! The first packet of a connection, which has no type byte.

use crate::WireError;
use crate::frame::{Fields, put_str, put_untagged};

/// Protocol 3.0, the version every PostgreSQL since 7.4 speaks.
pub const PROTOCOL_3_0: u32 = 3 << 16;
/// Protocol 3.2, since PostgreSQL 18: cancel keys of up to 256 bytes.
pub const PROTOCOL_3_2: u32 = 3 << 16 | 2;

/// The largest startup packet PostgreSQL accepts (`MAX_STARTUP_PACKET_LENGTH`).
pub const MAX_STARTUP: u32 = 10_000;

const CANCEL: u32 = 1234 << 16 | 5678;
const SSL: u32 = 1234 << 16 | 5679;
const GSS_ENCRYPTION: u32 = 1234 << 16 | 5680;

/// What a client says first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FirstPacket<'a> {
    /// Asks for TLS; answered with one byte, `S` or `N`.
    Ssl,
    /// Asks for GSSAPI encryption; answered with one byte, `G` or `N`.
    GssEncryption,
    /// Asks to cancel what another connection runs; never answered.
    Cancel {
        /// The process id given in BackendKeyData.
        pid: u32,
        /// The secret given in BackendKeyData: 4 bytes up to protocol 3.0, 256 at most.
        secret: &'a [u8],
    },
    /// Wants to log in.
    Startup(Startup<'a>),
}

/// A request to log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Startup<'a> {
    /// Major version in the upper, minor in the lower 16 bits.
    pub protocol: u32,
    /// Names and values in the client's order; `user` is among them.
    pub parameters: Vec<(&'a str, &'a str)>,
}

impl<'a> Startup<'a> {
    /// The value of a parameter; the last one counts, as in PostgreSQL.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.parameters.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}

/// The size of the startup packet at the beginning of `bytes`; `None` when fewer than four
/// bytes are there yet.
///
/// # Errors
/// [`WireError::StartupLength`] if it is below 8 or above [`MAX_STARTUP`].
pub fn size(bytes: &[u8]) -> Result<Option<usize>, WireError> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_be_bytes(*head);
    // 8, not 4: the length counts itself and the version.
    if !(8..=MAX_STARTUP).contains(&length) {
        return Err(WireError::StartupLength { length, limit: MAX_STARTUP });
    }
    Ok(Some(length as usize))
}

/// Reads a whole startup packet, its length included.
///
/// # Errors
/// [`WireError`] names the field that is missing, cut short or unknown. A protocol version
/// other than 3 is [`WireError::Unknown`].
pub fn read(packet: &[u8]) -> Result<FirstPacket<'_>, WireError> {
    let mut fields = Fields::new(0, packet);
    fields.i32("length")?;
    let code = fields.i32("protocol version")?.cast_unsigned();
    match code {
        SSL => Ok(FirstPacket::Ssl),
        GSS_ENCRYPTION => Ok(FirstPacket::GssEncryption),
        CANCEL => {
            let pid = fields.i32("process id")?.cast_unsigned();
            let secret = fields.rest();
            if secret.is_empty() || secret.len() > 256 {
                return Err(WireError::Truncated { tag: '\0', field: "cancel key" });
            }
            Ok(FirstPacket::Cancel { pid, secret })
        }
        version if version >> 16 == 3 => {
            let mut parameters = Vec::new();
            loop {
                let name = fields.text("parameter name")?;
                if name.is_empty() {
                    break;
                }
                parameters.push((name, fields.text("parameter value")?));
            }
            Ok(FirstPacket::Startup(Startup { protocol: version, parameters }))
        }
        other => Err(WireError::Unknown {
            tag: '\0',
            field: "protocol version",
            value: i64::from(other >> 16),
        }),
    }
}

/// What asks for TLS: the answer is one byte, `S` or `N`.
pub const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Appends the packet with which pgherd logs in to a node.
pub fn put_startup<'a>(
    out: &mut Vec<u8>,
    protocol: u32,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    put_untagged(out, |out| {
        out.extend_from_slice(&protocol.to_be_bytes());
        for (name, value) in parameters {
            put_str(out, name);
            put_str(out, value);
        }
        out.push(0);
    });
}

/// Appends a request to cancel what the backend with this key runs.
pub fn put_cancel(out: &mut Vec<u8>, pid: u32, secret: &[u8]) {
    put_untagged(out, |out| {
        out.extend_from_slice(&CANCEL.to_be_bytes());
        out.extend_from_slice(&pid.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_startup_reads_back_with_its_parameters_in_order() {
        let mut out = Vec::new();
        put_startup(&mut out, PROTOCOL_3_2, [("user", "alice"), ("database", "app")]);
        assert_eq!(size(&out), Ok(Some(out.len())));
        let FirstPacket::Startup(startup) = read(&out).unwrap() else { panic!("not a startup") };
        assert_eq!(startup.protocol, PROTOCOL_3_2);
        assert_eq!(startup.parameters, [("user", "alice"), ("database", "app")]);
        assert_eq!(startup.parameter("user"), Some("alice"));
        assert_eq!(startup.parameter("options"), None);
    }

    #[test]
    fn a_cancel_key_may_be_four_bytes_or_long() {
        for length in [4, 32, 256] {
            let mut out = Vec::new();
            let secret = vec![7; length];
            put_cancel(&mut out, 42, &secret);
            assert_eq!(read(&out), Ok(FirstPacket::Cancel { pid: 42, secret: &secret }));
        }
    }

    #[test]
    fn a_packet_cut_anywhere_is_an_error_and_not_a_panic() {
        let mut out = Vec::new();
        put_startup(&mut out, PROTOCOL_3_0, [("user", "alice")]);
        for end in 0..out.len() {
            assert!(read(&out[..end]).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn version_2_and_absurd_lengths_are_refused() {
        assert!(read(&[0, 0, 0, 8, 0, 2, 0, 0]).is_err());
        assert!(size(&[0, 0, 0, 7]).is_err());
        assert!(size(b"GET ").is_err());
    }
}
