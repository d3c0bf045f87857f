//! How a line of `generated.rs` becomes Rust: see [`nodes!`].

/// The Rust type of a field.
macro_rules! field_type {
    (plain($($type:tt)+)) => { $($type)+ };
    (text) => { *const std::ffi::c_char };
    (opaque) => { *const std::ffi::c_void };
    (value) => { $crate::node::InlineValue };
    // any, list, node(..)
    ($($pointer:tt)+) => { *const $crate::NodeTag };
}

/// How a field is read, where it is not public.
macro_rules! field_reader {
    ($field:ident text) => {
        pub fn $field(&self) -> Option<&str> {
            // SAFETY: PostgreSQL has null or a C string there, as long-lived as the node.
            unsafe { $crate::node::text(self.$field) }
        }
    };
    ($field:ident any) => {
        pub fn $field(&self) -> $crate::Node<'_> {
            // SAFETY: PostgreSQL has null or a node there, as long-lived as this one.
            unsafe { $crate::Node::from_raw(self.$field) }
        }
    };
    ($field:ident list) => {
        pub fn $field(&self) -> &$crate::NodeList {
            // SAFETY: PostgreSQL has null or a node there, as long-lived as this one.
            unsafe { $crate::NodeList::from_raw(self.$field) }
        }
    };
    ($field:ident node($type:ident)) => {
        pub fn $field(&self) -> Option<&$type> {
            // SAFETY: PostgreSQL has null or a node there, as long-lived as this one.
            match unsafe { $crate::Node::from_raw(self.$field) } {
                $crate::Node::None => None,
                $crate::Node::$type(node) => Some(node),
                other => panic!("a {} was expected, found {other:?}", stringify!($type)),
            }
        }
    };
    // plain(..) is public, value is read by hand, opaque not at all.
    ($field:ident $($other:tt)+) => {};
}

/// Declares the node types and the enum [`Node`](crate::Node) over them.
///
/// `Name = tag { field: kind, ... }`, fields in C's order, where a kind is
///
/// - `plain(type)`: the value itself, a public field
/// - `text`: a C string or null; read as `Option<&str>`
/// - `any`: a node of any kind; read as `Node`, null as `Node::None`
/// - `node(Type)`: a node of that kind or null; read as `Option<&Type>`
/// - `list`: a list of nodes; read as `&NodeList`, null as an empty one
/// - `value`: a value node in place; `opaque`: a pointer that is not followed
macro_rules! nodes {
    (List = $list:literal; $($name:ident = $tag:literal {
        $($vis:vis $field:ident: $kind:ident $(($($type:tt)+))?,)*
    })*) => {
        /// One type for each kind of node, with the fields of PostgreSQL's `parsenodes.h`,
        /// `primnodes.h` and `value.h`, which document them.
        #[allow(non_camel_case_types, missing_docs, dead_code)]
        pub mod nodes {
            use super::enums::*;

            $(
                #[repr(C)]
                pub struct $name {
                    pub(crate) tag: $crate::NodeTag,
                    $($vis $field: field_type!($kind $(($($type)+))?),)*
                }

                impl $name {
                    $(field_reader!($field $kind $(($($type)+))?);)*
                }
            )*

            /// Offset and size of each type (at offset 0) and each field.
            #[cfg(test)]
            pub(crate) fn layout() -> Vec<(std::string::String, usize, usize)> {
                let mut layout = Vec::new();
                $(
                    layout.push((stringify!($name).to_owned(), 0, size_of::<$name>()));
                    $(layout.push((
                        concat!(stringify!($name), ".", stringify!($field)).to_owned(),
                        std::mem::offset_of!($name, $field),
                        size_of::<field_type!($kind $(($($type)+))?)>(),
                    ));)*
                )*
                layout
            }

            /// The tag of each type.
            #[cfg(test)]
            pub(crate) const TAGS: &[(&str, i64)] =
                &[("List", $list), $((stringify!($name), $tag),)*];
        }

        /// A node of a parse tree, by its kind.
        #[allow(non_camel_case_types, missing_docs)]
        #[derive(Clone, Copy)]
        pub enum Node<'t> {
            /// A null pointer: nothing there, or an empty list.
            None,
            /// A list of nodes, with at least one.
            List(&'t $crate::NodeList),
            $($name(&'t nodes::$name),)*
            /// A kind that the parser does not make, or one without fields of its own.
            Other(&'t $crate::NodeTag),
        }

        impl<'t> Node<'t> {
            /// # Safety
            /// `node` is null or a node of PostgreSQL's that lives, unchanged, for `'t`.
            pub(crate) unsafe fn from_raw(node: *const $crate::NodeTag) -> Self {
                if node.is_null() {
                    return Self::None;
                }
                // SAFETY: each node begins with its tag, which tells its type.
                unsafe {
                    match *node {
                        $list => Self::List(&*node.cast()),
                        $($tag => Self::$name(&*node.cast()),)*
                        _ => Self::Other(&*node),
                    }
                }
            }

            pub(crate) fn as_raw(self) -> Option<*const $crate::NodeTag> {
                match self {
                    Self::None => None,
                    Self::List(list) => Some(std::ptr::from_ref(list).cast()),
                    $(Self::$name(node) => Some(std::ptr::from_ref(node).cast()),)*
                    Self::Other(tag) => Some(tag),
                }
            }

            /// The name of its kind.
            pub fn kind(self) -> &'static str {
                match self {
                    Self::None => "None",
                    Self::List(_) => "List",
                    $(Self::$name(_) => stringify!($name),)*
                    Self::Other(_) => "Other",
                }
            }
        }

        pub(crate) const LIST_TAG: $crate::NodeTag = $list;
    };
}

/// Declares PostgreSQL's enums, `Name: type { VALUE = number, ... }`. A module for each, because
/// an enum of Rust's may not hold a number that it does not name.
macro_rules! enums {
    ($($name:ident: $type:ty { $($value:ident = $number:literal,)* })*) => {
        /// PostgreSQL's enums: a module with a type and its values for each.
        #[allow(non_snake_case, non_upper_case_globals, missing_docs)]
        pub mod enums {
            $(
                pub mod $name {
                    pub type Type = $type;
                    $(pub const $value: Type = $number;)*
                }
            )*

            /// The number of each value.
            #[cfg(test)]
            pub(crate) fn values() -> Vec<(&'static str, i64)> {
                vec![$($((stringify!($value), i64::from($name::$value)),)*)*]
            }
        }
    };
}
