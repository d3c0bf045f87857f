//! docs/settings.md, docs/environment.md, docs/metrics.md and the table of docs/coming-from-pgbouncer.md say what the code says. `cargo x reference` writes them
//! anew.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::Path;

use pgherd_core::metrics;
use pgherd_core::pgbouncer::{SettingFate, catalogue};
use pgherd_core::settings::{SettingInfo, VariableInfo, reference, variables};

const HEAD: &str = "<!-- Generated from crates/core/src/settings by `cargo x reference`. -->\n\
# Settings\n\
\n\
`pgherd.toml` has the sections below; `[[node]]`, `[[user]]`, `[[database]]` and `[[peer]]` stand\n\
once for each server, login, database and other process. Every setting has a default but `[[node]]` and `[[user]]`. A value that is unknown,\n\
of the wrong type or out of range is refused, with its line, and every problem is reported in\n\
one run.\n\
\n\
Durations are written `\"250ms\"`, `\"5s\"`, `\"10m\"`, `\"1h\"`, `\"7d\"`; sizes `\"64KiB\"`, `\"8MiB\"`. \"Reload:\"\n\
says whether a change holds as soon as the settings are read again (live), or needs a new process (restart):\n\
[restarts.md](restarts.md).\n\
\n\
Each setting is also an environment variable, `PGHERD_<SECTION>_<NAME>`, and nodes and the login\n\
have some of their own: [environment.md](environment.md).\n\
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

/// The documented fields of a struct among the sections, as rows of a table.
fn table(name: &str) -> String {
    let sections = include_str!("../src/settings/sections.rs");
    let source = sections.to_owned()
        + include_str!("../src/settings/database.rs")
        + include_str!("../src/settings/peer.rs");
    let (_, body) = source.split_once(&format!("pub struct {name} {{\n")).unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let (mut rows, mut doc) = (String::new(), Vec::new());
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            doc.push(text.trim());
        } else if let Some((field, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(':')) {
            writeln!(rows, "| `{field}` | {} |", doc.join(" ")).unwrap();
            doc.clear();
        }
    }
    rows
}

fn render(settings: &[SettingInfo]) -> String {
    let mut text = HEAD.to_owned();
    let lists = [
        ("node", "NodeSettings"),
        ("user", "UserSettings"),
        ("database", "DatabaseSettings"),
        ("peer", "PeerSettings"),
    ];
    for (name, fields) in lists {
        write!(text, "\n## `[[{name}]]`\n\n| Setting | Meaning |\n|---|---|\n{}", table(fields))
            .unwrap();
    }
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
    text
}

const ENVIRONMENT_HEAD: &str = "<!-- Generated from crates/core/src/settings by `cargo x reference`. -->\n\
# Environment variables\n\
\n\
`DistributedPool::from_env()` reads them, and so do the examples and the program `pgherd` without\n\
`--config`. The examples and the program also read a file `.env` in the current folder, which\n\
overrides nothing that is set: [.env.example](../.env.example) is one to copy.\n\
\n\
An empty variable is the same as an absent one. Durations are written `250ms`, `5s`, `10m`, `1h`;\n\
sizes `64KiB`, `8MiB`; yes and no `true`, `on`, `yes`, `1` and `false`, `off`, `no`, `0`. Items of a\n\
list are separated by commas; a list about nodes has one item for each, or one for all. An IPv6\n\
address with a port stands in brackets.\n\
\n\
A bad value is refused with the variable, the value and the range, and so is a name that is\n\
nearly one of these, or begins with `PGHERD_` and a section and is none; every problem is reported\n\
in one run.\n\
\n\
## Nodes and the login\n";

fn render_environment(variables: &[VariableInfo]) -> String {
    const TABLE: &str = "\n| Variable | Default | Meaning |\n|---|---|---|\n";
    let mut text = ENVIRONMENT_HEAD.to_owned() + TABLE;
    let mut section = None;
    for VariableInfo { name, section: of, default, doc } in variables {
        if *of != section {
            section = *of;
            let name = section.unwrap_or_default();
            write!(text, "\n## `[{name}]` of the [settings](settings.md)\n{TABLE}").unwrap();
        }
        let default = if default.is_empty() { String::new() } else { format!("`{default}`") };
        writeln!(text, "| `{name}` | {default} | {} |", doc.replace('|', "\\|")).unwrap();
    }
    text
}

fn assert_fresh(name: &str, fresh: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("PGHERD_WRITE_REFERENCE").is_some() {
        std::fs::write(&path, fresh).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == fresh, "docs/{name} is stale: run `cargo x reference`");
}

const BEGIN: &str = "<!-- Generated from crates/core/src/pgbouncer by `cargo x reference`: -->\n";
const END: &str = "<!-- to here. -->\n";

/// What becomes of each of PgBouncer's settings, as tables.
fn render_pgbouncer(settings: &[SettingFate]) -> String {
    let (mut text, mut section) = (String::new(), None);
    for setting in settings {
        if section.replace(setting.section) != Some(setting.section) {
            write!(
                text,
                "\n### `[{}]`\n\n| Setting | Values | Default | Here | |\n|---|---|---|---|---|\n",
                setting.section
            )
            .unwrap();
        }
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let here = setting.ours.unwrap_or(setting.fate);
        let SettingFate { name, values, default, remark, .. } = setting;
        writeln!(text, "| `{name}` | {values} | {} | {here} | {remark} |", code(default)).unwrap();
    }
    text + "\n"
}

#[test]
fn the_table_of_pgbouncers_settings_is_fresh() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/coming-from-pgbouncer.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let table = render_pgbouncer(&catalogue());
    assert_fresh("coming-from-pgbouncer.md", &[before, BEGIN, &table, END, after].concat());
}

#[test]
fn the_settings_reference_is_fresh() {
    assert_fresh("settings.md", &render(&reference()));
}

#[test]
fn the_table_of_environment_variables_is_fresh() {
    assert_fresh("environment.md", &render_environment(&variables()));
}

/// Every metric, as a table.
fn render_metrics() -> String {
    let mut text = "<!-- Generated from crates/core/src/metrics/catalogue.rs by `cargo x reference`. -->\n\
        # Metrics\n\n\
        What `/metrics` tells where [`http.listen`](settings.md) is set; what to watch is in\n\
        [monitoring.md](monitoring.md). Counters start at 0 with the process. A histogram has the samples\n\
        `_bucket`, `_count` and `_sum`.\n\n\
        | Metric | Type | Labels | Meaning |\n|---|---|---|---|\n"
        .to_owned();
    for metric in metrics::catalogue::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|name| format!("`{name}`")).collect();
        let (name, kind) = (metric.sample_name(), metric.kind.as_str());
        writeln!(text, "| `{name}` | {kind} | {} | {} |", labels.join(", "), metric.about).unwrap();
    }
    let bounds: Vec<&str> = metrics::BUCKET_TEXTS.to_vec();
    writeln!(text, "\nBuckets of histograms, in seconds: {}.", bounds.join(", ")).unwrap();
    text
}

#[test]
fn the_metrics_reference_is_fresh() {
    assert_fresh("metrics.md", &render_metrics());
}
