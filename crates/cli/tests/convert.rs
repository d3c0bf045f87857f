//! `pgherd convert`, as it is run.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use pgherd_core::Settings;

/// A folder that goes with the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let name = format!("pgherd-convert-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn convert(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgherd"));
        command.arg("convert").args(arguments).current_dir(&self.0).output().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const INI: &str = "%include databases.ini\n[pgbouncer]\nlisten_addr = *\nauth_type = scram-sha-256\n\
                   auth_file = userlist.txt\nunix_socket_dir =\npkt_buf = 1\n";

#[test]
fn an_ini_becomes_settings_and_what_differs_is_told() {
    let files = [
        ("pgbouncer.ini", INI),
        ("databases.ini", "[databases]\nshop = host=10.0.0.1\n"),
        ("userlist.txt", "\"app\" \"se\\cret\"\n"),
    ];
    let place = Place::new("right", &files);
    let output = place.convert(&["pgbouncer.ini"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let told: Vec<&str> = said.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(told, ["pgbouncer.ini:3:", "pgbouncer.ini:7:"], "{said}");
    let text = String::from_utf8(output.stdout).unwrap();
    let settings = Settings::from_toml(&text, "stdout").unwrap();
    assert_eq!(settings.users[0].password.expose(), "se\\cret");

    assert!(place.convert(&["pgbouncer.ini", "-o", "pgherd.toml"]).status.success());
    let written = place.0.join("pgherd.toml");
    assert_eq!(std::fs::read_to_string(&written).unwrap(), text);
    assert_eq!(written.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let again = place.convert(&["pgbouncer.ini", "-o", "pgherd.toml"]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force writes over it"));
}

#[test]
fn all_that_is_wrong_is_told_in_one_run() {
    let place = Place::new("wrong", &[("pgbouncer.ini", &format!("{INI}foo = 1\nverbose = x\n"))]);
    let output = place.convert(&["pgbouncer.ini"]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("pgbouncer.ini:1: cannot include `databases.ini`: No such"), "{said}");
    std::fs::write(place.0.join("databases.ini"), "").unwrap();
    let said = String::from_utf8(place.convert(&["pgbouncer.ini"]).stderr).unwrap();
    for part in ["pgbouncer.ini:5: auth_file", "pgbouncer.ini:8: foo", "pgbouncer.ini:9: verbose"] {
        assert!(said.contains(part), "{said}");
    }
}
