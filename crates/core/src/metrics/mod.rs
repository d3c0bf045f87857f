//! What is measured: each metric with its name, unit, labels and meaning, how it is written for
//! Prometheus, and the buckets of times.
//!
//! In: values. Out: a text in one of two formats. A metric that is not in the [`catalogue`] cannot be
//! written, and `docs/metrics.md` is made from there.

pub mod catalogue;
mod exposition;
mod times;

pub use exposition::{Exposition, Format, Number, Samples};
pub use times::{BUCKET_TEXTS, BUCKETS, bucket_of};

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name as Prometheus keeps it, but for what a histogram or a counter adds: `_total`, `_bucket`.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// What it is measured in; also the end of its name.
    pub unit: Option<&'static str>,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it tells, in one sentence without quotes.
    pub about: &'static str,
}

/// How a metric moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Up, from 0 at the start.
    Counter,
    /// Up and down.
    Gauge,
    /// Counters of times by how long they were.
    Histogram,
    /// Always 1: the labels are what it tells.
    Info,
}

impl Metric {
    /// The name under which Prometheus has its samples; of a histogram, what they begin with.
    pub fn sample_name(&self) -> String {
        self.name.to_owned() + self.kind.suffix()
    }
}

impl Kind {
    fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    /// What it is called in both formats, but for `info`, which the older one has not.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
        }
    }
}
