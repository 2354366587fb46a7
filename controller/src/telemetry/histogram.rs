//! Spans of time, counted in buckets.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper boundaries of the buckets, in milliseconds. What is longer than the last is in none but the one for all.
const BOUNDARIES_MS: [u64; 13] = [1, 2, 5, 10, 25, 50, 100, 150, 250, 500, 1_000, 2_500, 5_000];

/// How many spans there were of which length.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    /// By the first boundary that is not exceeded; the last is for what exceeds all.
    counts: [AtomicU64; BOUNDARIES_MS.len() + 1],
    /// Of all spans, in microseconds.
    sum_us: AtomicU64,
}

impl Histogram {
    /// Counts a span.
    pub(crate) fn observe(&self, span: Duration) {
        let within = |boundary: &u64| span <= Duration::from_millis(*boundary);
        let bucket = BOUNDARIES_MS.iter().position(within).unwrap_or(BOUNDARIES_MS.len());
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Adds it to a page for Prometheus, in seconds.
    pub(super) fn show(&self, page: &mut String, name: &str, help: &str) {
        let boundaries = BOUNDARIES_MS.map(|ms| (ms as f64 / 1e3).to_string());
        let boundaries = boundaries.into_iter().chain(["+Inf".to_owned()]);
        let mut so_far = 0;
        // Writing to a string does not fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (boundary, count) in boundaries.zip(&self.counts) {
            so_far += count.load(Ordering::Relaxed);
            let _ = writeln!(page, "{name}_bucket{{le=\"{boundary}\"}} {so_far}");
        }
        let sum = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(page, "{name}_sum {sum}\n{name}_count {so_far}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_up_to_each_boundary() {
        let histogram = Histogram::default();
        for ms in [1, 3, 3, 250, 9_000] {
            histogram.observe(Duration::from_millis(ms));
        }
        let mut page = String::new();
        histogram.show(&mut page, "waited_seconds", "How long.");
        for line in [
            "# TYPE waited_seconds histogram",
            "waited_seconds_bucket{le=\"0.001\"} 1",
            "waited_seconds_bucket{le=\"0.005\"} 3",
            "waited_seconds_bucket{le=\"0.15\"} 3",
            "waited_seconds_bucket{le=\"0.25\"} 4",
            "waited_seconds_bucket{le=\"5\"} 4",
            "waited_seconds_bucket{le=\"+Inf\"} 5",
            "waited_seconds_sum 9.257",
            "waited_seconds_count 5",
        ] {
            assert!(page.lines().any(|view| view == line), "{line}\nis not in\n{page}");
        }
    }
}
