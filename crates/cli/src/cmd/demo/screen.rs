//! What the demo prints: headings, steps with their progress, tables.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use comfy_table::{Table, presets};
use console::style;
use indicatif::{ProgressBar, ProgressStyle};

/// Prints to standard output. On a terminal a running step is one line that changes; elsewhere
/// each piece of its progress is a line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Screen {
    is_terminal: bool,
}

/// A step that runs.
pub(super) struct Step {
    bar: Option<ProgressBar>,
    began: Instant,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal() }
    }

    pub(super) fn is_terminal(self) -> bool {
        self.is_terminal
    }

    pub(super) fn heading(self, text: &str) {
        println!("\n{}", style(text).bold());
    }

    pub(super) fn say(self, text: &str) {
        println!("  {text}");
    }

    /// Begins a step that takes a while.
    pub(super) fn begin(self, what: &str) -> Step {
        let bar = self.is_terminal.then(|| {
            let look = ProgressStyle::with_template("  {spinner} {prefix} {msg}");
            let bar = ProgressBar::new_spinner().with_prefix(what.to_owned());
            bar.set_style(look.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        if bar.is_none() {
            println!("  {what} ...");
        }
        Step { bar, began: Instant::now() }
    }

    pub(super) fn table<const N: usize>(self, heading: [&str; N], rows: Vec<[String; N]>) {
        let mut table = Table::new();
        table.load_style(presets::UTF8_FULL_CONDENSED).set_header(heading);
        rows.into_iter().for_each(|row| {
            table.add_row(row);
        });
        for line in table.to_string().lines() {
            println!("  {line}");
        }
    }
}

impl Step {
    /// How it goes.
    pub(super) fn progress(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(text.to_owned()),
            None => println!("    {text}"),
        }
    }

    /// It is done, with this result.
    pub(super) fn done(self, result: &str) {
        let seconds = self.began.elapsed().as_secs_f64();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        println!("  {} {result} ({seconds:.1} s)", style("✓").green());
    }
}
