//! How much may be said of many within a second, and how much was left out.

use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);

/// Lines that may still be written this second.
#[derive(Debug)]
pub(crate) struct Allowance {
    // When the second began, and how many lines were written in it.
    since: Instant,
    said: u32,
    left_out: u64,
    // Of seconds that are over, and told nobody yet.
    owed: u64,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, said: 0, left_out: 0, owed: 0 }
    }

    /// Whether one more may be said, where `most` may in a second. If not, it is counted.
    pub(crate) fn admits(&mut self, most: u32, now: Instant) -> bool {
        self.turn(now);
        let admits = self.said < most;
        match admits {
            true => self.said += 1,
            false => self.left_out += 1,
        }
        admits
    }

    /// How many were left out in seconds that are over. Told once.
    pub(crate) fn left_out(&mut self, now: Instant) -> Option<u64> {
        self.turn(now);
        let owed = std::mem::take(&mut self.owed);
        (owed > 0).then_some(owed)
    }

    fn turn(&mut self, now: Instant) {
        if now.saturating_duration_since(self.since) >= SECOND {
            self.owed += std::mem::take(&mut self.left_out);
            (self.since, self.said) = (now, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_admitted_each_second_and_the_others_are_counted() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut lines = Allowance::new(start);
        let admitted = |lines: &mut Allowance, millis, tries| {
            (0..tries).filter(|_| lines.admits(3, at(millis))).count()
        };
        assert_eq!(admitted(&mut lines, 10, 2), 2);
        assert_eq!(lines.left_out(at(1_000)), None);
        assert_eq!(admitted(&mut lines, 1_100, 10), 3);
        assert_eq!(lines.left_out(at(1_900)), None, "some may still be left out");
        // A flood that goes on puts off nothing.
        assert_eq!(admitted(&mut lines, 2_050, 5), 3);
        assert_eq!(lines.left_out(at(2_060)), Some(7));
        assert_eq!(lines.left_out(at(2_070)), None);
        assert_eq!(lines.left_out(at(9_000)), Some(2));
    }
}
