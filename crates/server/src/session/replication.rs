//! Clients that ask for replication when they log in.

/// What kind of replication a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// All that the node writes, in its own form; of no database.
    Physical,
    /// The changes of one database.
    Logical,
}

impl Replication {
    /// Reads the parameter `replication` of a startup packet: "database", or a boolean as the server
    /// reads it. `Err` if it is neither.
    ///
    /// Source: PostgreSQL, `ProcessStartupPacket` and `parse_bool`.
    pub fn read(value: &str) -> Result<Option<Self>, BadReplication> {
        if value == "database" {
            return Ok(Some(Self::Logical));
        }
        let value = value.to_ascii_lowercase();
        let begins = |word: &str| !value.is_empty() && word.starts_with(&value);
        // "o" may be either.
        let is_on = value == "on" || value == "1" || ["true", "yes"].into_iter().any(begins);
        let is_off =
            matches!(&*value, "of" | "off" | "0") || ["false", "no"].into_iter().any(begins);
        match (is_on, is_off) {
            (true, _) => Ok(Some(Self::Physical)),
            (_, true) => Ok(None),
            _ => Err(BadReplication),
        }
    }

    /// The parameter's value, to ask a node for the same.
    pub fn value(self) -> &'static str {
        match self {
            Self::Physical => "true",
            Self::Logical => "database",
        }
    }
}

/// What was asked for is nothing that there is.
#[derive(Debug, PartialEq, Eq)]
pub struct BadReplication;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_takes_for_a_boolean_is_one() {
        for value in ["true", "TRUE", "t", "yes", "y", "on", "1"] {
            assert_eq!(Replication::read(value), Ok(Some(Replication::Physical)), "{value}");
        }
        for value in ["false", "f", "no", "n", "off", "of", "0"] {
            assert_eq!(Replication::read(value), Ok(None), "{value}");
        }
        for value in ["", "o", "2", "trues", "Database", "physical"] {
            assert_eq!(Replication::read(value), Err(BadReplication), "{value}");
        }
        assert_eq!(Replication::read("database"), Ok(Some(Replication::Logical)));
    }
}
