//! The console's grammar.
//!
//! In: the text of a Query or Parse. Out: what is said in it, statement by statement; what it means
//! is not known here.
//!
//! `WORD [WORD]` and `SET WORD (=|TO) (WORD | 'text')`, in any case, with `;` between statements and
//! SQL's comments anywhere. A word is made of ASCII letters, digits, `_` and `.`, or is a quoted
//! identifier.

/// The longest first word: 15 bytes. Source: PgBouncer, the buffers of `admin_parse_query`; so are the
/// other two.
const LONGEST_COMMAND: usize = 15;

/// The longest second word.
const LONGEST_ARGUMENT: usize = 63;

/// The longest value that is set.
const LONGEST_VALUE: usize = 255;

/// A statement as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// A command, in lower case, and its argument, as it was written.
    Words {
        /// The first word.
        command: String,
        /// The second one.
        argument: Option<String>,
    },
    /// `SET key = value`.
    Set {
        /// In lower case.
        key: String,
        /// As it was written, without quotes.
        value: String,
    },
    /// None of both: all its words, in lower case, for those that drivers say on their own.
    Other(Vec<String>),
    /// A word of it is longer than it may be.
    TooLong,
}

/// A statement and its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement<'t> {
    pub(crate) said: Said,
    pub(crate) text: &'t str,
}

/// The statements in a text; those that say nothing are left out.
pub(crate) fn parse(text: &str) -> Vec<Statement<'_>> {
    let mut statements = Vec::new();
    let mut tokens = Tokens { text, at: 0 };
    loop {
        let start = tokens.at;
        let (mut found, mut end) = (Vec::new(), start);
        let is_last = loop {
            match tokens.next() {
                None => break true,
                Some(Token::Semicolon) => break false,
                Some(token) => {
                    end = tokens.at;
                    found.push(token);
                }
            }
        };
        if !found.is_empty() {
            let text = text[start..end].trim();
            statements.push(Statement { said: said(found), text });
        }
        if is_last {
            return statements;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    Quoted(String),
    Text(String),
    Equals,
    Semicolon,
    Other(char),
}

impl Token {
    /// What it says where a word may stand.
    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) | Self::Quoted(word) => Some(word),
            _ => None,
        }
    }

    fn is_to(&self) -> bool {
        match self {
            Self::Equals => true,
            Self::Word(word) => word.eq_ignore_ascii_case("to"),
            _ => false,
        }
    }
}

fn said(tokens: Vec<Token>) -> Said {
    let is_set = |token: &Token| token.word().is_some_and(|word| word.eq_ignore_ascii_case("set"));
    match &tokens[..] {
        [command, rest @ ..] if command.word().is_some() && rest.len() <= 1 => {
            let command = command.word().unwrap_or_default().to_ascii_lowercase();
            let argument = match rest {
                [] => None,
                [argument] => match argument.word() {
                    Some(word) => Some(word.to_owned()),
                    None => return other(tokens),
                },
                _ => return other(tokens),
            };
            let is_long = argument.as_ref().is_some_and(|word| word.len() > LONGEST_ARGUMENT);
            if command.len() > LONGEST_COMMAND || is_long {
                return Said::TooLong;
            }
            Said::Words { command, argument }
        }
        [set, key, to, Token::Text(value) | Token::Word(value) | Token::Quoted(value)]
            if is_set(set) && to.is_to() =>
        {
            let Some(key) = key.word() else { return other(tokens) };
            if key.len() > LONGEST_ARGUMENT || value.len() > LONGEST_VALUE {
                return Said::TooLong;
            }
            Said::Set { key: key.to_ascii_lowercase(), value: value.clone() }
        }
        _ => other(tokens),
    }
}

fn other(tokens: Vec<Token>) -> Said {
    let word = |token| match token {
        Token::Word(word) => word.to_ascii_lowercase(),
        Token::Quoted(text) | Token::Text(text) => text,
        Token::Equals => "=".to_owned(),
        Token::Semicolon => ";".to_owned(),
        Token::Other(letter) => letter.to_string(),
    };
    Said::Other(tokens.into_iter().map(word).collect())
}

struct Tokens<'t> {
    text: &'t str,
    at: usize,
}

impl Tokens<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    /// Skips as long as it holds.
    fn skip_while(&mut self, holds: impl Fn(char) -> bool) {
        let rest = self.rest();
        self.at += rest.find(|letter| !holds(letter)).unwrap_or(rest.len());
    }

    fn skip_blank(&mut self) {
        loop {
            self.skip_while(char::is_whitespace);
            if self.rest().starts_with("--") {
                self.skip_while(|letter| letter != '\n');
            } else if self.rest().starts_with("/*") {
                self.skip_comment();
            } else {
                return;
            }
        }
    }

    /// They nest. One that does not end reaches to the end of the text.
    fn skip_comment(&mut self) {
        let mut depth = 0usize;
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                depth += 1;
                self.at += 2;
            } else if rest.starts_with("*/") {
                depth -= 1;
                self.at += 2;
            } else {
                match rest.chars().next() {
                    Some(letter) => self.at += letter.len_utf8(),
                    None => return,
                }
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// What stands between two of these quotes; two in a row are one. `None` if the second is not
    /// there.
    fn quoted(&mut self, quote: char) -> Option<String> {
        let mut found = String::new();
        let mut letters = self.rest().char_indices().skip(1).peekable();
        while let Some((at, letter)) = letters.next() {
            if letter != quote {
                found.push(letter);
            } else if letters.next_if(|(_, next)| *next == quote).is_some() {
                found.push(quote);
            } else {
                self.at += at + 1;
                return Some(found);
            }
        }
        None
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip_blank();
        let first = self.rest().chars().next()?;
        let in_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.');
        if in_word(first) {
            let start = self.at;
            self.skip_while(in_word);
            return Some(Token::Word(self.text[start..self.at].to_owned()));
        }
        match first {
            '"' => {
                if let Some(word) = self.quoted('"') {
                    return Some(Token::Quoted(word));
                }
            }
            '\'' => {
                if let Some(text) = self.quoted('\'') {
                    return Some(Token::Text(text));
                }
            }
            _ => {}
        }
        self.at += first.len_utf8();
        Some(match first {
            ';' => Token::Semicolon,
            '=' => Token::Equals,
            other => Token::Other(other),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(command: &str, argument: Option<&str>) -> Said {
        Said::Words { command: command.to_owned(), argument: argument.map(str::to_owned) }
    }

    fn set(key: &str, value: &str) -> Said {
        Said::Set { key: key.to_owned(), value: value.to_owned() }
    }

    fn all(text: &str) -> Vec<Said> {
        parse(text).into_iter().map(|statement| statement.said).collect()
    }

    #[test]
    fn statements_are_words_and_settings() {
        for (text, said) in [
            ("show pools", vec![words("show", Some("pools"))]),
            ("  SHOW\tPools ;; ", vec![words("show", Some("Pools"))]),
            ("pause \"my \"\"db\"\"\";", vec![words("pause", Some("my \"db\""))]),
            ("resume", vec![words("resume", None)]),
            ("set a = 5", vec![set("a", "5")]),
            ("SET A TO 'it''s 1.5s'", vec![set("a", "it's 1.5s")]),
            ("set listen.max_clients=5;", vec![set("listen.max_clients", "5")]),
            ("set \"A\" = \"B\"", vec![set("a", "B")]),
            ("", vec![]),
            (" ; -- nothing\n /* at /* all */ */ ;", vec![]),
            ("/* open", vec![]),
            ("pause a;resume a", vec![words("pause", Some("a")), words("resume", Some("a"))]),
            (&"x".repeat(16), vec![Said::TooLong]),
            (&format!("pause {}", "x".repeat(64)), vec![Said::TooLong]),
            (&format!("set a = '{}'", "x".repeat(256)), vec![Said::TooLong]),
        ] {
            assert_eq!(all(text), said, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_told_word_by_word() {
        let other = |words: &[&str]| vec![Said::Other(words.iter().map(|w| (*w).into()).collect())];
        assert_eq!(all("SELECT a FROM b"), other(&["select", "a", "from", "b"]));
        assert_eq!(all("set a = -1"), other(&["set", "a", "=", "-", "1"]));
        assert_eq!(all("show $1"), other(&["show", "$", "1"]));
        assert_eq!(all("pause 'a'"), other(&["pause", "a"]));
        assert_eq!(all("pause \"a"), other(&["pause", "\"", "a"]));
        assert_eq!(parse(" nonsense 1 2 ; show x").first().unwrap().text, "nonsense 1 2");
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "\\PC{0,200}") {
            for statement in parse(&text) {
                prop_assert!(!statement.text.is_empty() && text.contains(statement.text));
            }
        }

        #[test]
        fn what_is_quoted_comes_out_as_it_was(name in "\\PC{0,20}") {
            let text = format!("pause \"{}\"", name.replace('"', "\"\""));
            let said = if name.len() > LONGEST_ARGUMENT {
                Said::TooLong
            } else {
                words("pause", Some(&name))
            };
            prop_assert_eq!(all(&text), vec![said]);
        }

        #[test]
        fn statements_are_read_alike_alone_and_in_a_row(
            texts in prop::collection::vec("[a-z\"' =./*-]{0,12}", 0..5)
        ) {
            // One that does not end swallows the next.
            let ends = |text: &&String| {
                let is_even = |quote| text.matches::<char>(quote).count().is_multiple_of(2);
                is_even('"')
                    && is_even('\'')
                    && !text.contains("/*")
                    && !text.contains("--")
                    && !(text.contains('"') && text.contains('\''))
            };
            let texts: Vec<&String> = texts.iter().filter(ends).collect();
            let alone: Vec<Said> = texts.iter().flat_map(|text| all(text)).collect();
            let together = texts.iter().map(|text| text.as_str()).collect::<Vec<_>>().join(";");
            prop_assert_eq!(all(&together), alone);
        }
    }
}
