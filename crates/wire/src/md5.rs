//! The md5 password exchange, which nodes and clients may still ask for.

use md5::{Digest, Md5};

/// The body of a PasswordMessage that answers AuthenticationMD5Password: `md5` and 32 hex
/// digits.
///
/// Source: PostgreSQL manual, "Message Flow": `md5(md5(password || user) || salt)`.
pub fn response(user: &str, password: &str, salt: [u8; 4]) -> String {
    response_of(&stored(user, password), salt)
}

/// The same from what a server stores in the place of the password: see [`stored`].
pub fn response_of(stored: &str, salt: [u8; 4]) -> String {
    let inner = stored.strip_prefix("md5").unwrap_or(stored);
    let outer = hex(&Md5::new().chain_update(inner).chain_update(salt).finalize());
    format!("md5{outer}")
}

/// What a server stores in the place of a password: `md5` and 32 hex digits.
pub fn stored(user: &str, password: &str) -> String {
    format!("md5{}", hex(&Md5::new().chain_update(password).chain_update(user).finalize()))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String cannot fail");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_answer_is_what_postgresql_computes() {
        // select 'md5' || md5(md5('secret' || 'alice')::bytea || '\x01020304'::bytea)
        assert_eq!(
            super::response("alice", "secret", [1, 2, 3, 4]),
            "md598a0412b9c31436fc53776e863350083"
        );
        // select 'md5' || md5('secretalice')
        let stored = super::stored("alice", "secret");
        assert_eq!(
            super::response_of(&stored, [1, 2, 3, 4]),
            super::response("alice", "secret", [1, 2, 3, 4])
        );
    }
}
