//! One PostgreSQL server for a test: in a temporary folder, behind a Unix socket only, gone
//! with the test.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) struct Server {
    bin: PathBuf,
    // Dropped after the process has ended, so in this order.
    process: Process,
    folder: tempfile::TempDir,
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        let bin = find_postgresql();
        let folder = tempfile::Builder::new().prefix("pgherd-core-").tempdir().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let user = OtherUser::if_root();
        if let Some(user) = &user {
            for path in [folder.path(), &data] {
                chown(path, Some(user.uid), Some(user.gid)).unwrap();
            }
        }

        let mut initdb = command(&bin.join("initdb"), user.as_ref());
        initdb.args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
            "-D",
        ]);
        run(initdb.arg(&data));

        let mut postgres = command(&bin.join("postgres"), user.as_ref());
        postgres.arg("-D").arg(&data).arg("-k").arg(folder.path());
        postgres.args(["-c", "listen_addresses=", "-c", "fsync=off"]);
        let log = fs::File::create(folder.path().join("log")).unwrap();
        postgres.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let process = Process(postgres.spawn().unwrap());

        let mut server = Self { bin, process, folder };
        server.wait_until_ready();
        server
    }

    /// Runs statements as a superuser and gives what psql prints: a row a line, columns
    /// separated by `|`.
    pub(crate) fn sql(&self, sql: &str) -> String {
        run(self.psql().args(["-v", "ON_ERROR_STOP=1", "-c", sql]))
    }

    fn psql(&self) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-XAtq", "-U", "postgres", "-d", "postgres", "-h"]).arg(self.folder.path());
        psql
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.psql().args(["-c", ""]).output().unwrap().status.success() {
            let exited = self.process.0.try_wait().unwrap();
            if exited.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                panic!("PostgreSQL did not start ({exited:?}):\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// `$PGHERD_PG_BIN`, `pg_config`, Debian's folders with the highest version first.
fn find_postgresql() -> PathBuf {
    let named = std::env::var_os("PGHERD_PG_BIN").map(PathBuf::from);
    let configured = Command::new("pg_config")
        .arg("--bindir")
        .output()
        .ok()
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    debian.sort();
    named
        .into_iter()
        .chain(configured)
        .chain(debian.into_iter().rev().map(|(_, bin)| bin))
        .find(|bin| ["postgres", "initdb", "psql"].iter().all(|name| bin.join(name).is_file()))
        .expect("PostgreSQL is found: install it or set PGHERD_PG_BIN")
}

/// The user to run as, because the server refuses to run as root.
struct OtherUser {
    uid: u32,
    gid: u32,
}

impl OtherUser {
    fn if_root() -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            passwd.lines().find_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
                [user, _, uid, gid, ..] if user == name => {
                    Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
                }
                _ => None,
            })
        };
        Some(find("postgres").or_else(|| find("nobody")).expect("there is a user besides root"))
    }
}

fn command(program: &Path, user: Option<&OtherUser>) -> Command {
    // With the death of the test, however it comes, the server shuts down too.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if let Some(OtherUser { uid, gid }) = user {
        command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
    }
    command.arg(program).current_dir("/").env("LC_ALL", "C");
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?} failed: {stderr}", command.get_program());
    String::from_utf8(output.stdout).unwrap()
}
