//! A command that prints the password.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgherd_core::settings::{PasswordCommand, Secret};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Mutex;

use super::{LONGEST, PasswordError, one_line};

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(10);
/// For how long what it printed serves for new connections: a pool that fills runs it once.
const SERVES: Duration = Duration::from_secs(30);
/// For how long a failure does, so that those who wait for it do not all run it again.
const FAILURE_SERVES: Duration = Duration::from_secs(1);
/// How much of its complaints an error repeats.
const COMPLAINT: usize = 1000;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Command {
    command: PasswordCommand,
    // Held while the command runs, so that it runs once at a time.
    last: Mutex<Option<Answer>>,
    is_refused: AtomicBool,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    result: Result<Secret, PasswordError>,
}

impl Answer {
    fn is_fresh(&self) -> bool {
        let serves = if self.result.is_ok() { SERVES } else { FAILURE_SERVES };
        self.at.elapsed() < serves
    }
}

impl Command {
    pub(super) fn new(command: PasswordCommand) -> Self {
        Self { command, last: Mutex::new(None), is_refused: AtomicBool::new(false) }
    }

    /// What it said a short time ago, or says now. Dropping the future does not end it: its answer
    /// is there for the next who asks, also if it takes longer than a connection may.
    pub(super) async fn answer(self: Arc<Self>) -> Result<Secret, PasswordError> {
        let command = self.clone();
        let asked = tokio::spawn(async move {
            let mut last = command.last.lock().await;
            let is_refused = command.is_refused.swap(false, Ordering::Relaxed);
            if let Some(answer) = &*last
                && answer.is_fresh()
                && !(is_refused && answer.result.is_ok())
            {
                return answer.result.clone();
            }
            let result = command.run().await;
            *last = Some(Answer { at: Instant::now(), result: result.clone() });
            result
        });
        asked.await.unwrap_or_else(|_| Err(self.error("was given up: the runtime shuts down")))
    }

    /// What it said is not to be used again.
    pub(super) fn forget(&self) {
        self.is_refused.store(true, Ordering::Relaxed);
    }

    /// Runs it. Dropping the future ends it.
    pub(super) async fn run(&self) -> Result<Secret, PasswordError> {
        match tokio::time::timeout(LIMIT, self.run_to_its_end()).await {
            Ok(answer) => answer.map_err(|problem| self.error(&problem)),
            Err(_) => Err(self.error(&format!("took longer than {LIMIT:?}"))),
        }
    }

    async fn run_to_its_end(&self) -> Result<Secret, String> {
        let [program, arguments @ ..] = self.command.words() else {
            return Err("names no program".to_owned());
        };
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot be run: {error}"))?;
        // Both at once: one that is not read would hold the command up.
        let (printed, complaint) = tokio::join!(
            read_all(child.stdout.take(), LONGEST),
            read_all(child.stderr.take(), COMPLAINT)
        );
        let status = child.wait().await.map_err(|error| format!("was lost: {error}"))?;
        if !status.success() {
            let complaint = String::from_utf8_lossy(&complaint);
            let complaint = complaint.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(format!("failed with {status}: {complaint}"));
        }
        if printed.len() > LONGEST {
            return Err(format!("printed more than {LONGEST} bytes"));
        }
        let text = String::from_utf8(printed).map_err(|_| "printed what is not UTF-8")?;
        one_line(text).map_err(|problem| format!("printed what {problem}"))
    }

    fn error(&self, problem: &str) -> PasswordError {
        PasswordError::Command { command: self.command.to_string(), problem: problem.to_owned() }
    }
}

/// What a pipe yields, but no more than one byte above `most`; the rest is read and dropped.
async fn read_all(pipe: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut content = Vec::new();
    if let Some(pipe) = pipe {
        let mut first = pipe.take(most as u64 + 1);
        // A pipe that breaks ends like one that is closed; the exit status says the rest.
        let _ = first.read_to_end(&mut content).await;
        let _ = tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await;
    }
    content
}
