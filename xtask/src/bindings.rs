//! Writes the Rust types of PostgreSQL's parse nodes from its headers.
//!
//! In: the headers in `crates/parser/c/postgres/include`. Out: `crates/parser/src/generated.rs`,
//! and `crates/parser/c/layout.c`, by which a test asks the C compiler whether the former is
//! right. Both are part of the repository, so a build needs neither this nor libclang.
//!
//! The headers are read line by line, as PostgreSQL's own `gen_node_support.pl` does: they are
//! kept simple for it. What is not understood is an error, not a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// Where the nodes of raw parse trees are.
const NODE_HEADERS: [&str; 3] = ["nodes/primnodes.h", "nodes/parsenodes.h", "nodes/value.h"];

/// Where enums in their fields are, besides.
const ENUM_HEADERS: [&str; 3] = ["nodes/nodes.h", "nodes/lockoptions.h", "access/cmptype.h"];

/// C's numbers, as Rust's.
const NUMBERS: [(&str, &str); 20] = [
    ("AclMode", "u64"),
    ("AttrNumber", "i16"),
    ("Cardinality", "f64"),
    ("Cost", "f64"),
    ("Datum", "usize"),
    ("Index", "u32"),
    ("Oid", "u32"),
    ("ParseLoc", "i32"),
    ("RelFileNumber", "u32"),
    ("SubTransactionId", "u32"),
    ("bits32", "u32"),
    ("bool", "bool"),
    // Signed here and unsigned there, in C; only ever a letter.
    ("char", "u8"),
    ("int", "i32"),
    ("int16", "i16"),
    ("int32", "i32"),
    ("int64", "i64"),
    ("long", "std::ffi::c_long"),
    ("uint32", "u32"),
    ("uint64", "u64"),
];

/// Words that Rust keeps for itself.
const RESERVED: [&str; 8] = ["as", "final", "in", "match", "override", "ref", "type", "where"];

struct Struct {
    name: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    c_type: String,
}

struct Enum {
    name: String,
    values: Vec<(String, i64)>,
}

/// Writes the files anew, or says which of them are out of date.
pub(crate) fn run(check_only: bool) -> Result<()> {
    for (path, wanted) in generate()? {
        let is = std::fs::read_to_string(&path).unwrap_or_default();
        if is == wanted {
            continue;
        }
        if check_only {
            bail!("{} is not what the headers say: run `cargo x bindings`", path.display());
        }
        std::fs::write(&path, wanted)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

fn generate() -> Result<[(PathBuf, String); 2]> {
    let parser = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/parser");
    let include = parser.join("c/postgres/include");
    let read = |header: &&str| {
        let text = std::fs::read_to_string(include.join(header));
        text.with_context(|| format!("cannot read {header}")).map(|text| without_comments(&text))
    };
    let tags = tags(&read(&"nodes/nodetags.h")?)?;
    let texts = NODE_HEADERS.iter().map(read).collect::<Result<Vec<_>>>()?;
    let mut nodes = Vec::new();
    for text in &texts {
        for node in structs(text)? {
            if tags.contains_key(&node.name) {
                nodes.push(node);
            }
        }
    }
    let mut enums = BTreeMap::new();
    for text in ENUM_HEADERS.iter().map(read).collect::<Result<Vec<_>>>()?.iter().chain(&texts) {
        enums.extend(blocks(text, "enum").into_iter().map(|(name, body)| (name, body.to_owned())));
    }
    let used: BTreeSet<&str> = nodes
        .iter()
        .flat_map(|node| &node.fields)
        .map(|field| field.c_type.as_str())
        .filter(|c_type| enums.contains_key(*c_type))
        .collect();
    let used =
        used.into_iter().map(|name| values(name, &enums[name])).collect::<Result<Vec<_>>>()?;
    Ok([
        (parser.join("src/generated.rs"), rust(&tags, &nodes, &used)?),
        (parser.join("c/layout.c"), c(&nodes, &used)),
    ])
}

/// The text without comments and without PostgreSQL's notes to its own generator.
fn without_comments(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("/*") {
        out.push_str(&rest[..start]);
        out.push(' ');
        rest = rest[start..].split_once("*/").map_or("", |(_, rest)| rest);
    }
    out.push_str(rest);
    while let Some(start) = out.find("pg_node_attr(") {
        let mut depth = 0;
        let end = out[start..].find(|letter| {
            depth += i32::from(letter == '(') - i32::from(letter == ')');
            letter == ')' && depth == 0
        });
        out.replace_range(start..end.map_or(out.len(), |end| start + end + 1), "");
    }
    out
}

fn tags(text: &str) -> Result<BTreeMap<String, u32>> {
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("T_"));
    lines
        .map(|line| {
            let (name, tag) = line.split_once(" = ").context("a tag without a number")?;
            Ok((name.to_owned(), tag.trim_end_matches(',').parse()?))
        })
        .collect()
}

/// Name and body of each `typedef struct` or `typedef enum`.
fn blocks<'t>(text: &'t str, kind: &str) -> Vec<(String, &'t str)> {
    let start = format!("typedef {kind} ");
    text.split(start.as_str())
        .skip(1)
        .filter_map(|rest| {
            let (name, rest) = rest.split_once('{')?;
            let (body, _) = rest.split_once("\n}")?;
            // Else it was a declaration ahead, and the body is another's.
            (!name.contains(';')).then(|| (name.trim().to_owned(), body))
        })
        .collect()
}

/// The structs that begin with a tag.
fn structs(text: &str) -> Result<Vec<Struct>> {
    let mut structs = Vec::new();
    for (name, body) in blocks(text, "struct") {
        let declarations = body.split(';').map(str::trim).filter(|text| !text.is_empty());
        let mut fields =
            declarations.map(field).collect::<Result<Vec<_>>>().with_context(|| name.clone())?;
        let begins_with_tag =
            fields.first().is_some_and(|first| ["NodeTag", "Expr"].contains(&&*first.c_type));
        if begins_with_tag {
            fields.remove(0);
            structs.push(Struct { name, fields });
        }
    }
    Ok(structs)
}

/// `List *names` and the like.
fn field(declaration: &str) -> Result<Field> {
    let words = declaration.replace('*', " * ");
    let mut words: Vec<&str> =
        words.split_whitespace().filter(|word| !["struct", "const"].contains(word)).collect();
    match (words.pop(), words.as_slice()) {
        (Some(name), [_] | [_, "*"] | ["union", _]) if !name.contains('[') => {
            Ok(Field { name: name.to_owned(), c_type: words.join(" ") })
        }
        _ => bail!("cannot read the field `{declaration}`"),
    }
}

fn values(name: &str, body: &str) -> Result<Enum> {
    let mut values = Vec::<(String, i64)>::new();
    for item in body.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (value, number) = match item.split_once('=') {
            None => (item, values.last().map_or(0, |(_, last)| last + 1)),
            Some((value, number)) => {
                let number = number.trim();
                let number =
                    evaluate(number).with_context(|| format!("cannot read {name}'s `{item}`"))?;
                (value.trim(), number)
            }
        };
        values.push((value.to_owned(), number));
    }
    Ok(Enum { name: name.to_owned(), values })
}

fn evaluate(number: &str) -> Option<i64> {
    // `Agg` nodes of a plan are put together of these.
    const AGGREGATE: [(&str, i64); 4] = [
        ("AGGSPLITOP_COMBINE", 1),
        ("AGGSPLITOP_SKIPFINAL", 2),
        ("AGGSPLITOP_SERIALIZE", 4),
        ("AGGSPLITOP_DESERIALIZE", 8),
    ];
    if let Some((left, right)) = number.split_once('|') {
        return Some(evaluate(left.trim())? | evaluate(right.trim())?);
    }
    if let Some((one, shift)) = number.split_once("<<") {
        return Some(evaluate(one.trim())? << evaluate(shift.trim())?);
    }
    if let Some(letter) = number.strip_prefix('\'') {
        return letter.bytes().next().map(i64::from);
    }
    if number == "PG_INT32_MAX" {
        return Some(i32::MAX.into());
    }
    let named = AGGREGATE.iter().find(|(name, _)| *name == number);
    named.map(|(_, value)| *value).or_else(|| number.parse().ok())
}

fn rust(tags: &BTreeMap<String, u32>, nodes: &[Struct], enums: &[Enum]) -> Result<String> {
    let names: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let list = tags.get("List").context("there is no T_List")?;
    let mut out = String::from(
        "//! Written by `cargo x bindings` from PostgreSQL's headers. Read `schema.rs` first.\n\n\
         nodes! {\n",
    );
    writeln!(out, "    List = {list};")?;
    for Struct { name, fields } in nodes {
        writeln!(out, "\n    {name} = {} {{", tags[name])?;
        for Field { name: field, c_type } in fields {
            let kind = kind(c_type, &names, enums)
                .with_context(|| format!("what is the type of {name}.{field}, `{c_type}`?"))?;
            let vis = match kind.as_str() {
                "value" => "pub(crate) ",
                kind if kind.starts_with("plain") => "pub ",
                _ => "",
            };
            writeln!(out, "        {vis}{}: {kind},", snake_case(field))?;
        }
        writeln!(out, "    }}")?;
    }
    writeln!(out, "}}\n\nenums! {{")?;
    for (index, Enum { name, values }) in enums.iter().enumerate() {
        let blank = if index == 0 { "" } else { "\n" };
        let number = if values.iter().any(|(_, value)| *value < 0) { "i32" } else { "u32" };
        writeln!(out, "{blank}    {name}: {number} {{")?;
        for (value, number) in values {
            writeln!(out, "        {value} = {number},")?;
        }
        writeln!(out, "    }}")?;
    }
    writeln!(out, "}}")?;
    Ok(out)
}

/// The kind of a field, as `schema.rs` defines it.
fn kind(c_type: &str, nodes: &BTreeSet<&str>, enums: &[Enum]) -> Option<String> {
    if let Some(target) = c_type.strip_suffix(" *") {
        return Some(match target {
            "Node" | "Expr" => "any".to_owned(),
            "List" => "list".to_owned(),
            "char" => "text".to_owned(),
            // Names of structs that no raw parse tree has are not looked into.
            _ if nodes.contains(target) => format!("node({target})"),
            _ => "opaque".to_owned(),
        });
    }
    if c_type == "union ValUnion" {
        return Some("value".to_owned());
    }
    if enums.iter().any(|known| known.name == c_type) {
        return Some(format!("plain({c_type}::Type)"));
    }
    let number = NUMBERS.iter().find(|(name, _)| *name == c_type)?;
    Some(format!("plain({})", number.1))
}

fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| letters[before]);
        let ends_a_word = before.is_some_and(|before| before.is_lowercase() || before.is_numeric());
        let starts_one = before.is_some_and(char::is_uppercase)
            && letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (ends_a_word || starts_one) {
            out.push('_');
        }
        out.extend(letter.to_lowercase());
    }
    if RESERVED.contains(&out.as_str()) {
        out.push('_');
    }
    out
}

fn c(nodes: &[Struct], enums: &[Enum]) -> String {
    let mut out = String::from(
        "/*\n * Written by `cargo x bindings`. What the C compiler makes of the headers, for a test \
         of the\n * Rust types. No program refers to it, so none contains it.\n */\n\
         #include \"parser.h\"\n\n#include <stddef.h>\n\n#include \"nodes/parsenodes.h\"\n\n\
         #define TYPE(type) {#type, 0, sizeof(type)},\n\
         #define FIELD(type, field, rust) \\\n\t\
         {#type \".\" #rust, offsetof(type, field), sizeof(((type *) 0)->field)},\n\
         #define VALUE(value) {#value, value, 0},\n\n\
         typedef struct\n{\n\tconst char *name;\n\tint64\t\toffset;\n\tint64\t\tsize;\n}\
         \t\t\tRow;\n\nconst Row pgherd_parser_layout[] = {\n\
         \tTYPE(List)\n\tFIELD(List, length, length)\n\tFIELD(List, max_length, max_length)\n\
         \tFIELD(List, elements, elements)\n",
    );
    for Struct { name, fields } in nodes {
        out += &format!("\tTYPE({name})\n");
        for Field { name: field, .. } in fields {
            out += &format!("\tFIELD({name}, {field}, {})\n", snake_case(field));
        }
    }
    out += "\tVALUE(T_List)\n";
    for Struct { name, .. } in nodes {
        out += &format!("\tVALUE(T_{name})\n");
    }
    for (value, _) in enums.iter().flat_map(|known| &known.values) {
        out += &format!("\tVALUE({value})\n");
    }
    out + "\t{NULL, 0, 0}\n};\n"
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_bindings_are_what_the_headers_say() {
        super::run(true).expect("`cargo x bindings` writes them anew");
    }
}
