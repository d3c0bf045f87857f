//! Metrics as text, in the format of OpenMetrics or in the one before it.
//!
//! Sources: OpenMetrics 1.0.0; Prometheus, "Exposition formats", text format 0.0.4.

use std::fmt::Write;

use super::{BUCKET_TEXTS, BUCKETS, Kind, Metric};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus.
    Text,
}

impl Format {
    /// As an HTTP header says it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// What somebody gets whose `Accept` header this is: OpenMetrics if it is wanted at least as much
    /// as plain text.
    pub fn accepted(header: &str) -> Self {
        let mut wanted: Option<f64> = None;
        let mut text = 0.0;
        for range in header.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
            let (mut quality, mut version) = (1.0, None);
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                match name.trim() {
                    "q" => quality = value.trim().parse().unwrap_or(0.0),
                    "version" => version = Some(value.trim()),
                    _ => {}
                }
            }
            match &*kind {
                "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
                    wanted = Some(wanted.unwrap_or(0.0).max(quality));
                }
                "text/plain" => text = f64::max(text, quality),
                _ => {}
            }
        }
        match wanted {
            Some(quality) if quality > 0.0 && quality >= text => Self::OpenMetrics,
            _ => Self::Text,
        }
    }
}

/// A value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Whole.
    Whole(u64),
    /// With a fraction.
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<u32> for Number {
    fn from(number: u32) -> Self {
        Self::Whole(number.into())
    }
}

impl From<usize> for Number {
    fn from(number: usize) -> Self {
        Self::Whole(number as u64)
    }
}

impl From<bool> for Number {
    fn from(is_so: bool) -> Self {
        Self::Whole(is_so.into())
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Whole(number) => number.fmt(f),
            Self::Real(number) => number.fmt(f),
        }
    }
}

/// Metrics that are being written.
///
/// ```
/// use pgherd_core::metrics::{Exposition, Format, catalogue};
///
/// let mut text = Exposition::new(Format::OpenMetrics);
/// text.family(&catalogue::NODE_LEASES).value(&["shard-0"], 7u64);
/// let text = text.finish();
/// assert!(text.contains("pgherd_node_leases_total{node=\"shard-0\"} 7\n"));
/// assert!(text.ends_with("# EOF\n"));
/// ```
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self { format, text: String::new() }
    }

    /// Begins a metric: all its samples follow. A metric is begun once.
    pub fn family(&mut self, metric: &'static Metric) -> Samples<'_> {
        let Metric { name, kind, unit, about, .. } = metric;
        let text = &mut self.text;
        match self.format {
            Format::OpenMetrics => {
                put(text, format_args!("# TYPE {name} {}\n", kind.as_str()));
                if let Some(unit) = unit {
                    put(text, format_args!("# UNIT {name} {unit}\n"));
                }
                put(text, format_args!("# HELP {name} {about}\n"));
            }
            Format::Text => {
                let name = metric.sample_name();
                let kind = if *kind == Kind::Info { Kind::Gauge } else { *kind };
                put(text, format_args!("# HELP {name} {about}\n"));
                put(text, format_args!("# TYPE {name} {}\n", kind.as_str()));
            }
        }
        Samples { text, metric }
    }

    /// All that was written.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Samples<'e> {
    text: &'e mut String,
    metric: &'static Metric,
}

impl Samples<'_> {
    /// A sample. `labels` are the values of the metric's labels, in their order.
    pub fn value(&mut self, labels: &[&str], value: impl Into<Number>) {
        debug_assert_ne!(self.metric.kind, Kind::Histogram, "{}", self.metric.name);
        self.put(self.metric.kind.suffix(), labels, None, value.into());
    }

    /// A histogram: how many times there are in each bucket, and the sum of all in nanoseconds.
    pub fn times(&mut self, labels: &[&str], counts: &[u64; BUCKETS], nanos: u64) {
        debug_assert_eq!(self.metric.kind, Kind::Histogram, "{}", self.metric.name);
        let mut count = 0;
        for (bound, in_bucket) in BUCKET_TEXTS.iter().zip(counts) {
            count += in_bucket;
            self.put("_bucket", labels, Some(bound), count.into());
        }
        self.put("_count", labels, None, count.into());
        self.put("_sum", labels, None, (nanos as f64 / 1e9).into());
    }

    fn put(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: Number) {
        let Metric { name, labels: names, .. } = self.metric;
        debug_assert_eq!(labels.len(), names.len(), "{name}: {labels:?}");
        put(self.text, format_args!("{name}{suffix}"));
        let all = names.iter().zip(labels).map(|(name, value)| (*name, *value));
        let all = all.chain(bound.map(|bound| ("le", bound)));
        let mut lead = '{';
        for (name, value) in all {
            put(self.text, format_args!("{lead}{name}=\""));
            put_escaped(self.text, value);
            self.text.push('"');
            lead = ',';
        }
        if lead == ',' {
            self.text.push('}');
        }
        put(self.text, format_args!(" {value}\n"));
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a text does not fail");
}

fn put_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::catalogue;
    use super::*;

    fn unescaped(value: &str) -> String {
        let (mut plain, mut chars) = (String::new(), value.chars());
        while let Some(c) = chars.next() {
            match (c, c == '\\') {
                (_, true) => match chars.next() {
                    Some('n') => plain.push('\n'),
                    Some(c) => plain.push(c),
                    None => panic!("a lone backslash: {value}"),
                },
                (c, _) => plain.push(c),
            }
        }
        plain
    }

    proptest! {
        #[test]
        fn any_name_is_a_label_and_keeps_to_its_line(name in r#"[\\"\na-z\PC]{0,12}"#) {
            let mut text = Exposition::new(Format::Text);
            text.family(&catalogue::NODE_LEASES).value(&[&name], 1u64);
            let text = text.finish();
            // Prometheus splits at line feeds only.
            let lines: Vec<&str> = text.split_terminator('\n').collect();
            prop_assert_eq!(lines.len(), 3);
            let value = lines[2].strip_prefix("pgherd_node_leases_total{node=\"").unwrap();
            let value = value.strip_suffix("\"} 1").unwrap();
            prop_assert_eq!(unescaped(value), name);
            let quotes = value.replace("\\\\", "").replace("\\\"", "");
            prop_assert!(!quotes.contains('"'));
        }
    }

    #[test]
    fn a_histogram_is_written_in_both_formats() {
        let mut counts = [0; BUCKETS];
        (counts[0], counts[5], counts[BUCKETS - 1]) = (1, 2, 3);
        let written = |format| {
            let mut text = Exposition::new(format);
            text.family(&catalogue::NODE_QUERY_DURATION).times(&["n"], &counts, 1_500_000_000);
            text.finish()
        };
        let (new, old) = (written(Format::OpenMetrics), written(Format::Text));
        let name = catalogue::NODE_QUERY_DURATION.name;
        for text in [&new, &old] {
            assert!(
                text.contains(&format!("{name}_bucket{{node=\"n\",le=\"0.001\"}} 3\n")),
                "{text}"
            );
            assert!(
                text.contains(&format!("{name}_bucket{{node=\"n\",le=\"+Inf\"}} 6\n")),
                "{text}"
            );
            assert!(text.contains(&format!("{name}_count{{node=\"n\"}} 6\n")), "{text}");
            assert!(text.contains(&format!("{name}_sum{{node=\"n\"}} 1.5\n")), "{text}");
        }
        assert!(new.contains(&format!("# UNIT {name} seconds\n")) && new.ends_with("# EOF\n"));
        assert!(!old.contains("# UNIT") && !old.contains("# EOF"));
    }

    #[test]
    fn who_wants_open_metrics_gets_it() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0,\
                             application/openmetrics-text;version=0.0.1;q=0.75,\
                             text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for header in [
            of_prometheus,
            "application/openmetrics-text",
            "application/openmetrics-text; version=1.0.0; q=0.5, text/plain; q=0.4",
        ] {
            assert_eq!(Format::accepted(header), Format::OpenMetrics, "{header}");
        }
        for header in [
            "",
            "*/*",
            "text/plain",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=9.0.0",
            "application/openmetrics-text;q=0.4,text/plain",
            "text/html;;q=,=,",
        ] {
            assert_eq!(Format::accepted(header), Format::Text, "{header}");
        }
    }
}
