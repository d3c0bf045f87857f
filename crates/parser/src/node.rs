//! What can be done with any node.

use std::ffi::{CStr, c_char, c_void};
use std::fmt;

use crate::{Node, nodes};

/// The kind of a node, PostgreSQL's `NodeTag`; each node begins with it.
pub type NodeTag = u32;

/// PostgreSQL does not know what is below this kind of node. It knows it for whatever can stand
/// in SELECT, INSERT, UPDATE, DELETE and MERGE.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PostgreSQL cannot walk a {kind}")]
pub struct Unwalkable {
    /// The kind.
    pub kind: &'static str,
}

impl<'t> Node<'t> {
    /// Appends the nodes directly below this one.
    ///
    /// Names are not among them: column names of an alias, the name of an operator or function.
    ///
    /// ```
    /// # use pgherd_parser::{Node, parse};
    /// let tree = parse("SELECT f(1) FROM t WHERE g(2) > 3")?;
    /// let (mut calls, mut stack) = (0, tree.statements().collect::<Vec<_>>());
    /// while let Some(node) = stack.pop() {
    ///     calls += usize::from(matches!(node, Node::FuncCall(_)));
    ///     node.children(&mut stack).expect("a SELECT can be walked");
    /// }
    /// assert_eq!(calls, 2);
    /// # Ok::<(), pgherd_parser::ParseError>(())
    /// ```
    ///
    /// # Errors
    /// [`Unwalkable`]; what was appended before is to be ignored.
    pub fn children(self, into: &mut Vec<Self>) -> Result<(), Unwalkable> {
        let Some(node) = self.as_raw() else { return Ok(()) };
        // SAFETY: a live node; `push` is handed `into` as it expects.
        let walked = unsafe {
            pgherd_parser_children(node, push, std::ptr::from_mut::<Vec<Self>>(into).cast())
        };
        if walked { Ok(()) } else { Err(Unwalkable { kind: self.kind() }) }
    }

    /// The text, if it is a [`nodes::String`]: part of a name, mostly.
    pub fn as_str(self) -> Option<&'t str> {
        match self {
            Self::String(text) => text.sval(),
            _ => None,
        }
    }
}

/// Its kind alone: a tree may be too deep to print it whole.
impl fmt::Debug for Node<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.kind())
    }
}

/// Called from C: must not unwind. Pushing does not, short of running out of memory, which ends
/// the process anyway.
extern "C" fn push(node: *const NodeTag, into: *mut c_void) -> bool {
    if !node.is_null() {
        // SAFETY: `children` passes its vector, and nodes of the tree it belongs to.
        unsafe { (*into.cast::<Vec<Node<'_>>>()).push(Node::from_raw(node)) };
    }
    false
}

unsafe extern "C" {
    fn pgherd_parser_children(
        node: *const NodeTag,
        visit: extern "C" fn(*const NodeTag, *mut c_void) -> bool,
        context: *mut c_void,
    ) -> bool;
}

/// PostgreSQL's `ValUnion`: a value node in the place of a pointer to one. As large as the
/// largest of them, which have a text.
#[repr(C)]
pub(crate) struct InlineValue {
    tag: NodeTag,
    text: *const c_char,
}

impl nodes::A_Const {
    /// The value: `Integer`, `Float`, `Boolean`, `String` or `BitString`. `None` is NULL.
    pub fn val(&self) -> Option<Node<'_>> {
        let value = std::ptr::from_ref(&self.val).cast();
        // SAFETY: an inline value may be treated as a node, the header says.
        (!self.isnull).then(|| unsafe { Node::from_raw(value) })
    }
}

/// # Panics
/// If it is not UTF-8, which an escape in the text of a statement may bring about.
///
/// # Safety
/// `text` is null or a C string that lives for `'t`.
pub(crate) unsafe fn text<'t>(text: *const c_char) -> Option<&'t str> {
    // SAFETY: as the caller promises.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })?;
    Some(text.to_str().expect("PostgreSQL's parser was given UTF-8"))
}
