//! PostgreSQL's own SQL parser: a text in, its parse tree out.
//!
//! In: a text of any number of statements. Out: a [`Tree`] of [`Node`]s, which are PostgreSQL's,
//! used where its parser has left them; nothing is copied.
//!
//! Deliberately absent: whatever changes or prints a tree, and whatever walks one recursively. A
//! tree may be as deep as its text is long; [`Node::children`] takes one step.
//!
//! The C half is compiled by `build.rs` and needs nothing but a C compiler: the Rust types are
//! written from PostgreSQL's headers by `cargo x bindings`, and are part of the repository. They
//! hold no sizes, so they are the same for each platform; a test compares them with what the C
//! compiler makes of the headers.

// The tree is C's memory. Copying it into Rust's would cost more than parsing does.
#![allow(unsafe_code)]

#[macro_use]
mod schema;

mod generated;
mod list;
mod node;

use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;

pub use generated::{Node, enums, nodes};
pub use list::NodeList;
pub use node::{NodeTag, Unwalkable};

/// Why a text has no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseError {
    /// PostgreSQL's parser refused it, in these words.
    #[error("{0}")]
    Refused(String),
    /// It holds a zero byte, at which PostgreSQL's parser would stop.
    #[error("a zero byte at {at}")]
    ZeroByte {
        /// Where, in bytes from the start.
        at: usize,
    },
}

/// The parse tree of a text. Lives on the thread that parsed it.
#[derive(Debug)]
pub struct Tree {
    memory: NonNull<c_void>,
    statements: *const NodeTag,
}

/// Parses a text as a server with default settings does.
///
/// ```
/// use pgherd_parser::{Node, parse};
///
/// let tree = parse("SELECT 1; SHOW timezone")?;
/// let statements: Vec<Node<'_>> = tree.statements().collect();
/// assert!(matches!(statements[..], [Node::SelectStmt(_), Node::VariableShowStmt(_)]));
///
/// let error = parse("SELEC 1").map(drop).unwrap_err();
/// assert_eq!(error.to_string(), "syntax error at or near \"SELEC\"");
/// # Ok::<(), pgherd_parser::ParseError>(())
/// ```
///
/// # Errors
/// [`ParseError`] with PostgreSQL's message.
pub fn parse(sql: &str) -> Result<Tree, ParseError> {
    let sql =
        CString::new(sql).map_err(|error| ParseError::ZeroByte { at: error.nul_position() })?;
    // SAFETY: a C string that outlives the call, which keeps nothing of it.
    let parsed = unsafe { pgherd_parser_parse(sql.as_ptr()) };
    match NonNull::new(parsed.memory) {
        Some(memory) => Ok(Tree { memory, statements: parsed.statements }),
        // SAFETY: without memory there is an error.
        None => Err(ParseError::Refused(unsafe { take_text(parsed.error) })),
    }
}

impl Tree {
    /// The statements of the text, in order.
    pub fn statements(&self) -> impl Iterator<Item = Node<'_>> {
        // SAFETY: the list lives as long as the tree's memory, which lives as long as self.
        let list = unsafe { NodeList::from_raw(self.statements) };
        list.iter().filter_map(|statement| match statement {
            Node::RawStmt(raw) => Some(raw.stmt()),
            _ => None,
        })
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        // SAFETY: it came from `pgherd_parser_parse` and no node outlives self.
        unsafe { pgherd_parser_free(self.memory.as_ptr()) }
    }
}

#[repr(C)]
struct Parsed {
    memory: *mut c_void,
    statements: *const NodeTag,
    error: *mut c_char,
}

unsafe extern "C" {
    fn pgherd_parser_parse(sql: *const c_char) -> Parsed;
    fn pgherd_parser_free(memory: *mut c_void);
    fn free(memory: *mut c_void);
}

/// Copies and frees a text.
///
/// # Safety
/// It is a C string that came from `malloc`.
unsafe fn take_text(text: *mut c_char) -> String {
    // SAFETY: as the caller promises.
    unsafe {
        let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
        free(text.cast());
        copy
    }
}

#[cfg(test)]
mod tests;
