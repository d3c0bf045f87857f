//! The HBA file, and the ident maps that go with it.
//!
//! In: their paths. Out: for a client the rule that counts, as the files were when they were read last.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pgherd_core::pgbouncer::{FileError, HbaMethod, HbaRule, HbaRules, IdentMaps};

use super::Method;

/// No file is larger: 4 MiB, many times what the most rules have.
const LARGEST: u64 = 4 << 20;

/// The files as they were read.
#[derive(Debug, Default)]
pub struct HbaFiles {
    /// Who logs in how.
    pub rules: HbaRules,
    maps: IdentMaps,
}

/// The files, read anew when that is asked for. By default there are none.
#[derive(Debug, Default)]
pub struct Hba {
    hba: String,
    ident: String,
    files: ArcSwap<HbaFiles>,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct HbaError(pub Vec<FileError>);

impl HbaFiles {
    /// Whether who has shown a certificate made out to `shown`, or is that to the system, may be `user` by
    /// an ident map.
    pub fn allow(&self, map: &str, shown: &str, user: &str) -> bool {
        self.maps.allow(map, shown, user)
    }

    /// Reads the texts of the files, by their paths.
    fn read(hba: &str, ident: &str) -> Result<Self, HbaError> {
        let path = Path::new(hba);
        let text = read(path).map_err(|problem| HbaError(vec![error(hba, problem)]))?;
        // Lists of names stand beside it.
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut list = |name: &str| read(&folder.join(name));
        let rules = HbaRules::read(&text, hba, &mut list).map_err(HbaError)?;
        let maps = match ident {
            "" => IdentMaps::default(),
            _ => {
                let text = read(Path::new(ident));
                let text = text.map_err(|problem| HbaError(vec![error(ident, problem)]))?;
                IdentMaps::read(&text, ident).map_err(HbaError)?
            }
        };
        let has_no_map = |rule: &&HbaRule| rule.map.as_ref().is_some_and(|map| !maps.has(map));
        for rule in rules.0.iter().filter(has_no_map) {
            let (line, map) = (rule.line, rule.map.as_deref().unwrap_or_default());
            tracing::warn!(file = hba, line, map, "no line of the ident file is of this map");
        }
        Ok(Self { rules, maps })
    }
}

impl Hba {
    /// Reads the files. Waits for the disk.
    ///
    /// # Errors
    /// [`HbaError`] names each line that is wrong.
    pub fn new(hba: &str, ident: &str) -> Result<Self, HbaError> {
        let all = Self { hba: hba.to_owned(), ident: ident.to_owned(), files: ArcSwap::default() };
        all.reload()?;
        Ok(all)
    }

    /// Reads the files again, for logins from now on. If one is not as it has to be, what was read
    /// before goes on. Waits for the disk.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn reload(&self) -> Result<(), HbaError> {
        if !self.hba.is_empty() {
            self.files.store(Arc::new(HbaFiles::read(&self.hba, &self.ident)?));
        }
        Ok(())
    }

    /// As they were read last.
    pub fn files(&self) -> Arc<HbaFiles> {
        self.files.load_full()
    }
}

impl Method {
    /// How a client logs in by a rule; `None`: not at all.
    pub(crate) fn of_rule(method: HbaMethod) -> Option<Self> {
        match method {
            HbaMethod::Trust => Some(Self::Trust),
            HbaMethod::Plain => Some(Self::Plain),
            HbaMethod::Md5 => Some(Self::Md5),
            HbaMethod::ScramSha256 => Some(Self::Scram),
            HbaMethod::Cert => Some(Self::Cert),
            HbaMethod::Peer => Some(Self::Peer),
            HbaMethod::Reject => None,
        }
    }
}

fn error(file: &str, problem: String) -> FileError {
    FileError { file: file.to_owned(), line: None, problem }
}

fn read(path: &Path) -> Result<String, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > LARGEST {
        return Err(format!("has {size} bytes, more than {LARGEST}"));
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}
