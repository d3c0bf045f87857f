//! `userlist.txt`: logins and passwords.

use anyhow::{Result, bail};
use pgherd_core::settings::UserSettings;

use super::ini::quoted;

/// # Errors
/// When a login has no password, or one that the file cannot say.
pub(super) fn render(users: &[UserSettings]) -> Result<String> {
    let mut text = String::from(
        "; Written by `pgherd pgbouncer-config`: logins and passwords, for PgBouncer alone to read.\n",
    );
    for UserSettings { name, password, .. } in users {
        let password = password.expose();
        if password.is_empty() {
            bail!("user `{name}` has no password, and SCRAM needs one");
        }
        let is_md5 = password.len() == 35 && password.starts_with("md5");
        if is_md5 || password.starts_with("SCRAM-SHA-256$") {
            bail!("the password of user `{name}` looks like a hash, and would be taken for one");
        }
        if [name, password].iter().any(|text| text.contains(['\n', '\r', '\0'])) {
            bail!("user `{name}` or its password has a line break, which userlist.txt cannot say");
        }
        text += &format!("{} {}\n", quoted(name, '"'), quoted(password, '"'));
    }
    Ok(text)
}
