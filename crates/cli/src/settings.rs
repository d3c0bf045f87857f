//! Where a command's settings come from.

use std::path::Path;

use anyhow::{Context, Result};
use pgherd_core::Settings;

/// The settings of a file; without one, those of the environment; `None` if that names no
/// coordinator either.
///
/// # Errors
/// What is wrong with them, each problem with its line or variable.
pub(crate) fn load(config: Option<&Path>) -> Result<Option<Settings>> {
    if let Some(file) = config {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        return Ok(Some(Settings::from_toml(&text, &name)?));
    }
    if std::env::var_os("COORDINATOR_HOST").is_some() {
        return Ok(Some(Settings::from_env(|name| std::env::var(name).ok())?));
    }
    Ok(None)
}
