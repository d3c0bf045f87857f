//! What follows a client from backend to backend: session parameters, and what it made with PREPARE.
//!
//! These are what the client asked for at login, and later changes: those that the server reported
//! to it (ParameterStatus), and those that it was asked for. A backend remembers what was last
//! applied to it, so a client that wants the same costs nothing.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use pgherd_core::sql;

/// What SET ROLE sets.
const ROLE: &str = "role";

/// Names and values, in order of name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Parameters {
    settings: BTreeMap<Box<str>, Box<str>>,
    // The PREPARE of each statement, by its name.
    prepared: BTreeMap<Box<str>, Box<str>>,
}

impl Parameters {
    /// The value of a parameter, whose name is compared without case as the server does.
    pub fn get(&self, name: &str) -> Option<&str> {
        match self.settings.get(name) {
            Some(value) => Some(value),
            None => self
                .settings
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| &**value),
        }
    }

    /// Sets a parameter, keeping the spelling of a name that is there.
    pub fn set(&mut self, name: &str, value: &str) {
        let spelt = self.settings.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
        self.settings.insert(spelt.unwrap_or_else(|| name.into()), value.into());
    }

    /// The same without one of them.
    #[must_use]
    pub fn without(&self, name: &str) -> Self {
        let mut others = self.clone();
        others.settings.retain(|key, _| !key.eq_ignore_ascii_case(name));
        others
    }

    /// The statement `name` was made by this PREPARE, of which the text is the only statement.
    pub fn prepare(&mut self, name: &str, text: &str) {
        self.prepared.insert(name.into(), text.into());
    }

    /// Has these statements, and no others.
    pub fn set_prepared_of(&mut self, other: &Self) {
        self.prepared.clone_from(&other.prepared);
    }

    /// Whether there are statements made with PREPARE.
    pub fn has_prepared(&self) -> bool {
        !self.prepared.is_empty()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (&**name, &**value))
    }

    /// A number for what these parameters make of a statement's text; the same for sets that
    /// differ in nothing that counts, such as `application_name`.
    ///
    /// PostgreSQL parses a statement anew under another search path or role, and then refuses it if
    /// what it returns has changed: so they are others' statements, too.
    pub fn flavour(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for (name, value) in self.iter() {
            let name = name.to_ascii_lowercase();
            if matches!(&*name, "search_path" | ROLE) || sql::depends_on(&name) {
                (name, value).hash(&mut hasher);
            }
        }
        hasher.finish()
    }

    /// Bytes of all names and values.
    pub fn bytes(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.settings.is_empty() && self.prepared.is_empty()
    }

    /// The queries that turn a session with `applied` into one with `self`; empty when there is
    /// nothing to do. Each PREPARE is one of its own, as the node remembers the text it came in.
    pub fn change_from(&self, applied: &Self) -> Vec<String> {
        let mut first = String::new();
        for (name, text) in &applied.prepared {
            if self.prepared.get(name) != Some(text) {
                first.push_str("DEALLOCATE ");
                push_quoted(&mut first, name, '"');
                first.push(';');
            }
        }
        first.push_str(&self.settings_from(applied));
        let here = |name, text| applied.prepared.get(name) == Some(text);
        let missing = self.prepared.iter().filter(|(name, text)| !here(*name, *text));
        let missing = missing.map(|(_, text)| String::from(&**text));
        Some(first).filter(|first| !first.is_empty()).into_iter().chain(missing).collect()
    }

    /// The statements that set what differs.
    ///
    /// Under its own rights and not those of a role that was set: that is put back first, and set
    /// last.
    fn settings_from(&self, applied: &Self) -> String {
        let mut sql = String::new();
        let (role, last_role) = (self.get(ROLE), applied.get(ROLE));
        let is_role = |name: &str| name.eq_ignore_ascii_case(ROLE);
        for (name, value) in self.iter() {
            if applied.get(name) != Some(value) && !is_role(name) {
                push_set(&mut sql, name, value);
            }
        }
        for (name, _) in applied.iter() {
            if self.get(name).is_none() && !is_role(name) {
                sql.push_str("RESET ");
                push_quoted(&mut sql, name, '"');
                sql.push(';');
            }
        }
        let changes = !sql.is_empty();
        if last_role.is_some() && (changes || role != last_role) {
            sql.insert_str(0, "RESET ROLE;");
        }
        if let Some(role) = role
            && (changes || last_role != Some(role))
        {
            push_set(&mut sql, ROLE, role);
        }
        sql
    }
}

fn push_set(sql: &mut String, name: &str, value: &str) {
    // Not SET: to it, a list such as search_path is not one string.
    sql.push_str("SELECT pg_catalog.set_config(");
    push_quoted(sql, name, '\'');
    sql.push_str(", ");
    push_quoted(sql, value, '\'');
    sql.push_str(", false);");
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
            [
                r#"SELECT pg_catalog.set_config('search_path', 'a, "$user"', false);RESET "application_name";"#
            ]
        );
        assert!(wanted.change_from(&wanted).is_empty());
    }

    #[test]
    fn a_role_is_put_back_first_and_set_last() {
        let clerk = parameters(&[("role", "clerk"), ("work_mem", "1MB")]);
        let boss = parameters(&[("role", "boss")]);
        let set =
            |name, value| format!("SELECT pg_catalog.set_config('{name}', '{value}', false);");
        assert_eq!(
            clerk.change_from(&boss),
            [format!("RESET ROLE;{}{}", set("work_mem", "1MB"), set("role", "clerk"))]
        );
        assert_eq!(Parameters::default().change_from(&boss), ["RESET ROLE;"]);
        let more = parameters(&[("role", "boss"), ("work_mem", "1MB")]);
        assert_eq!(
            more.change_from(&boss),
            [format!("RESET ROLE;{}{}", set("work_mem", "1MB"), set("role", "boss"))]
        );
        assert!(boss.change_from(&boss).is_empty());
    }

    #[test]
    fn a_statement_is_anothers_only_where_it_may_mean_or_return_something_else() {
        let plain = Parameters::default().flavour();
        for (name, value, is_same) in [
            ("application_name", "x", true),
            ("app.tenant", "x", true),
            ("statement_timeout", "1s", true),
            ("TimeZone", "UTC", false),
            ("search_path", "a", false),
            ("role", "clerk", false),
        ] {
            assert_eq!(parameters(&[(name, value)]).flavour() == plain, is_same, "{name}");
        }
    }

    #[test]
    fn statements_are_prepared_last_each_in_a_query_of_its_own_and_others_deallocated_first() {
        let mut one = parameters(&[("role", "clerk")]);
        one.prepare("p", "PREPARE p AS SELECT 1 -- one");
        one.prepare("Q\"", "PREPARE \"Q\"\"\" AS SELECT 2");
        let mut two = Parameters::default();
        two.prepare("p", "PREPARE p AS SELECT 3");
        assert_eq!(
            one.change_from(&two),
            [
                "DEALLOCATE \"p\";SELECT pg_catalog.set_config('role', 'clerk', false);",
                "PREPARE \"Q\"\"\" AS SELECT 2",
                "PREPARE p AS SELECT 1 -- one",
            ]
        );
        assert!(one.change_from(&one).is_empty());
        let none = Parameters::default();
        assert_eq!(none.change_from(&one), ["DEALLOCATE \"Q\"\"\";DEALLOCATE \"p\";RESET ROLE;"]);
        assert_eq!(one.flavour(), parameters(&[("role", "clerk")]).flavour());
    }

    #[test]
    fn values_cannot_break_out_of_their_quotes() {
        let wanted = parameters(&[("application_name", r"'; drop table x; -- \'")]);
        assert_eq!(
            wanted.change_from(&Parameters::default()),
            [
                r"SELECT pg_catalog.set_config('application_name',  E'''; drop table x; -- \\''', false);"
            ]
        );
    }
}
