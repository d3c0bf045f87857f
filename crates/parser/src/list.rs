//! PostgreSQL's lists of nodes.

use std::ffi::c_int;
use std::{ptr, slice};

use crate::generated::LIST_TAG;
use crate::{Node, NodeTag};

/// A list of nodes, PostgreSQL's `List`. An empty one is a null pointer there.
#[repr(C)]
pub struct NodeList {
    pub(crate) tag: NodeTag,
    pub(crate) length: c_int,
    pub(crate) max_length: c_int,
    pub(crate) elements: *const *const NodeTag,
}

/// An empty list, as something to point to. Never changed, so sharing its pointer is harmless.
struct Empty(NodeList);

// SAFETY: its pointer is null and never followed, because the length is zero.
unsafe impl Sync for Empty {}

static EMPTY: Empty =
    Empty(NodeList { tag: LIST_TAG, length: 0, max_length: 0, elements: ptr::null() });

impl NodeList {
    /// # Panics
    /// If it is a node of another kind.
    ///
    /// # Safety
    /// `list` is null or a node of PostgreSQL's that lives for `'t`.
    pub(crate) unsafe fn from_raw<'t>(list: *const NodeTag) -> &'t Self {
        // SAFETY: as the caller promises.
        match unsafe { Node::from_raw(list) } {
            Node::None => &EMPTY.0,
            Node::List(list) => list,
            other => panic!("a list was expected, found {other:?}"),
        }
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        usize::try_from(self.length).unwrap_or_default()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The node at `index`, from 0.
    pub fn get(&self, index: usize) -> Option<Node<'_>> {
        // SAFETY: elements are null or nodes, and live as long as the list.
        self.elements().get(index).map(|element| unsafe { Node::from_raw(*element) })
    }

    /// The nodes in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Node<'_>> + ExactSizeIterator {
        // SAFETY: as in `get`.
        self.elements().iter().map(|element| unsafe { Node::from_raw(*element) })
    }

    fn elements(&self) -> &[*const NodeTag] {
        if self.is_empty() {
            return &[];
        }
        // SAFETY: PostgreSQL keeps `length` elements there, and no list that we see is changed.
        unsafe { slice::from_raw_parts(self.elements, self.len()) }
    }
}
