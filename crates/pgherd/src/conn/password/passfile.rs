//! libpq's `~/.pgpass`: lines `host:port:database:user:password`.

use std::path::Path;

use super::{LONGEST_PASSFILE, PasswordError};

/// What a password is for.
#[derive(Debug, Clone, Copy)]
pub(in crate::conn) struct Place<'p> {
    /// The host as in the settings; a Unix socket is `localhost` to a passfile.
    pub(in crate::conn) host: &'p str,
    pub(in crate::conn) port: u16,
    pub(in crate::conn) database: &'p str,
    pub(in crate::conn) user: &'p str,
}

pub(super) fn read(path: &Path) -> Result<String, PasswordError> {
    let fail =
        |problem| PasswordError::File { setting: "passfile", path: path.to_owned(), problem };
    let (text, mode) = super::read(path, LONGEST_PASSFILE).map_err(fail)?;
    if mode & 0o077 != 0 {
        return Err(fail(format!("has mode {mode:04o}, so others may read it: chmod 0600")));
    }
    Ok(text)
}

/// The password of the first line that fits. `*` fits all; `\` takes the meaning from what follows.
pub(super) fn find(text: &str, place: Place<'_>) -> Option<String> {
    let host = if place.host.starts_with(['/', '@']) { "localhost" } else { place.host };
    let port = place.port.to_string();
    let wanted = [host, &port, place.database, place.user];
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let (fields, password) = split(line)?;
        let fits = |(field, wanted): (&Field, &str)| field.is_any || field.text == wanted;
        fields.iter().zip(wanted).all(fits).then_some(password)
    })
}

#[derive(Default)]
struct Field {
    text: String,
    is_any: bool,
}

fn split(line: &str) -> Option<([Field; 4], String)> {
    let mut rest = line.chars();
    // Up to a colon, or to the end in the last field, where colons count as they are.
    let mut field = |is_last: bool| {
        let (mut text, mut is_escaped) = (String::new(), false);
        loop {
            match rest.next() {
                Some('\\') => {
                    is_escaped = true;
                    text.extend(rest.next());
                }
                Some(':') if !is_last => break,
                Some(c) => text.push(c),
                None if is_last => break,
                None => return None,
            }
        }
        let is_any = text == "*" && !is_escaped;
        Some(Field { text, is_any })
    };
    let fields = [field(false)?, field(false)?, field(false)?, field(false)?];
    Some((fields, field(true)?.text))
}
