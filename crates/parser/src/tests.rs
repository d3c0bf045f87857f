use std::collections::HashSet;
use std::ffi::{CStr, c_char};

use super::*;

/// A row of C's table in `c/layout.c`: an enum's value or a tag has its number as offset.
#[repr(C)]
struct Row {
    name: *const c_char,
    offset: i64,
    size: i64,
}

unsafe extern "C" {
    static pgherd_parser_layout: [Row; 0];
}

fn layout_in_c() -> Vec<(String, i64, i64)> {
    let mut rows = Vec::new();
    // SAFETY: the table ends with a row without a name.
    unsafe {
        let mut row = (&raw const pgherd_parser_layout).cast::<Row>();
        while !(*row).name.is_null() {
            let name = CStr::from_ptr((*row).name).to_string_lossy().into_owned();
            rows.push((name, (*row).offset, (*row).size));
            row = row.add(1);
        }
    }
    rows
}

#[test]
fn rust_and_the_c_compiler_agree_on_every_tag_type_field_and_enum_value() {
    use std::mem::offset_of;

    let number = |size: usize| i64::try_from(size).expect("sizes are small");
    let mut rows = vec![
        ("List", 0, size_of::<NodeList>()),
        ("List.length", offset_of!(NodeList, length), 4),
        ("List.max_length", offset_of!(NodeList, max_length), 4),
        ("List.elements", offset_of!(NodeList, elements), size_of::<usize>()),
    ]
    .into_iter()
    .map(|(name, offset, size)| (name.to_owned(), offset, size))
    .collect::<Vec<_>>();
    rows.extend(nodes::layout());
    let mut in_rust: Vec<(String, i64, i64)> =
        rows.into_iter().map(|(name, offset, size)| (name, number(offset), number(size))).collect();
    let tag = |(name, tag): &(&str, i64)| (format!("T_{name}"), *tag, 0);
    in_rust.extend(nodes::TAGS.iter().map(tag));
    in_rust.extend(enums::values().into_iter().map(|(name, value)| (name.to_owned(), value, 0)));

    let in_c = layout_in_c();
    for (rust, c) in in_rust.iter().zip(&in_c) {
        assert_eq!(rust, c, "Rust's is left, C's is right; `cargo x bindings` writes both anew");
    }
    assert_eq!(in_rust.len(), in_c.len());
}

fn one(tree: &Tree) -> Node<'_> {
    tree.statements().next().expect("there is a statement")
}

#[test]
fn a_tree_is_read_in_place() {
    let tree = parse("SELECT a, 'x', 1, true, NULL, 1.5 FROM s.t AS u").unwrap();
    let Node::SelectStmt(select) = one(&tree) else { panic!("{:?}", one(&tree)) };
    let Some(Node::RangeVar(table)) = select.from_clause().get(0) else { panic!("no table") };
    assert_eq!((table.schemaname(), table.relname()), (Some("s"), Some("t")));
    assert_eq!(table.alias().and_then(nodes::Alias::aliasname), Some("u"));
    assert_eq!(table.relpersistence, b'p');
    let values: Vec<String> = select
        .target_list()
        .iter()
        .map(|target| match target {
            Node::ResTarget(target) => match target.val() {
                Node::A_Const(constant) => match constant.val() {
                    Some(Node::Integer(number)) => number.ival.to_string(),
                    Some(Node::Float(number)) => number.fval().unwrap().to_owned(),
                    Some(Node::Boolean(value)) => value.boolval.to_string(),
                    Some(text) => text.as_str().unwrap().to_owned(),
                    None => "null".to_owned(),
                },
                other => other.kind().to_owned(),
            },
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, ["ColumnRef", "x", "1", "true", "null", "1.5"]);
    assert!(select.sort_clause().is_empty() && matches!(select.where_clause(), Node::None));
}

#[test]
fn what_is_refused_is_refused_in_postgresqls_words_again_and_again() {
    for _ in 0..1000 {
        let error = parse("SELECT 'open").unwrap_err();
        assert_eq!(
            error,
            ParseError::Refused("unterminated quoted string at or near \"'open\"".to_owned())
        );
    }
    assert_eq!(parse("SELECT 1\0").unwrap_err(), ParseError::ZeroByte { at: 8 });
    assert_eq!(parse(" -- nothing\n;").unwrap().statements().count(), 0);
}

#[test]
fn a_kind_that_postgresql_cannot_walk_is_an_error_and_no_crash() {
    let tree = parse("CREATE TABLE t ()").unwrap();
    let mut children = Vec::new();
    let error = one(&tree).children(&mut children).unwrap_err();
    assert_eq!(error.to_string(), "PostgreSQL cannot walk a CreateStmt");
    assert!(parse("SELECT 1").is_ok());
}

#[test]
fn a_tree_of_any_depth_is_walked_with_a_stack_of_ones_own() {
    let sql = format!("SELECT {}1", "1+".repeat(50_000));
    let tree = parse(&sql).unwrap();
    let (mut stack, mut constants) = (vec![one(&tree)], 0);
    while let Some(node) = stack.pop() {
        constants += usize::from(matches!(node, Node::A_Const(_)));
        node.children(&mut stack).unwrap();
    }
    assert_eq!(constants, 50_001);
}

#[test]
fn more_threads_than_a_process_has_keys_may_parse() {
    for _ in 0..1100 {
        let parsed = std::thread::spawn(|| parse("SELECT 1").is_ok() && parse("SELEC").is_err());
        assert!(parsed.join().unwrap());
    }
}

/// What `nm` says of the C half: the names it defines, and those it needs.
fn symbols() -> (HashSet<String>, HashSet<String>) {
    let archive = concat!(env!("OUT_DIR"), "/libpgherd_parser.a");
    let nm = std::process::Command::new("nm").args(["-g", archive]).output();
    let nm = nm.expect("nm comes with the C compiler");
    let (mut defined, mut needed) = (HashSet::new(), HashSet::new());
    for line in String::from_utf8_lossy(&nm.stdout).lines() {
        let names = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["U", name] => Some((&mut needed, name)),
            [_, _, name] => Some((&mut defined, name)),
            _ => None,
        };
        if let Some((names, name)) = names {
            names.insert(name.trim_start_matches('_').to_owned());
        }
    }
    assert!(defined.len() > 200, "nm printed {defined:?}");
    (defined, needed)
}

#[test]
fn each_symbol_has_the_prefix_that_keeps_it_apart_from_another_copy_of_postgresql() {
    let (defined, _) = symbols();
    let without: Vec<&String> =
        defined.iter().filter(|name| !name.starts_with("pgherd_parser_")).collect();
    assert!(without.is_empty(), "to be added to c/prefix.h: {without:?}");
}

#[test]
fn whatever_the_c_half_needs_of_postgresql_is_there_also_where_a_linker_would_not_miss_it() {
    let (defined, needed) = symbols();
    let missing: Vec<&String> = needed
        .iter()
        .filter(|name| name.starts_with("pgherd_parser_") && !defined.contains(*name))
        .collect();
    assert!(missing.is_empty(), "in no file of c/postgres: {missing:?}");
}
