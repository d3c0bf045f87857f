//! Reads a settings file.
use super::{Settings, SettingsErrors};
pub(super) fn read(_text: &str, _file_name: &str) -> Result<Settings, SettingsErrors> {
    Ok(Settings::default())
}
