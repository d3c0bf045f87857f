//! Session parameters that follow a client from backend to backend.
//!
//! These are what the client asked for at login, and later changes that the server reported
//! to it (ParameterStatus). A backend remembers what was last applied to it, so a client that
//! wants the same costs nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Names and values, in order of name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Parameters(BTreeMap<Box<str>, Box<str>>);

impl Parameters {
    /// The value of a parameter, whose name is compared without case as the server does.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(value) => Some(value),
            None => self
                .0
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| &**value),
        }
    }

    /// Sets a parameter, keeping the spelling of a name that is there.
    pub fn set(&mut self, name: &str, value: &str) {
        let spelt = self.0.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
        self.0.insert(spelt.unwrap_or_else(|| name.into()), value.into());
    }

    /// The same without one of them.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let others = self.0.iter().filter(|(key, _)| !key.eq_ignore_ascii_case(name));
        Self(others.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A number for what these parameters make of a statement's text; the same for sets that
    /// differ in `application_name` only.
    pub fn flavour(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, value) in self.iter() {
            if !name.eq_ignore_ascii_case("application_name") {
                (name.to_ascii_lowercase(), value).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The statements that turn a session with `applied` into one with `self`; empty when
    /// there is nothing to do.
    pub fn change_from(&self, applied: &Self) -> String {
        let mut sql = String::new();
        for (name, value) in self.iter() {
            if applied.get(name) != Some(value) {
                // Not SET: to it, a list such as search_path is not one string.
                sql.push_str("SELECT pg_catalog.set_config(");
                push_quoted(&mut sql, name, '\'');
                sql.push_str(", ");
                push_quoted(&mut sql, value, '\'');
                sql.push_str(", false)");
                sql.push(';');
            }
        }
        for (name, _) in applied.iter() {
            if self.get(name).is_none() {
                sql.push_str("RESET ");
                push_quoted(&mut sql, name, '"');
                sql.push(';');
            }
        }
        sql
    }
}

fn push_quoted(sql: &mut String, text: &str, quote: char) {
    // E'' whenever there is a backslash, so that standard_conforming_strings does not matter.
    let escapes = quote == '\'' && text.contains('\\');
    if escapes {
        sql.push_str(" E");
    }
    sql.push(quote);
    for letter in text.chars() {
        if letter == quote || (escapes && letter == '\\') {
            sql.push(letter);
        }
        sql.push(letter);
    }
    sql.push(quote);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        let mut parameters = Parameters::default();
        pairs.iter().for_each(|(name, value)| parameters.set(name, value));
        parameters
    }

    #[test]
    fn only_what_differs_is_set_and_what_is_foreign_is_reset() {
        let applied = parameters(&[("TimeZone", "UTC"), ("application_name", "one")]);
        let wanted = parameters(&[("timezone", "UTC"), ("search_path", "a, \"$user\"")]);
        assert_eq!(
            wanted.change_from(&applied),
            r#"SELECT pg_catalog.set_config('search_path', 'a, "$user"', false);RESET "application_name";"#
        );
        assert_eq!(wanted.change_from(&wanted), "");
    }

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        let wanted = parameters(&[("application_name", r"'; drop table x; -- \'")]);
        assert_eq!(
            wanted.change_from(&Parameters::default()),
            r"SELECT pg_catalog.set_config('application_name',  E'''; drop table x; -- \\''', false);"
        );
    }
}
