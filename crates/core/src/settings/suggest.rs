//! What somebody may have meant.

/// The word nearest to `word`, if it is near: two letters wrong, missing or too many.
pub(crate) fn nearest<'w>(word: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    // Nobody misspells a name this long; the distance costs the product of the lengths.
    if word.len() > 64 {
        return None;
    }
    words
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Letters to change, add or drop to turn one word into the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (index, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = index + 1;
        for (column, b) in to.chars().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = change.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[row.len() - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_finds_its_word() {
        let words = ["size", "idle_timeout", "max_lifetime"];
        assert_eq!(nearest("sise", words), Some("size"));
        assert_eq!(nearest("idletimeout", words), Some("idle_timeout"));
        assert_eq!(nearest("colour", words), None);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
