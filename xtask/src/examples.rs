//! Whether everything public of the library is documented with an example that compiles.
//!
//! In: the sources of `crates/pgherd` and `crates/core`. Out: what lacks an example.
//!
//! Public is what can be reached from `pgherd`'s `lib.rs` by `pub use` and `pub mod`, also where
//! that leads into `pgherd-core`. Each type, function and method of a type wants an example of its
//! own, or one on its type that calls it, or a word where to find one: "See [`...`]" or "Made by
//! [`...`]". Variants, fields, constants and what belongs to a trait share their type's. An example
//! that is ignored is none. What a macro makes is not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::{Attribute, Item, UseTree, Visibility};

use crate::command;

/// The sources of one crate, module by module; the names lead from the crate's root.
#[derive(Default)]
struct Sources {
    modules: BTreeMap<Vec<String>, Vec<Item>>,
}

impl Sources {
    fn read(folder: &Path) -> Self {
        let mut sources = Self::default();
        sources.module(&folder.join("lib.rs"), folder, Vec::new());
        sources
    }

    /// Reads a file and the modules that it declares, which lie in `folder`.
    fn module(&mut self, file: &Path, folder: &Path, path: Vec<String>) {
        let text = fs::read_to_string(file).expect("a declared module has a file");
        let items = syn::parse_file(&text).expect("what compiles can be parsed").items;
        for item in &items {
            let Item::Mod(module) = item else { continue };
            if module.content.is_some() || is_for_tests(&module.attrs) {
                continue;
            }
            let name = module.ident.to_string();
            let below = folder.join(&name);
            let file = [folder.join(format!("{name}.rs")), below.join("mod.rs")]
                .into_iter()
                .find(|file: &PathBuf| file.exists())
                .expect("a declared module has a file");
            self.module(&file, &below, [&path[..], &[name]].concat());
        }
        self.modules.insert(path, items);
    }

    /// Where the item is defined that a module knows by this name.
    fn resolve(&self, module: &[String], name: &str) -> Option<(Vec<String>, &Item)> {
        let items = self.modules.get(module)?;
        if let Some(item) = items.iter().find(|item| name_of(item).as_deref() == Some(name)) {
            return Some((module.to_vec(), item));
        }
        // What a module has for itself alone leads in circles.
        let is_passed_on = |visibility: &Visibility| !matches!(visibility, Visibility::Inherited);
        used(items, is_passed_on).into_iter().find_map(|used| {
            let (last, before) = used.path.split_last()?;
            // One word is a crate.
            let is_it = used.name == name && !before.is_empty();
            is_it.then(|| self.resolve(&self.absolute(module, before), last))?
        })
    }

    /// The module that a path in `use` leads to.
    fn absolute(&self, module: &[String], path: &[String]) -> Vec<String> {
        let mut absolute = module.to_vec();
        for part in path {
            match part.as_str() {
                "crate" => absolute.clear(),
                "self" => {}
                "super" => drop(absolute.pop()),
                name => absolute.push(name.to_owned()),
            }
        }
        absolute
    }
}

/// One name that a `use` brings in, and where from.
struct Used {
    name: String,
    path: Vec<String>,
}

fn used(items: &[Item], is_wanted: impl Fn(&Visibility) -> bool) -> Vec<Used> {
    let mut all = Vec::new();
    for item in items {
        if let Item::Use(item) = item
            && is_wanted(&item.vis)
        {
            leaves(&item.tree, &mut Vec::new(), &mut all);
        }
    }
    all
}

fn leaves(tree: &UseTree, path: &mut Vec<String>, all: &mut Vec<Used>) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            leaves(&part.tree, path, all);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, path, all)),
        UseTree::Name(leaf) => {
            let name = leaf.ident.to_string();
            all.push(Used { path: [&path[..], std::slice::from_ref(&name)].concat(), name });
        }
        UseTree::Rename(leaf) => {
            let path = [&path[..], &[leaf.ident.to_string()]].concat();
            all.push(Used { name: leaf.rename.to_string(), path });
        }
        UseTree::Glob(_) => panic!("what is public is re-exported by name"),
    }
}

fn name_of(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Struct(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Struct(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        _ => &[],
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && matches!(&attribute.meta, syn::Meta::List(list) if list.tokens.to_string() == "test")
    })
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn documentation(attributes: &[Attribute]) -> String {
    let mut text = String::new();
    for attribute in attributes {
        if let syn::Meta::NameValue(doc) = &attribute.meta
            && doc.path.is_ident("doc")
            && let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(line), .. }) = &doc.value
        {
            text.push_str(&line.value());
            text.push('\n');
        }
    }
    text
}

/// The code of all examples in a documentation that are compiled.
fn examples(attributes: &[Attribute]) -> String {
    let mut code = String::new();
    // The fence that was opened: whether what it holds is compiled.
    let mut fence: Option<bool> = None;
    for line in documentation(attributes).lines() {
        match (line.trim().strip_prefix("```"), fence) {
            (Some(words), None) => fence = Some(is_compiled(words)),
            (Some(_), Some(_)) => fence = None,
            (None, Some(true)) => {
                code.push_str(line);
                code.push('\n');
            }
            (None, _) => {}
        }
    }
    code
}

/// The items where a documentation says that more is to be found, as `Type` or `Type::method`.
fn elsewhere(attributes: &[Attribute], own_type: &str) -> Vec<String> {
    let text = documentation(attributes).replace('\n', " ");
    let text = text.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
    let words = ["See [`", "see [`", "Made by [`"];
    let links = words.iter().flat_map(|words| text.split(words).skip(1));
    links
        .filter_map(|rest| {
            let link = rest.split('`').next()?.trim_end_matches("()");
            let parts: Vec<&str> = link.split("::").filter(|part| *part != "crate").collect();
            let last = parts.get(parts.len().saturating_sub(2)..)?.join("::");
            Some(last.replace("Self", own_type))
        })
        .collect()
}

fn is_compiled(words: &str) -> bool {
    let rust = ["", "rust", "no_run", "should_panic", "compile_fail"];
    words.split(',').all(|word| rust.contains(&word.trim()))
}

/// Whether code calls a method or a function of this name.
fn calls(code: &str, name: &str) -> bool {
    let is_part_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    code.match_indices(name).any(|(at, _)| {
        let behind = &code[at + name.len()..];
        let is_called = behind.starts_with('(') || behind.starts_with("::<");
        is_called && !code[..at].ends_with(is_part_of_name)
    })
}

/// Something public, and where its example is.
struct Public {
    /// `Type` or `Type::method`.
    name: String,
    has_example: bool,
    elsewhere: Vec<String>,
}

/// What lacks an example, as `Type` or `Type::method`.
fn lacking(sources: &BTreeMap<&str, Sources>) -> BTreeSet<String> {
    let mut all = Vec::new();
    let root = &sources["pgherd"];
    let mut modules = vec![Vec::new()];
    while let Some(module) = modules.pop() {
        let items = &root.modules[&module];
        for item in items {
            if let Item::Mod(below) = item
                && is_public(&below.vis)
            {
                modules.push([&module[..], &[below.ident.to_string()]].concat());
            }
        }
        for used in used(items, is_public) {
            let (sources, path) = match sources.get(used.path[0].as_str()) {
                Some(other) => (other, used.path[1..].to_vec()),
                None => (root, root.absolute(&module, &used.path)),
            };
            let (name, path) = path.split_last().expect("an item is named");
            // Else it is of a crate that others document.
            if let Some((place, item)) = sources.resolve(path, name) {
                all.extend(public_of(sources, &place, item));
            }
        }
        let public = items.iter().filter(|item| matches!(item, Item::Fn(f) if is_public(&f.vis)));
        all.extend(public.flat_map(|item| public_of(root, &module, item)));
    }
    let has_example: BTreeSet<&str> =
        all.iter().filter(|one| one.has_example).map(|one| one.name.as_str()).collect();
    let lacks = |one: &&Public| {
        !one.has_example && !one.elsewhere.iter().any(|name| has_example.contains(name.as_str()))
    };
    all.iter().filter(lacks).map(|one| one.name.clone()).collect()
}

/// An item, and its methods.
fn public_of(sources: &Sources, place: &[String], item: &Item) -> Vec<Public> {
    let name = name_of(item).expect("only what has a name is resolved");
    let own = examples(attributes(item));
    let elsewhere_of = |attributes| elsewhere(attributes, &name);
    let mut all = vec![Public {
        name: name.clone(),
        has_example: !own.is_empty(),
        elsewhere: elsewhere_of(attributes(item)),
    }];
    for (module, items) in &sources.modules {
        let has_another = module != place
            && items.iter().any(|item| name_of(item).as_deref() == Some(name.as_str()));
        for item in items {
            let Item::Impl(block) = item else { continue };
            if block.trait_.is_some() || has_another || !is_named(&block.self_ty, &name) {
                continue;
            }
            for item in &block.items {
                let syn::ImplItem::Fn(method) = item else { continue };
                let called = method.sig.ident.to_string();
                if is_public(&method.vis) {
                    all.push(Public {
                        name: format!("{name}::{called}"),
                        has_example: !examples(&method.attrs).is_empty() || calls(&own, &called),
                        elsewhere: elsewhere_of(&method.attrs),
                    });
                }
            }
        }
    }
    all
}

fn is_named(ty: &syn::Type, name: &str) -> bool {
    matches!(ty, syn::Type::Path(ty)
        if ty.path.segments.last().is_some_and(|segment| segment.ident == name))
}

#[test]
fn everything_public_of_the_library_has_an_example_that_compiles() {
    let crates = command::workspace().join("crates");
    let read = |name: &str| Sources::read(&crates.join(name).join("src"));
    let sources = BTreeMap::from([("pgherd", read("pgherd")), ("pgherd_core", read("core"))]);
    let lacking: Vec<_> = lacking(&sources).into_iter().collect();
    assert!(lacking.is_empty(), "{} lack one:\n{}", lacking.len(), lacking.join("\n"));
}

#[test]
fn an_example_is_code_that_is_compiled() {
    let documented = |text: &str| {
        let item: syn::ItemStruct = syn::parse_str(&format!("{text}\nstruct S;")).unwrap();
        examples(&item.attrs)
    };
    assert_eq!(
        documented("/// Words.\n/// ```\n/// let a = 1;\n/// ```\n/// More."),
        " let a = 1;\n"
    );
    assert_eq!(documented("/// ```no_run\n/// b();\n/// ```"), " b();\n");
    for none in ["/// Words.", "/// ```text\n/// a\n/// ```", "/// ```ignore\n/// a();\n/// ```"] {
        assert_eq!(documented(none), "", "{none}");
    }
}

#[test]
fn a_documentation_may_say_where_the_example_is() {
    let item: syn::ItemStruct = syn::parse_str(
        "/// Rows. Made by\n/// [`Request::rows`](crate::Request::rows); see\n\
         /// [`Self::next`].\nstruct Rows;",
    )
    .unwrap();
    let found: BTreeSet<_> = elsewhere(&item.attrs, "Rows").into_iter().collect();
    assert_eq!(found, ["Request::rows", "Rows::next"].map(str::to_owned).into());
}

#[test]
fn a_call_is_the_whole_name() {
    assert!(calls("pool.add(1)", "add") && calls("Pool::add::<u8>(1)", "add"));
    assert!(!calls("pool.re_add(1)", "add") && !calls("pool.address()", "add"));
}
