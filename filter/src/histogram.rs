//! The latency histogram: fixed boundaries from 0.1 ms to 100 s, ten per decade.
//!
//! Fixed boundaries make counts of different proxies, restarts and versions comparable. Decimal
//! boundaries include common objectives (250 ms, 500 ms, 1 s), so that the number of slower
//! requests is a count and not an interpolation.

/// Boundaries within a decade, in hundredths.
const MANTISSAS: [u32; 10] = [100, 125, 150, 200, 250, 300, 400, 500, 600, 800];

/// Decades from 100 us to 100 s.
const DECADES: usize = 6;

/// Number of boundaries. The bucket `+Inf` has none.
pub const BOUNDARIES: usize = MANTISSAS.len() * DECADES + 1;

/// Number of buckets.
pub const BUCKETS: usize = BOUNDARIES + 1;

/// Inclusive upper bounds of the buckets, in microseconds.
pub const BOUNDARIES_US: [u32; BOUNDARIES] = boundaries();

#[allow(clippy::indexing_slicing)] // evaluated at compile time
const fn boundaries() -> [u32; BOUNDARIES] {
    let mut all = [0; BOUNDARIES];
    let mut scale = 1;
    let mut index = 0;
    while index < BOUNDARIES {
        all[index] = MANTISSAS[index % MANTISSAS.len()] * scale;
        index += 1;
        if index.is_multiple_of(MANTISSAS.len()) {
            scale *= 10;
        }
    }
    all
}

/// The index of the bucket of a latency.
#[must_use]
pub fn bucket(latency_us: u64) -> usize {
    BOUNDARIES_US.partition_point(|boundary| u64::from(*boundary) < latency_us)
}

/// The Prometheus label `le` of a bucket: its upper bound in milliseconds, or `+Inf`.
#[must_use]
pub fn label(bucket: usize) -> String {
    match BOUNDARIES_US.get(bucket) {
        // Integer arithmetic: formatting of floats would be a tenth of the Wasm module.
        Some(boundary) => match (boundary / 1_000, boundary % 1_000) {
            (whole, 0) => whole.to_string(),
            (whole, part) => format!("{whole}.{part:03}").trim_end_matches('0').to_owned(),
        },
        None => "+Inf".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_decimal_and_ascending() {
        assert_eq!(BOUNDARIES_US[..4], [100, 125, 150, 200]);
        assert_eq!(BOUNDARIES_US[BOUNDARIES - 1], 100_000_000);
        assert!(BOUNDARIES_US.windows(2).all(|pair| pair[0] < pair[1]));
        assert!([250_000, 500_000, 1_000_000].iter().all(|slo| BOUNDARIES_US.contains(slo)));
    }

    #[test]
    fn upper_bounds_are_inclusive() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(100), 0);
        assert_eq!(bucket(101), 1);
        assert_eq!(bucket(100_000_000), BOUNDARIES - 1);
        assert_eq!(bucket(u64::MAX), BOUNDARIES);
    }

    #[test]
    fn labels_are_in_milliseconds() {
        let labels = [0, 1, bucket(2_500), bucket(250_000), BOUNDARIES].map(label);
        assert_eq!(labels, ["0.1", "0.125", "2.5", "250", "+Inf"]);
    }
}
