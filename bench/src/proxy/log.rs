//! pgbench's log of transactions.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result};

use super::case::Connect;

/// What the clients saw between two moments.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Seen {
    /// Transactions that were answered.
    pub(super) transactions: u64,
    // In microseconds.
    latencies: Vec<u32>,
}

/// A line of the log: times in microseconds.
#[derive(Debug, PartialEq)]
struct Line {
    client: u32,
    latency: u64,
    // Since 1970.
    done_at: u64,
}

impl Line {
    /// "client transaction latency script seconds microseconds", and more with some options.
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split(' ').map(str::parse::<u64>);
        let mut next = || fields.next()?.ok();
        let (client, _, latency, _) = (next()?, next()?, next()?, next()?);
        let done_at = next()? * 1_000_000 + next()?;
        Some(Self { client: u32::try_from(client).ok()?, latency, done_at })
    }
}

impl Seen {
    /// Adds what one log says of a time, in microseconds since 1970. A client's transactions are
    /// all in one log.
    ///
    /// The latency of a transaction with a connection of its own is from the end of its client's
    /// one before: pgbench leaves the connecting out.
    ///
    /// # Errors
    /// Quotes a line that is not as known.
    pub(super) fn add(&mut self, log: &str, during: Range<u64>, connect: Connect) -> Result<()> {
        let mut done_before = HashMap::new();
        for line in log.lines() {
            let Line { client, latency, done_at } =
                Line::read(line).with_context(|| format!("pgbench's log has the line `{line}`"))?;
            let before = done_before.insert(client, done_at);
            if !during.contains(&done_at) {
                continue;
            }
            self.transactions += 1;
            let latency = match connect {
                Connect::Once => Some(latency),
                Connect::PerTransaction => before.map(|before| done_at.saturating_sub(before)),
            };
            self.latencies.extend(latency.and_then(|latency| u32::try_from(latency).ok()));
        }
        Ok(())
    }

    /// Percentiles of the latency, in milliseconds; `None` if nothing was seen.
    pub(super) fn percentiles<const N: usize>(mut self, percents: [usize; N]) -> Option<[f64; N]> {
        self.latencies.sort_unstable();
        let count = self.latencies.len();
        let at = |percent| self.latencies.get(count * percent / 100).copied();
        let all = percents.map(at);
        all.iter()
            .all(Option::is_some)
            .then(|| all.map(|latency| f64::from(latency.unwrap_or_default()) / 1000.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_in_the_time_counts_and_nothing_else() {
        let log = "0 1 500 0 10 0\n1 1 700 0 10 999999\n0 2 900 0 11 0\n0 3 100 0 12 0\n";
        let mut seen = Seen::default();
        seen.add(log, 10_500_000..12_000_000, Connect::Once).unwrap();
        assert_eq!(seen.transactions, 2);
        assert_eq!(seen.percentiles([0, 50, 99]), Some([0.7, 0.9, 0.9]));
    }

    #[test]
    fn with_a_connection_each_the_time_since_the_last_one_counts() {
        let log = "0 1 5 0 10 0\n1 1 7 0 10 100\n0 2 9 0 10 2000\n1 2 9 0 10 5100\n";
        let mut seen = Seen::default();
        seen.add(log, 10_000_000..11_000_000, Connect::PerTransaction).unwrap();
        assert_eq!(seen.transactions, 4);
        assert_eq!(seen.percentiles([0, 99]), Some([2.0, 5.0]));
    }

    #[test]
    fn more_fields_are_left_alone_and_fewer_are_an_error() {
        let mut seen = Seen::default();
        seen.add("0 1 5 0 10 0 17 1\n", 0..20_000_000, Connect::Once).unwrap();
        assert_eq!(seen.transactions, 1);
        let error = seen.add("0 1 5 skipped\n", 0..1, Connect::Once).unwrap_err().to_string();
        assert!(error.contains("`0 1 5 skipped`"), "{error}");
        assert_eq!(Seen::default().percentiles([50]), None);
    }
}
