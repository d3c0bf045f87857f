//! `pgherd convert`: the settings that a `pgbouncer.ini` becomes.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::output::write;
use crate::pgbouncer_files;

/// Write the pgherd.toml that says what a pgbouncer.ini says
///
/// It holds the passwords of the userlist. What has no effect here, or another one, is told on
/// standard error, with the line and the reason; docs/coming-from-pgbouncer.md has it for each
/// setting.
#[derive(Debug, Args)]
pub(crate) struct Convert {
    /// The ini file; paths in it are relative to the current folder
    #[arg(value_name = "FILE")]
    ini: PathBuf,
    /// The file to write, for its owner alone to read; without it, standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
}

impl Convert {
    /// Writes the whole file, or nothing if anything is wrong.
    pub(crate) fn run(self) -> Result<()> {
        let converted = pgbouncer_files::load(&self.ini)?;
        let ini = self.ini.display();
        let text = format!(
            "# Written by `pgherd convert`, from {ini}.\n\n{}",
            converted.settings.to_toml()
        );
        for warning in &converted.warnings {
            eprintln!("{warning}");
        }
        match &self.output {
            None => Ok(io::stdout().lock().write_all(text.as_bytes())?),
            Some(path) if path.exists() && !self.force => {
                bail!("{} is there already: --force writes over it", path.display())
            }
            Some(path) => write(path, 0o600, &text),
        }
    }
}
