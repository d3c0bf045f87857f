//! The parts of a document that are each written by a command of their own.
//!
//! A part stands between two lines that Markdown does not show: `<!-- part: NAME -->` and
//! `<!-- end of NAME -->`.

use anyhow::{Context, Result};

/// The document with the part of this name replaced; everything else stays as it is.
///
/// # Errors
/// When the document has no such part.
pub(crate) fn replace(document: &str, name: &str, part: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- part: {name} -->\n"), format!("<!-- end of {name} -->\n"));
    let split = document.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some((before, after))
    });
    let (before, after) = split.with_context(|| {
        format!("no part `{name}`: the lines `{}` and `{}` are missing", begin.trim(), end.trim())
    })?;
    Ok(format!("{before}{begin}\n{}\n\n{end}{after}", part.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Title\n\n<!-- part: one -->\nold\n<!-- end of one -->\n\n\
                            <!-- part: two -->\nstays\n<!-- end of two -->\n";

    #[test]
    fn one_part_is_replaced_and_the_rest_stays() {
        let expected = "# Title\n\n<!-- part: one -->\n\nnew\n\n<!-- end of one -->\n\n\
                        <!-- part: two -->\nstays\n<!-- end of two -->\n";
        let replaced = replace(DOCUMENT, "one", "new\n").unwrap();
        assert_eq!(replaced, expected);
        assert_eq!(replace(&replaced, "one", "new").unwrap(), expected);
    }

    #[test]
    fn a_part_that_is_missing_is_an_error_that_names_its_lines() {
        let error = replace(DOCUMENT, "three", "new").unwrap_err().to_string();
        assert!(error.contains("<!-- part: three -->"), "{error}");
    }
}
