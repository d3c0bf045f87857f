//! What a process and its children have used so far.

use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};

/// CPU time and memory.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Usage {
    /// Seconds in user mode.
    pub(super) user: f64,
    /// Seconds in the kernel.
    pub(super) system: f64,
    /// Bytes of memory resident at the most, of all processes together.
    pub(super) peak: u64,
}

impl Usage {
    /// Of a process, all its threads, its children and theirs.
    ///
    /// # Errors
    /// When the process is gone.
    pub(super) fn of(pid: u32) -> Result<Self> {
        let mut usage = Self::of_one(pid)?;
        for child in children(pid) {
            // One that has ended meanwhile counts among those its parent has waited for.
            if let Ok(of_child) = Self::of(child) {
                usage.user += of_child.user;
                usage.system += of_child.system;
                usage.peak += of_child.peak;
            }
        }
        Ok(usage)
    }

    fn of_one(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}");
        let read = |name| {
            std::fs::read_to_string(Path::new(&folder).join(name))
                .with_context(|| format!("process {pid} is gone"))
        };
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let (user, system) = ticks_of(&read("stat")?).context("/proc/PID/stat is not as known")?;
        let peak = bytes_of(&read("status")?, "VmHWM:");
        let peak = peak.context("/proc/PID/status is not as known")?;
        Ok(Self { user: user as f64 / ticks, system: system as f64 / ticks, peak })
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} s user, {:.2} s system", self.user, self.system)
    }
}

/// Ticks in user mode and in the kernel, with those of children that were waited for.
fn ticks_of(stat: &str) -> Option<(u64, u64)> {
    // The name in parentheses may hold anything, so the fields begin behind the last one.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some((field(14)? + field(16)?, field(15)? + field(17)?))
}

/// Bytes of memory that a process, its children and theirs have resident now.
///
/// # Errors
/// When the process is gone.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
    let status = status.with_context(|| format!("process {pid} is gone"))?;
    let own = bytes_of(&status, "VmRSS:").context("/proc/PID/status is not as known")?;
    // A child that has ended meanwhile has nothing any more.
    Ok(own + children(pid).into_iter().filter_map(|child| resident(child).ok()).sum::<u64>())
}

fn bytes_of(status: &str, field: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    let lists: Vec<String> = lists.collect();
    let ids = lists.iter().flat_map(|list| list.split_whitespace());
    ids.filter_map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_ticks_are_found_behind_any_name() {
        let stat = "12 (a) b) c) S 1 12 12 0 -1 4194304 9 8 7 6 150 250 30 40 20 0 1 0 5 6 7";
        assert_eq!(ticks_of(stat), Some((180, 290)));
        assert_eq!(ticks_of("12 (a) S 1"), None);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tx\nVmPeak:\t  99 kB\nVmHWM:\t    2048 kB\nVmRSS:\t 5 kB\n";
        assert_eq!(bytes_of(status, "VmHWM:"), Some(2 * 1024 * 1024));
        assert_eq!(bytes_of(status, "VmRSS:"), Some(5 * 1024));
    }

    #[test]
    fn a_child_counts() {
        // What it writes tells that it has memory of its own: right after the start the kernel
        // may not have counted any yet.
        let mut child = Command::new("sh")
            .args(["-c", "echo; read end"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        let own = std::process::id();
        // In this order: the tests beside this one make its own peak grow.
        let alone = Usage::of_one(own).unwrap();
        let of_child = Usage::of_one(child.id()).unwrap();
        let all = Usage::of(own).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(of_child.peak > 0, "{of_child:?}");
        assert!(all.peak >= alone.peak + of_child.peak, "{all:?} {alone:?} {of_child:?}");
    }
}
