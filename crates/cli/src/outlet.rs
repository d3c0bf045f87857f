//! Where lines of the log leave by a descriptor: standard error, or a file.
//!
//! In: lines as the log's layers make them. Out: each in one piece of text without a line end within, at
//! once, or not at all. Nothing here waits: a loop that serves clients writes here, and whoever reads a
//! pipe may have stopped. What does not fit is left out and counted.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::json;

use crate::line::{Lost, escaped};

/// As much as a pipe that takes anything takes without waiting: PIPE_BUF, as Linux has it.
const PIECE: usize = 4096;

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a file, or a program.
    Text,
    /// For a terminal.
    Coloured,
    /// An object each.
    Json,
}

/// Writes lines to a descriptor while it takes them.
#[derive(Debug)]
pub(crate) struct Outlet<F> {
    to: F,
    form: Form,
    // Held from the question whether there is room until the line is written: two threads would both
    // take the same room.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lost: Lost,
    // Whether the last line has no end yet.
    is_cut: bool,
}

impl<F: AsFd> Outlet<F> {
    pub(crate) fn new(to: F, form: Form) -> Self {
        Self { to, form, state: Mutex::default() }
    }

    /// Writes a line, or counts it.
    pub(crate) fn say(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let is_kept = |c| match self.form {
            Form::Text => false,
            // Those that values hold have been escaped before the colours came.
            Form::Coloured => c == '\u{1b}',
            // It has escapes of its own.
            Form::Json => true,
        };
        let line = escaped(line.strip_suffix('\n').unwrap_or(&line), is_kept);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.catch_up(&mut state) || !self.put(&mut state, &format!("{line}\n")) {
            state.lost.add_one();
        }
    }

    /// Ends a line that was cut, and tells how many were lost; whether there was room for that.
    fn catch_up(&self, state: &mut State) -> bool {
        let end = if state.is_cut { "\n" } else { "" };
        let notice = state.lost.notice().map(|notice| self.form.notice(&notice));
        let before = format!("{end}{}", notice.unwrap_or_default());
        let is_done = self.put(state, &before);
        if is_done {
            state.lost = Lost::default();
        }
        is_done
    }

    /// Writes whole lines; whether there was room for all of it.
    fn put(&self, state: &mut State, lines: &str) -> bool {
        let mut left = lines.as_bytes();
        while !left.is_empty() && self.has_room() {
            match rustix::io::write(&self.to, &left[..left.len().min(PIECE)]) {
                Ok(0) => break,
                Ok(written) => {
                    left = &left[written..];
                    state.is_cut = !left.is_empty();
                }
                Err(Errno::INTR) => {}
                // Nobody listens there any more, or the disk is full.
                Err(_) => break,
            }
        }
        left.is_empty()
    }

    /// Whether a piece can be written without waiting.
    fn has_room(&self) -> bool {
        let mut asked = [PollFd::new(&self.to, PollFlags::OUT)];
        loop {
            match poll(&mut asked, Some(&Timespec::default())) {
                Err(Errno::INTR) => {}
                answer => return answer.is_ok() && asked[0].revents().contains(PollFlags::OUT),
            }
        }
    }
}

/// For the log's layers, which write a line at a time.
impl<F: AsFd> Write for &Outlet<F> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Form {
    /// A line of our own, as the log's layers write theirs.
    fn notice(self, text: &str) -> String {
        let at = Timestamp::now();
        match self {
            Self::Text | Self::Coloured => format!("{at:.6}  WARN {text}\n"),
            Self::Json => {
                let at = format!("{at:.6}");
                let fields = json!({ "message": text });
                let line = json!({
                    "timestamp": at, "level": "WARN", "fields": fields, "target": "pgherd"
                });
                format!("{line}\n")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{PipeReader, Read};

    use super::*;

    /// What is in a pipe now.
    fn read(pipe: &mut PipeReader) -> String {
        let mut text = vec![0; 1 << 20];
        let length = pipe.read(&mut text).unwrap();
        String::from_utf8(text[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_not_waited_for_and_what_is_lost_is_told() {
        let (mut pipe, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer, Form::Text);
        // A pipe holds 64 KiB of this.
        let said = 5_000;
        (0..said).for_each(|n| outlet.say(format!("line {n} {}\n", "x".repeat(100)).as_bytes()));
        let taken = read(&mut pipe);
        assert!(taken.ends_with('\n'), "{taken}");
        let lost = said - taken.lines().count();
        assert!(lost > 0 && taken.starts_with("line 0 x"));

        outlet.say(b"y\n");
        let text = read(&mut pipe);
        let [told, line] = &text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        assert!(
            told.ends_with(&format!(
                "Z  WARN {lost} lines before were not taken, and are left out"
            ))
        );
        assert_eq!(*line, "y");
        outlet.say(b"z\n");
        assert_eq!(read(&mut pipe), "z\n", "it is told once");
    }

    #[test]
    fn a_line_that_does_not_fit_is_cut_and_ended_later() {
        let (mut pipe, writer) = io::pipe().unwrap();
        let outlet = Outlet::new(writer, Form::Json);
        outlet.say(&vec![b'x'; 1 << 20]);
        outlet.say(b"nobody reads this");
        let cut = read(&mut pipe);
        assert!(cut.len() >= PIECE && cut.bytes().all(|byte| byte == b'x'));
        outlet.say(b"{}\n");
        let text = read(&mut pipe);
        let ["", told, "{}"] = &text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        let told: serde_json::Value = serde_json::from_str(told).unwrap();
        let message = "2 lines before were not taken, and are left out";
        assert_eq!((&told["level"], &told["fields"]["message"]), (&json!("WARN"), &json!(message)));
    }

    #[test]
    fn what_has_gone_is_no_trouble() {
        let (pipe, writer) = io::pipe().unwrap();
        drop(pipe);
        Outlet::new(writer, Form::Text).say(b"nobody is there\n");
    }

    #[test]
    fn a_line_is_one_and_colours_are_ours() {
        let (mut pipe, writer) = io::pipe().unwrap();
        let said = "\u{1b}[31mone\ntwo\r\u{7f}\u{9b}\n".as_bytes();
        Outlet::new(writer.try_clone().unwrap(), Form::Text).say(said);
        assert_eq!(read(&mut pipe), "\\u{1b}[31mone\\ntwo\\r\\u{7f}\\u{9b}\n");
        Outlet::new(writer.try_clone().unwrap(), Form::Coloured).say(said);
        assert_eq!(read(&mut pipe), "\u{1b}[31mone\\ntwo\\r\\u{7f}\\u{9b}\n");
        let object = "{\"message\":\"one\\n\u{7f}\u{9b}\"}\n";
        Outlet::new(writer, Form::Json).say(object.as_bytes());
        assert_eq!(read(&mut pipe), object);
    }
}
