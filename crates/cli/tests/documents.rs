//! The documents say what is so: what they tell to run is run, in the order of the page and in a folder of
//! its own, and the settings that they show are read.
//!
//! A fenced block is judged by the word behind its fence: `sh` is run and has to end well; of `console` each
//! line with a `$` is run, and has to print the lines below it; `toml` is settings; `rust` is compiled by
//! the library's documentation tests. A comment in the line before the fence may say more:
//!
//! | `<!-- ... -->`       | The block                                                            |
//! |----------------------|----------------------------------------------------------------------|
//! | `not run: why`       | is only read by people                                               |
//! | `in the background`  | serves clients from then on: the next block runs when it listens     |
//! | `file: NAME`         | is written to a file of this name, for later blocks                  |
//! | `the same as: PATH`  | is the text of this file of the repository                           |

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use pgherd_core::Settings;
use pgherd_core::settings::reference;
use pgherd_lab::{Engine, cluster, pooler};

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(60);

/// The ports that the documents call the proxy's, for clients and for HTTP; here others that are free.
const PORTS: [&str; 2] = ["6432", "9127"];

/// Has an example made of each document that shows Rust.
const LIBRARY: &str = include_str!("../../pgherd/src/lib.rs");

/// The pages that are run, each by a test of its own.
const RUN: [&str; 4] = [
    "README.md",
    "docs/quickstart.md",
    "docs/architecture/connection-architecture.md",
    "docs/coming-from-pgbouncer.md",
];

#[test]
fn the_readme_does_what_it_says() {
    run("README.md");
}

#[test]
fn the_quick_start_does_what_it_says() {
    run("docs/quickstart.md");
}

#[test]
fn connections_are_as_they_are_described() {
    run("docs/architecture/connection-architecture.md");
}

#[test]
fn who_comes_from_pgbouncer_is_told_right() {
    run("docs/coming-from-pgbouncer.md");
}

#[test]
fn every_page_shows_settings_that_are_read() {
    for (name, document) in pages() {
        for block in blocks(&document).iter().filter(|block| block.language == "toml") {
            if let Err(error) = block.settings() {
                panic!("{name}, line {}: {error}", block.line);
            }
        }
    }
}

#[test]
fn what_a_page_tells_to_run_is_run_or_it_says_why_not() {
    let pages = pages();
    let others = pages.iter().filter(|(name, _)| !RUN.contains(&name.as_str()));
    for (name, document) in others {
        for Block { line, language, told, .. } in blocks(document) {
            let is_command = matches!(&*language, "sh" | "console");
            assert!(!is_command || told.starts_with("not run: "), "{name}, line {line}");
        }
    }
}

#[test]
fn every_setting_that_a_page_names_is_there() {
    let all = reference();
    let sections: BTreeSet<&str> = all.iter().map(|setting| setting.section).collect();
    let mut wrong = Vec::new();
    for (name, document) in pages() {
        for (line, code) in inline_code(&document) {
            let Some((section, setting)) = code.split_once('.') else { continue };
            let setting = setting.split([' ', '=']).next().unwrap_or_default();
            let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
            if sections.contains(section)
                && setting.chars().all(is_name)
                && !all.iter().any(|one| one.section == section && one.name == setting)
            {
                wrong.push(format!("{name}, line {line}: `{code}`"));
            }
        }
    }
    assert!(wrong.is_empty(), "there is no such setting:\n{}", wrong.join("\n"));
}

/// The README, and all that is in docs/, by name.
fn pages() -> Vec<(String, String)> {
    let folder = repository();
    let mut names = vec!["README.md".to_owned()];
    for below in ["docs", "docs/architecture"] {
        for entry in std::fs::read_dir(folder.join(below)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".md") {
                names.push(format!("{below}/{name}"));
            }
        }
    }
    let read = |name: String| {
        let document = std::fs::read_to_string(folder.join(&name)).unwrap();
        (name, document)
    };
    names.into_iter().map(read).collect()
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A fenced block of a document.
struct Block {
    line: usize,
    language: String,
    /// The comment in the line before it.
    told: String,
    text: String,
}

impl Block {
    /// The settings that it is, or is a part of.
    fn settings(&self) -> Result<Settings, String> {
        let mut text = self.text.clone();
        if !text.contains("[[node]]") {
            text += "\n[[node]]\nhost = \"db.example.com\"\nrole = \"coordinator\"\n";
        }
        if !text.contains("[[user]]") {
            text += "\n[[user]]\nname = \"app\"\n";
        }
        let settings =
            Settings::from_toml(&text, "the block").map_err(|error| error.to_string())?;
        settings.topology().map_err(|error| error.to_string())?;
        Ok(settings)
    }
}

fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut before = String::new();
    let mut lines = (1..).zip(document.lines());
    while let Some((at, line)) = lines.next() {
        let Some(language) = line.trim_start().strip_prefix("```") else {
            line.trim_start().clone_into(&mut before);
            continue;
        };
        let is_body = |line: &&str| line.trim_start() != "```";
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(is_body).collect();
        let told = before.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
        found.push(Block {
            line: at,
            language: language.to_owned(),
            told: told.unwrap_or_default().to_owned(),
            text: body.join("\n") + "\n",
        });
        before.clear();
    }
    found
}

/// What stands in backticks within a line, and the line's number.
fn inline_code(document: &str) -> Vec<(usize, &str)> {
    let mut is_block = false;
    let mut found = Vec::new();
    for (at, line) in (1..).zip(document.lines()) {
        is_block ^= line.trim_start().starts_with("```");
        if !is_block {
            found.extend(line.split('`').skip(1).step_by(2).map(|code| (at, code)));
        }
    }
    found
}

/// Runs a page from its top to its end.
fn run(name: &str) {
    let document = std::fs::read_to_string(repository().join(name)).unwrap();
    let place = Place::new(name);
    let mut shell = Shell::start(&place);
    for block in blocks(&document) {
        let at = format!("{name}, line {}", block.line);
        let text = place.with_own_ports(&block.text);
        let file = block.told.strip_prefix("file: ");
        if let Some(file) = file {
            std::fs::write(place.folder.join(file), &text).unwrap();
        }
        if let Some(path) = block.told.strip_prefix("the same as: ") {
            assert_eq!(
                block.text,
                std::fs::read_to_string(repository().join(path)).unwrap(),
                "{at}"
            );
            continue;
        }
        if block.told.starts_with("not run: ") {
            continue;
        }
        if matches!(&*block.language, "sh" | "console")
            && text.contains("curl ")
            && pooler::find("curl").is_none()
        {
            eprintln!("{at}: SKIPPED: there is no curl here");
            continue;
        }
        match &*block.language {
            "sh" if block.told == "in the background" => shell.background(&text, &place, &at),
            "sh" => drop(shell.run(&text, &at)),
            "console" => shell.converse(&text, &at),
            "toml" => drop(block.settings().unwrap_or_else(|error| panic!("{at}: {error}"))),
            "rust,no_run" => {
                let included = LIBRARY.contains(&format!("/{name}\")]"));
                assert!(included, "{at}: {name} is no example of crates/pgherd/src/lib.rs");
            }
            // A later block makes something of it.
            "ini" | "text" => assert!(file.is_some(), "{at}: who looks at it?"),
            "mermaid" => {}
            other => panic!("{at}: `{other}` is not run, and does not say why"),
        }
    }
}

/// The folder that a page is run in. What it has started there ends with it.
struct Place {
    folder: PathBuf,
    /// Those in the place of [`PORTS`].
    ports: [u16; 2],
}

impl Place {
    fn new(name: &str) -> Self {
        let name = name.replace(['/', '.'], "-");
        let folder = std::env::temp_dir().join(format!("pgherd-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, ports: PORTS.map(|_| cluster::free_port().unwrap()) }
    }

    fn with_own_ports(&self, text: &str) -> String {
        PORTS
            .iter()
            .zip(self.ports)
            .fold(text.to_owned(), |text, (port, own)| text.replace(port, &own.to_string()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The page has done it, unless something failed.
        let dev = self.folder.join(".pgherd-dev");
        if dev.exists() {
            let mut down = Command::new(env!("CARGO_BIN_EXE_pgherd"));
            let _ = down.args(["dev", "down", "--dir"]).arg(dev).output();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// One shell for the whole page, so that what one block exports the next one has.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

/// Stands behind the output of each command, before its exit code.
const END: &str = "--- end of it, with ";

impl Shell {
    fn start(place: &Place) -> Self {
        let program = Path::new(env!("CARGO_BIN_EXE_pgherd"));
        let engine = Engine::find().unwrap();
        let old = std::env::var_os("PATH").unwrap_or_default();
        let own = [program.parent().unwrap().to_owned(), engine.bin().to_owned()];
        let path =
            std::env::join_paths(own.into_iter().chain(std::env::split_paths(&old))).unwrap();
        let mut child = Command::new("bash")
            .arg("--norc")
            .env("PATH", path)
            .env("PSQLRC", "/dev/null")
            .current_dir(&place.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // What goes wrong is told where the answer is looked for. Those in the background end with it.
        input.write_all(b"exec 2>&1\ntrap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\n").unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Runs it, and returns what it prints.
    fn run(&mut self, text: &str, at: &str) -> String {
        // A group of its own, and no subshell: what it exports stays. Each line has to end well.
        let text = text.trim_end();
        let script = format!(
            "trap 'failed=$?' ERR; failed=0\n{{\n{text}\n}} </dev/null\nprintf '\\n%s%s\\n' '{END}' $failed\n"
        );
        self.input.write_all(script.as_bytes()).unwrap();
        let mut told = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.output.read_line(&mut line).unwrap(),
                0,
                "{at}: the shell is gone: {told}"
            );
            if let Some(code) = line.strip_prefix(END) {
                let told = told.strip_suffix('\n').unwrap_or(&told).to_owned();
                assert_eq!(code.trim(), "0", "{at}: `{text}` says: {told}");
                return told;
            }
            told += &line;
        }
    }

    /// Starts it, and waits until the proxy listens.
    fn background(&mut self, text: &str, place: &Place, at: &str) {
        self.run(&format!("{} >background.log 2>&1 &", text.trim_end()), at);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, place.ports[0])).is_err() {
            let log = std::fs::read_to_string(place.folder.join("background.log"));
            assert!(Instant::now() < deadline, "{at}: nobody listens: {log:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs each line behind a `$`, and compares what it prints with the lines below it.
    fn converse(&mut self, text: &str, at: &str) {
        for exchange in format!("\n{text}").split("\n$ ").skip(1) {
            let (command, expected) = exchange.split_once('\n').unwrap_or((exchange, ""));
            let told = self.run(command, at);
            assert_eq!(told.trim_end(), expected.trim_end(), "{at}: `{command}`");
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It waits for what it has started in the background.
        let _ = self.input.write_all(b"exit\n");
        let _ = self.output.read_to_end(&mut Vec::new());
        let _ = self.child.wait();
    }
}
