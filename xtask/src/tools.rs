//! What is on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// Whether a program is on the PATH.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A folder with a whole PostgreSQL: server, initdb, pg_basebackup, psql and pgbench.
pub(crate) fn is_postgresql(folder: &Path) -> bool {
    ["postgres", "initdb", "pg_basebackup", "psql", "pgbench"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

/// Debian's PostgreSQL, the newest version.
pub(crate) fn debian_postgresql() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| is_postgresql(folder))
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}

/// Whether libclang is where bindgen looks for it. `libclang-cpp`, which Debian installs for
/// LLVM's sake, is another library.
pub(crate) fn has_libclang() -> bool {
    if std::env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let mut folders = vec![PathBuf::from("/usr/lib"), PathBuf::from("/usr/lib64")];
    folders.extend(children("/usr/lib").filter(|folder| is_multiarch(folder)));
    folders.extend(children("/usr/lib").map(|folder| folder.join("lib")));
    folders.iter().any(|folder| {
        children(folder).any(|file| {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| {
                name.starts_with("libclang.so")
                    || name.starts_with("libclang-")
                        && !name.starts_with("libclang-cpp")
                        && name.contains(".so")
            })
        })
    })
}

/// The compiler's own header files, which libclang from a wheel does not bring.
pub(crate) fn compiler_headers() -> Option<String> {
    command::output(Command::new("cc").arg("-print-file-name=include"))
}

fn is_multiarch(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-gnu"))
}

fn children(folder: impl AsRef<Path>) -> impl Iterator<Item = PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}
