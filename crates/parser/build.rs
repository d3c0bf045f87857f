//! Compiles the C half: PostgreSQL's parser as libpg_query cut it out, and `parser.c` before it.

use std::path::{Path, PathBuf};

fn main() {
    let c = Path::new("c");
    println!("cargo:rerun-if-changed={}", c.display());
    cc::Build::new()
        .files(sources(c))
        .files(sources(&c.join("postgres")))
        .include(c)
        .include(c.join("postgres/include"))
        // As PostgreSQL itself is compiled: it breaks C's rules on aliasing and overflow.
        .flag("-fno-strict-aliasing")
        .flag("-fwrapv")
        // Every global symbol gets a prefix: a program may hold another copy of PostgreSQL's
        // code, of another version.
        .flag("-include")
        .flag("prefix.h")
        .warnings(false)
        .compile("pgherd_parser");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the sources are part of the package");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the folder can be read").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "c"))
        .collect();
    // The order of a folder is its file system's own: builds should not differ by it.
    files.sort();
    files
}
