//! What a table of the console is made of, and how its rows travel.

use std::borrow::Cow;
use std::fmt::Display;

use pgherd_wire::backend::{self, ColumnDescription, Format};

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int4,
    Int8,
    Numeric,
}

impl Type {
    /// As PostgreSQL calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Numeric => "numeric",
        }
    }

    /// Its OID and size. Source: PostgreSQL, `pg_type.dat`.
    fn described(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
        }
    }
}

/// A column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) of: Type,
    /// What it tells, for the reference.
    pub(crate) about: &'static str,
}

pub(crate) const fn text(name: &'static str, about: &'static str) -> Column {
    Column { name, of: Type::Text, about }
}

pub(crate) const fn int4(name: &'static str, about: &'static str) -> Column {
    Column { name, of: Type::Int4, about }
}

pub(crate) const fn int8(name: &'static str, about: &'static str) -> Column {
    Column { name, of: Type::Int8, about }
}

pub(crate) const fn numeric(name: &'static str, about: &'static str) -> Column {
    Column { name, of: Type::Numeric, about }
}

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cell {
    Null,
    Text(Cow<'static, str>),
    Number(u64),
}

/// The values of a row, one for each column.
pub(crate) type Row = Vec<Cell>;

impl Cell {
    pub(crate) fn shown(value: impl Display) -> Self {
        Self::Text(value.to_string().into())
    }

    /// `yes` or `no`.
    pub(crate) fn yes_no(is_so: bool) -> Self {
        Self::Text(if is_so { "yes" } else { "no" }.into())
    }

    fn value(&self, of: Type, format: Format) -> Option<Cow<'_, [u8]>> {
        let number = match (self, of) {
            (Self::Null, _) => return None,
            (Self::Text(text), _) => return Some(text.as_bytes().into()),
            // More is said to be the most that there can be, in either format.
            (Self::Number(number), Type::Int4) => u64::from(i32::MAX.unsigned_abs()).min(*number),
            (Self::Number(number), Type::Int8) => i64::MAX.unsigned_abs().min(*number),
            (Self::Number(number), Type::Text | Type::Numeric) => *number,
        };
        let value = match (format, of) {
            (Format::Text, _) | (_, Type::Text) => number.to_string().into_bytes(),
            (Format::Binary, Type::Int4) => number.to_be_bytes()[4..].to_vec(),
            (Format::Binary, Type::Int8) => number.to_be_bytes().to_vec(),
            (Format::Binary, Type::Numeric) => binary_numeric(number),
        };
        Some(value.into())
    }
}

/// Text is one, and so is a number.
impl From<&'static str> for Cell {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::Number(number as u64)
    }
}

impl From<u32> for Cell {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

/// `None` is NULL.
impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A number as the type `numeric` travels in binary: in digits to the base of 10,000, the weight of
/// the first, and neither sign nor fraction.
///
/// Source: PostgreSQL, `numeric_send`.
fn binary_numeric(number: u64) -> Vec<u8> {
    let mut digits: Vec<u16> = Vec::new();
    let mut rest = number;
    while rest > 0 {
        digits.push(u16::try_from(rest % 10_000).expect("it is below 10,000"));
        rest /= 10_000;
    }
    let weight = digits.len().saturating_sub(1);
    // As the server writes it: zeros at the end are left out.
    let zeros = digits.iter().take_while(|digit| **digit == 0).count();
    let kept = &digits[zeros..];
    let short = |count: usize| u16::try_from(count).expect("20 digits fit into 5");
    let mut value = Vec::new();
    for field in [short(kept.len()), short(weight), 0, 0] {
        value.extend_from_slice(&field.to_be_bytes());
    }
    kept.iter().rev().for_each(|digit| value.extend_from_slice(&digit.to_be_bytes()));
    value
}

/// In what format each column was asked for: none is text, one is for all.
pub(crate) fn format_of(formats: &[Format], at: usize) -> Format {
    match formats {
        [all] => *all,
        formats => formats.get(at).copied().unwrap_or_default(),
    }
}

/// Appends the description of rows.
pub(crate) fn put_description(out: &mut Vec<u8>, columns: &[Column], formats: &[Format]) {
    let described = columns.iter().enumerate().map(|(at, column)| {
        let (type_oid, type_size) = column.of.described();
        let format = format_of(formats, at);
        ColumnDescription { name: column.name, type_oid, type_size, format }
    });
    backend::put_row_description(out, described);
}

/// Appends a row.
pub(crate) fn put_row(out: &mut Vec<u8>, columns: &[Column], formats: &[Format], row: &[Cell]) {
    debug_assert_eq!(columns.len(), row.len(), "{columns:?}: {row:?}");
    let values = row.iter().zip(columns).enumerate();
    let values = values.map(|(at, (cell, column))| cell.value(column.of, format_of(formats, at)));
    backend::put_data_row(out, values);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_in_binary_is_as_the_server_sends_it() {
        // As `select 12345678::numeric` and the others are sent by PostgreSQL 15.
        for (number, fields) in [
            (0, vec![0u16, 0, 0, 0]),
            (1, vec![1, 0, 0, 0, 1]),
            (10_000, vec![1, 1, 0, 0, 1]),
            (12_345_678, vec![2, 1, 0, 0, 1234, 5678]),
            (12_340_000, vec![1, 1, 0, 0, 1234]),
            (u64::MAX, vec![5, 4, 0, 0, 1844, 6744, 737, 955, 1615]),
        ] {
            let bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
            assert_eq!(binary_numeric(number), bytes, "{number}");
        }
    }

    #[test]
    fn what_is_too_big_for_its_column_is_the_biggest_in_both_formats() {
        let value = |of, format| Cell::Number(u64::MAX).value(of, format).unwrap().into_owned();
        assert_eq!(value(Type::Int4, Format::Text), b"2147483647");
        assert_eq!(value(Type::Int4, Format::Binary), i32::MAX.to_be_bytes());
        assert_eq!(value(Type::Int8, Format::Text), i64::MAX.to_string().as_bytes());
        assert_eq!(value(Type::Int8, Format::Binary), i64::MAX.to_be_bytes());
        assert_eq!(value(Type::Numeric, Format::Text), u64::MAX.to_string().as_bytes());
    }
}
