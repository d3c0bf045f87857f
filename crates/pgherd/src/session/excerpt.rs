//! The beginning of a statement, for errors and logs.

/// A line of a log has room for so many characters of it.
const MOST: usize = 80;

/// The statement in one line, and no more of it than that.
pub(crate) fn excerpt(sql: &str) -> String {
    let mut words = String::new();
    for word in sql.split_whitespace() {
        if !words.is_empty() {
            words.push(' ');
        }
        words.extend(word.chars().take(MOST + 1));
        if words.len() > MOST * 4 {
            break;
        }
    }
    if words.chars().nth(MOST).is_none() {
        return words;
    }
    let mut beginning: String = words.chars().take(MOST - 1).collect();
    beginning.push('…');
    beginning
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_told_in_one_line_of_bounded_length() {
        assert_eq!(excerpt("  SELECT a,\n\t b\n FROM t "), "SELECT a, b FROM t");
        assert_eq!(excerpt(""), "");
        let eighty = "é".repeat(80);
        assert_eq!(excerpt(&eighty), eighty);
        for long in ["é".repeat(81), "SELECT 1 + ".repeat(100_000)] {
            let told = excerpt(&long);
            assert!(told.chars().count() == 80 && told.ends_with('…'), "{told}");
        }
    }
}
