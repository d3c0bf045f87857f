//! docs/settings.md says what the code says. `cargo x reference` writes it anew.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use pgherd_core::settings::{SettingInfo, reference};

const HEAD: &str = "<!-- Generated from crates/core/src/settings by `cargo x reference`. -->\n\
# Settings\n\
\n\
`pgherd.toml` has the sections below; `[[node]]` and `[[user]]` stand once for each server and\n\
each login. Every setting has a default but `[[node]]` and `[[user]]`. A value that is unknown,\n\
of the wrong type or out of range is refused, with its line, and every problem is reported in\n\
one run.\n\
\n\
Durations are written `\"250ms\"`, `\"5s\"`, `\"10m\"`, `\"1h\"`, `\"7d\"`; sizes `\"64KiB\"`, `\"8MiB\"`. The\n\
reload class says what a change will need once settings can be reloaded; today every change\n\
needs a restart.\n\
\n\
Each setting is also an environment variable: `PGHERD_<SECTION>_<NAME>`, such as\n\
`PGHERD_POOL_SIZE`. The variables for nodes and logins are in the table at the end.\n\
\n\
```toml\n\
[cluster]\n\
database = \"app\"\n\
\n\
[[node]]\n\
host = \"db-primary.example.com\"\n\
role = \"coordinator\"          # one; the others are \"worker\" and \"replica\"\n\
\n\
[[node]]\n\
host = \"replica-1.example.com\"\n\
role = \"replica\"              # with `shard = 0`: a replica of that shard\n\
weight = 2                    # its part of the reads, where `balance` goes by weight\n\
zone = \"eu-west-1a\"           # for `routing.zone`\n\
\n\
[[node]]\n\
host = \"shard-0.example.com\"  # port = 5432 and name = \"shard-0\" are the defaults\n\
role = \"worker\"\n\
shard = 0\n\
\n\
[[user]]\n\
name = \"app\"\n\
password = \"secret\"\n\
```\n";

/// The table in the header of the module that reads the environment.
fn environment() -> String {
    let source = include_str!("../src/settings/env.rs");
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let lines: Vec<&str> = lines.map(str::trim_start).collect();
    let from = lines.iter().position(|line| line.starts_with('|')).unwrap();
    lines[from..].join("\n")
}

fn render(settings: &[SettingInfo]) -> String {
    let mut text = HEAD.to_owned();
    let mut section = "";
    for setting in settings {
        if setting.section != section {
            section = setting.section;
            write!(text, "\n## `[{section}]`\n").unwrap();
        }
        write!(text, "\n### `{} = {}`\n\n", setting.name, setting.default).unwrap();
        for line in &setting.doc {
            writeln!(text, "{line}").unwrap();
        }
    }
    write!(text, "\n## Environment variables\n\n{}\n", environment()).unwrap();
    text
}

#[test]
fn the_settings_reference_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/settings.md");
    let fresh = render(&reference());
    if std::env::var_os("PGHERD_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == fresh, "docs/settings.md is stale: run `cargo x reference`");
}
