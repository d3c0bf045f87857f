//! Where a command's settings come from.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use pgherd_core::Settings;
use pgherd_core::settings::{Secret, UserSettings};

/// The file in the current folder that holds more variables.
const ENV_FILE: &str = ".env";

/// The settings of a file; without one, those of the environment and of `.env`; `None` if those
/// name no coordinator either.
///
/// # Errors
/// What is wrong with them, each problem with its line or variable.
pub(crate) fn load(config: Option<&Path>) -> Result<Option<Settings>> {
    if let Some(file) = config {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {name}"))?;
        return Ok(Some(Settings::from_toml(&text, &name)?));
    }
    let variables = variables(Path::new(ENV_FILE))?;
    if !variables.contains_key("COORDINATOR_HOST") {
        return Ok(None);
    }
    Ok(Some(Settings::from_variables(variables)?))
}

/// The environment, and what a file adds to it.
fn variables(file: &Path) -> Result<HashMap<String, String>> {
    let mut variables = HashMap::new();
    if file.exists() {
        let what = || format!("cannot read {}", file.display());
        for pair in dotenvy::from_path_iter(file).with_context(what)? {
            let (name, value) = pair.with_context(what)?;
            variables.insert(name, value);
        }
    }
    // What is set for this run goes before what lies in a file.
    for (name, value) in std::env::vars_os() {
        if let (Ok(name), Ok(value)) = (name.into_string(), value.into_string()) {
            variables.insert(name, value);
        }
    }
    Ok(variables)
}

/// The same settings, with the login of another role if one is named. Its password is that of the
/// environment, in `PGPASSWORD`.
pub(crate) fn with_login(mut settings: Settings, role: Option<String>) -> Settings {
    if let Some(name) = role {
        let password = Secret::new(std::env::var("PGPASSWORD").unwrap_or_default());
        settings.users = vec![UserSettings { name, password, ..UserSettings::default() }];
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_adds_to_the_environment_and_overrides_nothing() {
        let file = std::env::temp_dir().join(format!("pgherd-env-{}", std::process::id()));
        std::fs::write(&file, "PATH=/nowhere\nCOORDINATOR_HOST=\"db\" # ours\n").unwrap();
        let found = variables(&file).unwrap();
        assert_eq!(found["COORDINATOR_HOST"], "db");
        assert_ne!(found["PATH"], "/nowhere");
        std::fs::write(&file, "COORDINATOR_HOST='open\n").unwrap();
        assert!(variables(&file).unwrap_err().to_string().contains("pgherd-env"));
        std::fs::remove_file(file).unwrap();
    }
}
