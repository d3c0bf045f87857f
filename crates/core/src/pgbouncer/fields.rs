//! The lines of an HBA file or ident map: fields between spaces, words between commas.

/// Bytes of one line, as PostgreSQL once had it and far above any sensible one.
const LONGEST_LINE: usize = 64 * 1024;

/// One word of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) text: String,
    /// What is quoted is a name, whatever it would mean else.
    pub(super) is_quoted: bool,
}

impl Word {
    pub(super) fn is_keyword(&self, keyword: &str) -> bool {
        !self.is_quoted && self.text == keyword
    }
}

/// The fields of a line, each of one word or more; none for a comment.
///
/// Source: PostgreSQL manual, "The pg_hba.conf File".
pub(super) fn fields(line: &str) -> Result<Vec<Vec<Word>>, String> {
    if line.len() > LONGEST_LINE {
        return Err(format!("the line has {} bytes, more than {LONGEST_LINE}", line.len()));
    }
    let (mut fields, mut rest) = (Vec::new(), line);
    // Whether a comma stands before the next word, so that it belongs to the same field.
    let mut goes_on = false;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
        if rest.is_empty() || rest.starts_with('#') {
            return Ok(fields);
        }
        if let Some(after) = rest.strip_prefix(',') {
            (goes_on, rest) = (true, after);
            continue;
        }
        let (word, after) = word(rest)?;
        rest = after;
        match fields.last_mut() {
            Some(field) if goes_on => Vec::push(field, word),
            _ => fields.push(vec![word]),
        }
        goes_on = false;
    }
}

/// A word, which may be quoted in parts.
fn word(line: &str) -> Result<(Word, &str), String> {
    let (mut text, mut rest, mut is_quoted) = (String::new(), line, false);
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '"' => {
                is_quoted |= text.is_empty();
                let (part, after) = super::unquote(after, '"')
                    .ok_or_else(|| format!("the quotes in `{line}` are not closed"))?;
                text.push_str(&part);
                rest = after;
            }
            ',' | '#' => break,
            c if c.is_ascii_whitespace() => break,
            c => {
                text.push(c);
                rest = after;
            }
        }
    }
    Ok((Word { text, is_quoted }, rest))
}
