//! Framing: one type byte and a length that counts itself.

use crate::WireError;

/// Bytes before a message's body: the type byte and the four of the length.
pub const HEADER: usize = 5;

/// The largest message PostgreSQL itself accepts: 1 GiB less one byte (`MaxAllocSize`).
pub const MAX_MESSAGE: u32 = 0x3fff_ffff;

/// The type byte and size of the message that starts at the beginning of a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The type byte.
    pub tag: u8,
    /// Bytes of the whole message, header included: 5 or more.
    pub size: usize,
}

impl Frame {
    /// Reads a header; `None` when fewer than [`HEADER`] bytes are there yet.
    ///
    /// # Errors
    /// [`WireError::Length`] if the length field is below 4 or above `limit`.
    pub fn read(bytes: &[u8], limit: u32) -> Result<Option<Self>, WireError> {
        let Some(&[tag, a, b, c, d]) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
        let length = u32::from_be_bytes([a, b, c, d]);
        if length < 4 || length > limit {
            return Err(WireError::Length { tag: char::from(tag), length, limit });
        }
        Ok(Some(Self { tag, size: length as usize + 1 }))
    }
}

/// Appends a message whose body `fill` writes; the length is set afterwards.
pub fn put(out: &mut Vec<u8>, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    put_untagged(out, fill);
}

/// Appends a packet without a type byte (the startup packets); its length counts itself.
pub fn put_untagged(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = u32::try_from(out.len() - start).expect("we build no message above 4 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// Appends a string and its terminating zero.
///
/// A zero inside `text` would end the string early and shift every field after it, so the
/// text is cut there.
pub fn put_str(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let end = memchr::memchr(0, bytes).unwrap_or(bytes.len());
    out.extend_from_slice(&bytes[..end]);
    out.push(0);
}

/// Reads fields from a message's body, in order.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    tag: u8,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The fields of `body`, which belongs to a message of type `tag`.
    pub fn new(tag: u8, body: &'a [u8]) -> Self {
        Self { tag, rest: body }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `n` bytes.
    pub fn bytes(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], WireError> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(self.truncated(field))?;
        self.rest = rest;
        Ok(head)
    }

    /// The next byte.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, WireError> {
        Ok(self.bytes(1, field)?[0])
    }

    /// The next 16-bit integer.
    pub fn i16(&mut self, field: &'static str) -> Result<i16, WireError> {
        let bytes = self.bytes(2, field)?;
        Ok(i16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// The next 32-bit integer.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, WireError> {
        let bytes = self.bytes(4, field)?;
        Ok(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    /// The next zero-terminated string, as bytes without the zero.
    pub fn cstr(&mut self, field: &'static str) -> Result<&'a [u8], WireError> {
        let end = memchr::memchr(0, self.rest).ok_or(self.truncated(field))?;
        let (head, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(head)
    }

    /// The next zero-terminated string, as text.
    pub fn text(&mut self, field: &'static str) -> Result<&'a str, WireError> {
        let bytes = self.cstr(field)?;
        std::str::from_utf8(bytes)
            .map_err(|_| WireError::NotText { tag: char::from(self.tag), field })
    }

    fn truncated(&self, field: &'static str) -> WireError {
        WireError::Truncated { tag: char::from(self.tag), field }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_once_all_five_bytes_are_there() {
        let bytes = [b'Q', 0, 0, 0, 5, 0];
        assert_eq!(Frame::read(&bytes[..4], MAX_MESSAGE), Ok(None));
        assert_eq!(Frame::read(&bytes, MAX_MESSAGE), Ok(Some(Frame { tag: b'Q', size: 6 })));
    }

    #[test]
    fn a_length_outside_its_range_is_refused() {
        for length in [0u32, 3, 101, u32::MAX] {
            let mut bytes = vec![b'D'];
            bytes.extend_from_slice(&length.to_be_bytes());
            let error = WireError::Length { tag: 'D', length, limit: 100 };
            assert_eq!(Frame::read(&bytes, 100), Err(error));
        }
    }

    #[test]
    fn what_is_put_reads_back() {
        let mut out = Vec::new();
        put(&mut out, b'S', |out| {
            put_str(out, "TimeZone");
            put_str(out, "UTC");
        });
        let frame = Frame::read(&out, MAX_MESSAGE).unwrap().unwrap();
        assert_eq!((frame.tag, frame.size), (b'S', out.len()));
        let mut fields = Fields::new(b'S', &out[HEADER..]);
        assert_eq!(fields.text("name"), Ok("TimeZone"));
        assert_eq!(fields.text("value"), Ok("UTC"));
        assert_eq!(fields.u8("more"), Err(WireError::Truncated { tag: 'S', field: "more" }));
    }
}
