//! `userlist.txt`: logins, and what is known of their passwords.
//!
//! One login in a line, `"name" "password"`, a quote in either written twice. What stands behind is
//! not read; lines that begin with `;` are comments. Where PgBouncer stops reading at a line that it
//! does not understand and starts without those that follow, this is an error.

use pgherd_wire::scram;

use super::{FileError, unquote};
use crate::settings::Secret;

/// Bytes of a name: one fewer than PgBouncer's `MAX_USERNAME`.
const LONGEST_NAME: usize = 127;

/// Bytes of a password: one fewer than PgBouncer's `MAX_PASSWORD`.
const LONGEST_PASSWORD: usize = 2047;

/// Logins: each becomes a `[[user]]`, and those have numbers of 16 bits.
const MOST_LOGINS: usize = 60_000;

/// What is known of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredPassword {
    /// Nothing: there is none.
    None,
    /// The password.
    Plain(Secret),
    /// PostgreSQL's md5 of it: `md5` and 32 hexadecimal digits.
    Md5(Secret),
    /// PostgreSQL's SCRAM secret, `SCRAM-SHA-256$...`.
    Scram(Secret),
}

impl StoredPassword {
    /// What a text is, as PgBouncer and PostgreSQL tell it.
    ///
    /// ```
    /// use pgherd_core::pgbouncer::StoredPassword;
    ///
    /// let md5 = format!("md5{}", "0".repeat(32));
    /// assert!(matches!(StoredPassword::read(&md5), Ok(StoredPassword::Md5(_))));
    /// assert!(matches!(StoredPassword::read("md5"), Ok(StoredPassword::Plain(_))));
    /// assert!(StoredPassword::read("SCRAM-SHA-256$4096:x").is_err());
    /// ```
    ///
    /// # Errors
    /// What is wrong with a SCRAM secret that is none.
    pub fn read(text: &str) -> Result<Self, &'static str> {
        let secret = Secret::new(text);
        let is_hex = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.is_empty() {
            return Ok(Self::None);
        }
        if text.strip_prefix("md5").is_some_and(|digits| digits.len() == 32 && is_hex(digits)) {
            return Ok(Self::Md5(secret));
        }
        if !text.starts_with("SCRAM-SHA-256$") {
            return Ok(Self::Plain(secret));
        }
        match scram::Secret::parse(text) {
            Some(_) => Ok(Self::Scram(secret)),
            None => {
                Err("the password begins as a SCRAM secret and is none: copy `rolpassword` of \
                         pg_authid whole")
            }
        }
    }
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserlistEntry {
    /// The line, counted from 1.
    pub line: usize,
    /// The role's name.
    pub name: String,
    /// What is known of its password.
    pub password: StoredPassword,
}

/// Reads a userlist.
///
/// ```
/// use pgherd_core::pgbouncer::{StoredPassword, read_userlist};
///
/// let logins = read_userlist("; ours\n\"app\" \"pa\"\"ss\"\n", "userlist.txt").unwrap();
/// let StoredPassword::Plain(password) = &logins[0].password else { panic!() };
/// assert_eq!((logins[0].name.as_str(), password.expose()), ("app", "pa\"ss"));
///
/// let errors = read_userlist("app secret\n", "userlist.txt").unwrap_err();
/// assert_eq!(
///     errors[0].to_string(),
///     "userlist.txt:1: no `\"name\" \"password\"`, both in double quotes, nor a comment (`;`)"
/// );
/// ```
///
/// # Errors
/// Every line that is no login. None of them shows a password.
pub fn read_userlist(text: &str, file_name: &str) -> Result<Vec<UserlistEntry>, Vec<FileError>> {
    let (mut logins, mut errors) = (Vec::new(), Vec::new());
    for (index, line) in text.split('\n').enumerate() {
        let line = line.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if line.is_empty() || line.starts_with(';') {
            continue;
        }
        let number = index + 1;
        let read = if logins.len() < MOST_LOGINS {
            login(line)
        } else {
            Err(format!("more than {MOST_LOGINS} logins"))
        };
        match read {
            Ok((name, password)) => logins.push(UserlistEntry { line: number, name, password }),
            Err(problem) => {
                let file = file_name.to_owned();
                errors.push(FileError { file, line: Some(number), problem });
                if logins.len() >= MOST_LOGINS {
                    break;
                }
            }
        }
    }
    if errors.is_empty() { Ok(logins) } else { Err(errors) }
}

fn login(line: &str) -> Result<(String, StoredPassword), String> {
    let broken =
        || "no `\"name\" \"password\"`, both in double quotes, nor a comment (`;`)".to_owned();
    let quoted = |text: &'_ str| {
        let text = text.trim_start_matches([' ', '\t']);
        let (value, rest) = text.strip_prefix('"').and_then(|text| unquote(text, '"'))?;
        Some((value, rest.len()))
    };
    let (name, left) = quoted(line).ok_or_else(broken)?;
    let (password, _) = quoted(&line[line.len() - left..]).ok_or_else(broken)?;
    if name.is_empty() {
        return Err("a login has no name".to_owned());
    }
    if name.len() > LONGEST_NAME {
        return Err(format!("the name has {} bytes, more than {LONGEST_NAME}", name.len()));
    }
    if password.len() > LONGEST_PASSWORD {
        let bytes = password.len();
        return Err(format!("the password has {bytes} bytes, more than {LONGEST_PASSWORD}"));
    }
    if name.contains('\0') || password.contains('\0') {
        return Err("a zero byte: this is no text".to_owned());
    }
    Ok((name, StoredPassword::read(&password)?))
}

/// A login as [`read_userlist`] reads it. Neither has a line break.
///
/// ```
/// use pgherd_core::pgbouncer::userlist_line;
///
/// assert_eq!(userlist_line("o\"neil", "secret"), "\"o\"\"neil\" \"secret\"");
/// ```
pub fn userlist_line(name: &str, password: &str) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    format!("{} {}", quoted(name), quoted(password))
}
