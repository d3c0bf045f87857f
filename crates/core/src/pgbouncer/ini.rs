//! `pgbouncer.ini`: sections and settings, with the files that it includes.
//!
//! In: a text, and a function that answers the text of an included file. Out: each setting with
//! its place, in order, or every line that is none. What settings mean is not known here.
//!
//! Source: PgBouncer 1.18, seen from outside. Comments are whole lines; a value goes to the end of
//! its line, and quotes in it are its own affair.

use std::fmt;
use std::sync::Arc;

use super::FileError;

/// How deep files may include one another, as in PgBouncer.
const DEEPEST: usize = 10;

/// Files that may be included in all. A hundred in one folder, ten times over.
const MOST_FILES: usize = 1000;

/// Settings that may be read in all: one for each database of a large herd.
const MOST_ENTRIES: usize = 1_000_000;

/// A section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IniSection {
    /// `[pgbouncer]`
    Pgbouncer,
    /// `[databases]`
    Databases,
    /// `[users]`
    Users,
    /// `[peers]`
    Peers,
}

impl IniSection {
    const ALL: [Self; 4] = [Self::Pgbouncer, Self::Databases, Self::Users, Self::Peers];

    /// Its name in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pgbouncer => "pgbouncer",
            Self::Databases => "databases",
            Self::Users => "users",
            Self::Peers => "peers",
        }
    }
}

impl fmt::Display for IniSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// The line, counted from 1.
    pub line: usize,
}

impl Place {
    /// What is wrong here.
    pub fn error(&self, problem: impl Into<String>) -> FileError {
        FileError { file: self.file.to_string(), line: Some(self.line), problem: problem.into() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands.
    pub place: Place,
    /// The section it belongs to.
    pub section: IniSection,
    /// Its name: of a setting, a database, a user or a peer.
    pub key: String,
    /// What follows the `=`, without spaces around it.
    pub value: String,
}

/// Reads a file and those that it includes. `include` answers the text of a file by the path that
/// stands in the line.
///
/// ```
/// use pgherd_core::pgbouncer::{IniSection, read_ini};
///
/// let text = "%include more.ini\n[databases]\n; where it leads\nshop = host=10.0.0.1\n";
/// let mut include = |_: &str| Ok("[pgbouncer]\nlisten_port = 6432\n".to_owned());
/// let entries = read_ini(text, "pgbouncer.ini", &mut include).unwrap();
/// assert_eq!((entries[0].key.as_str(), entries[0].value.as_str()), ("listen_port", "6432"));
/// assert_eq!((entries[1].section, entries[1].place.line), (IniSection::Databases, 4));
///
/// let errors = read_ini("[databases]\nshop\n", "pgbouncer.ini", &mut include).unwrap_err();
/// assert_eq!(
///     errors[0].to_string(),
///     "pgbouncer.ini:2: `shop` is no `name = value`, section or comment (`;` or `#` at its beginning)"
/// );
/// ```
///
/// # Errors
/// Every line that is no setting, section, comment or `%include`. A file that cannot be included
/// ends the reading.
pub fn read_ini(
    text: &str,
    file_name: &str,
    include: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Vec<Entry>, Vec<FileError>> {
    let mut reader =
        Reader { include, entries: Vec::new(), errors: Vec::new(), section: None, files: 0 };
    let _ = reader.file(text, file_name, 0);
    if reader.errors.is_empty() { Ok(reader.entries) } else { Err(reader.errors) }
}

/// There is no use in going on.
struct Stop;

struct Reader<'f> {
    include: &'f mut dyn FnMut(&str) -> Result<String, String>,
    entries: Vec<Entry>,
    errors: Vec<FileError>,
    // Goes on from a file into those it includes, and out of them again.
    section: Option<IniSection>,
    files: usize,
}

impl Reader<'_> {
    fn file(&mut self, text: &str, name: &str, depth: usize) -> Result<(), Stop> {
        let file: Arc<str> = name.into();
        for (index, line) in text.split('\n').enumerate() {
            let place = Place { file: Arc::clone(&file), line: index + 1 };
            self.line(line.trim_matches(is_space), &place, depth)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &str, place: &Place, depth: usize) -> Result<(), Stop> {
        if line.is_empty() || line.starts_with([';', '#']) {
            return Ok(());
        }
        if line.contains('\0') {
            self.errors.push(place.error("a zero byte: this is no text"));
            return Ok(());
        }
        if let Some(path) = line.strip_prefix("%include").filter(|path| path.starts_with(is_blank))
        {
            return self.include(path.trim_matches(is_blank), place, depth);
        }
        if let Some(rest) = line.strip_prefix('[') {
            let Some((name, rest)) = rest.split_once(']') else {
                self.errors.push(place.error(format!("`{line}` has no `]`")));
                return Ok(());
            };
            self.section = IniSection::ALL.into_iter().find(|section| section.as_str() == name);
            if self.section.is_none() {
                let known = IniSection::ALL.map(|section| format!("[{section}]")).join(", ");
                let problem = format!("there is no section [{name}]: the sections are {known}");
                self.errors.push(place.error(problem));
                // One error is enough for all that stands in it.
                return Err(Stop);
            }
            // A setting may follow in the same line.
            return self.line(rest.trim_matches(is_space), place, depth);
        }
        match setting(line) {
            Err(problem) => self.errors.push(place.error(problem)),
            Ok((key, value)) => {
                let Some(section) = self.section else {
                    self.errors.push(place.error(format!(
                        "`{key}` stands in no section: [pgbouncer] or another comes first"
                    )));
                    return Err(Stop);
                };
                if self.entries.len() >= MOST_ENTRIES {
                    self.errors.push(place.error(format!("more than {MOST_ENTRIES} settings")));
                    return Err(Stop);
                }
                let value = value.to_owned();
                self.entries.push(Entry { place: place.clone(), section, key, value });
            }
        }
        Ok(())
    }

    fn include(&mut self, path: &str, place: &Place, depth: usize) -> Result<(), Stop> {
        self.files += 1;
        let text = if depth + 1 >= DEEPEST {
            Err(format!("files include one another more than {DEEPEST} deep, this one `{path}`"))
        } else if self.files > MOST_FILES {
            Err(format!("more than {MOST_FILES} files are included"))
        } else {
            (self.include)(path).map_err(|error| format!("cannot include `{path}`: {error}"))
        };
        match text {
            Ok(text) => self.file(&text, path, depth + 1),
            Err(problem) => {
                self.errors.push(place.error(problem));
                Err(Stop)
            }
        }
    }
}

/// Key and value.
fn setting(line: &str) -> Result<(String, &str), String> {
    let no_setting = || {
        format!("`{line}` is no `name = value`, section or comment (`;` or `#` at its beginning)")
    };
    let (key, rest) = match line.strip_prefix('"') {
        Some(quoted) => {
            super::unquote(quoted, '"').ok_or_else(|| format!("`{line}` has no closing `\"`"))?
        }
        None => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_.-*".contains(c);
            let end = line.find(|c| !plain(c)).unwrap_or(line.len());
            (line[..end].to_owned(), &line[end..])
        }
    };
    let rest = rest.trim_start_matches(is_blank);
    let value = rest.strip_prefix('=').filter(|_| !key.is_empty());
    match value {
        Some(value) => Ok((key, value.trim_matches(is_blank))),
        None if rest.contains('=') && !key.is_empty() => Err(format!(
            "`{}` is no name: what has other characters than letters, digits and `_.-*` stands in \
             double quotes",
            line.split('=').next().unwrap_or_default().trim_matches(is_space)
        )),
        None => Err(no_setting()),
    }
}

/// What ends with a line, or stands around it.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\u{b}' | '\u{c}')
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t')
}
