//! One declaration for each setting: the struct, its documentation, the reader and the
//! reference come from it.

use std::ops::RangeInclusive;

use super::value::Value;

/// One setting, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingInfo {
    /// The section, `pool`.
    pub section: &'static str,
    /// The name in it, `size`.
    pub name: &'static str,
    /// The default, as it is written in TOML.
    pub default: String,
    /// What it means, with unit, range, default and reload class; one entry a line.
    pub doc: Vec<&'static str>,
}

/// Every setting of the sections, in order. `[[node]]` and `[[user]]` are not among them.
pub fn reference() -> Vec<SettingInfo> {
    let mut all = Vec::new();
    super::sections::describe_all(&mut all);
    all
}

/// Where values come from.
pub(super) trait Source {
    /// The value of a setting, or its default when it is absent or refused.
    fn take<T: Value>(&mut self, name: &'static str, default: T, range: &Range<T>) -> T;
}

/// A table of settings.
pub(super) trait Section {
    /// Its name in the file.
    const NAME: &'static str;
    /// Takes each setting from a source.
    fn read(source: &mut impl Source) -> Self;
    /// Tells what its settings are.
    fn describe(all: &mut Vec<SettingInfo>);
    /// Tells what its settings are set to, as it is written in TOML, in the order of
    /// [`Self::describe`].
    fn values(&self, all: &mut Vec<String>);
    /// Each setting that is not its default, as it is written in TOML.
    fn changed(&self) -> Vec<(&'static str, String)>;
    /// Sets the setting of this name from a text; `None` if it has none.
    fn set(&mut self, name: &str, text: &str) -> Option<Result<(), String>>;
    /// Takes the setting of this name over from another; whether there is one.
    fn copy(&mut self, name: &str, from: &Self) -> bool;
    /// Tells of each setting that is out of its range: its path, and what is wrong.
    fn check(&self, problems: &mut Vec<(String, String)>);
}

/// The values a setting may have.
pub(super) enum Range<T> {
    /// All of its type.
    Any,
    /// These.
    Between(RangeInclusive<T>),
}

impl<T: Value> Range<T> {
    /// A value from a text, if it is in the range.
    ///
    /// # Errors
    /// What is wrong with it, and the range.
    pub(super) fn parse(&self, text: &str) -> Result<T, String> {
        let value = T::from_text(text).map_err(|problem| match self {
            Self::Any => problem,
            Self::Between(range) => {
                let (from, to) = (range.start().to_toml(), range.end().to_toml());
                format!("{problem}; the range is {from} to {to}")
            }
        })?;
        self.check(&value).map(|()| value)
    }

    /// # Errors
    /// What is wrong with the value.
    pub(super) fn check(&self, value: &T) -> Result<(), String> {
        match self {
            Self::Between(range) if !range.contains(value) => Err(format!(
                "{} is out of range ({} to {})",
                value.to_toml(),
                range.start().to_toml(),
                range.end().to_toml()
            )),
            _ if value.has_nul() => Err("a text cannot have a NUL (\\u0000) in it".to_owned()),
            Self::Any | Self::Between(_) => Ok(()),
        }
    }
}

/// Declares a section: `name: type = default, range;` under its documentation.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $struct:ident [$section:literal] {
            $($(#[doc = $doc:literal])* $field:ident: $type:ty = $default:expr, $range:expr;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $struct {
            $($(#[doc = $doc])* pub $field: $type,)*
        }

        impl Default for $struct {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Section for $struct {
            const NAME: &'static str = $section;

            fn read(source: &mut impl Source) -> Self {
                Self { $($field: source.take(stringify!($field), $default, &$range),)* }
            }

            fn describe(all: &mut Vec<SettingInfo>) {
                let default = Self::default();
                $(all.push(SettingInfo {
                    section: $section,
                    name: stringify!($field),
                    default: Value::to_toml(&default.$field),
                    doc: vec![$($doc.trim()),*],
                });)*
            }

            fn values(&self, all: &mut Vec<String>) {
                $(all.push(Value::to_toml(&self.$field));)*
            }

            fn changed(&self) -> Vec<(&'static str, String)> {
                let default = Self::default();
                let mut changed = Vec::new();
                $(
                    if self.$field != default.$field {
                        changed.push((stringify!($field), Value::to_toml(&self.$field)));
                    }
                )*
                changed
            }

            fn set(&mut self, name: &str, text: &str) -> Option<Result<(), String>> {
                $(
                    if name == stringify!($field) {
                        let range: Range<$type> = $range;
                        return Some(range.parse(text).map(|value| self.$field = value));
                    }
                )*
                None
            }

            fn copy(&mut self, name: &str, from: &Self) -> bool {
                $(
                    if name == stringify!($field) {
                        self.$field.clone_from(&from.$field);
                        return true;
                    }
                )*
                false
            }

            fn check(&self, problems: &mut Vec<(String, String)>) {
                $(
                    let range: Range<$type> = $range;
                    if let Err(problem) = range.check(&self.$field) {
                        let path = concat!($section, ".", stringify!($field));
                        problems.push((path.to_owned(), problem));
                    }
                )*
            }
        }
    };
}

pub(super) use section;
