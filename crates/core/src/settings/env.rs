//! Reads the environment.
use super::{Settings, SettingsErrors};
pub(super) fn read(_variable: &dyn Fn(&str) -> Option<String>) -> Result<Settings, SettingsErrors> {
    Ok(Settings::default())
}
