//! Latency distributions over the histogram's buckets.

use rand::RngExt;
use rand::rngs::SmallRng;
use serin_filter::histogram::{BOUNDARIES_US, BUCKETS};

use super::traffic::{FaultKind, LatencyModel};

/// The size of the lookup table: each entry holds the bucket of an equal part of probability.
const GUIDE: usize = 256;

/// A distribution over the buckets.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    /// The cumulative probability of each bucket.
    cumulative: [f64; BUCKETS],
    guide: [u8; GUIDE],
}

impl Buckets {
    /// Healthy requests.
    pub(super) fn healthy(latency: LatencyModel) -> Self {
        Self::new(|ms| latency.at_most(ms))
    }

    /// Requests of a candidate with this fault.
    pub(super) fn faulty(latency: LatencyModel, fault: FaultKind) -> Self {
        match fault {
            FaultKind::Errors(_) | FaultKind::Timeouts(..) => Self::healthy(latency),
            FaultKind::Slower(factor) => Self::new(|ms| latency.at_most(ms / factor)),
            FaultKind::Tail(share, by) => {
                let by = by.as_secs_f64() * 1_000.0;
                Self::new(|ms| {
                    (1.0 - share) * latency.at_most(ms) + share * latency.at_most(ms - by)
                })
            }
        }
    }

    fn new(at_most: impl Fn(f64) -> f64) -> Self {
        let mut cumulative = [1.0; BUCKETS];
        for (chance, boundary) in cumulative.iter_mut().zip(BOUNDARIES_US) {
            *chance = at_most(f64::from(boundary) / 1_000.0);
        }
        let mut guide = [0; GUIDE];
        for (part, first) in guide.iter_mut().enumerate() {
            let from = part as f64 / GUIDE as f64;
            let bucket = cumulative.partition_point(|chance| *chance <= from);
            *first = u8::try_from(bucket.min(BUCKETS - 1)).unwrap_or(u8::MAX);
        }
        Self { cumulative, guide }
    }

    /// Draws the bucket of a request.
    pub(super) fn draw(&self, rng: &mut SmallRng) -> usize {
        let drawn: f64 = rng.random();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // 0 to below GUIDE
        let part = (drawn * GUIDE as f64) as usize;
        let first = self.guide.get(part).copied().map_or(0, usize::from);
        let rest = self.cumulative.iter().skip(first);
        (first + rest.take_while(|chance| **chance <= drawn).count()).min(BUCKETS - 1)
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn half_is_below_the_median_and_one_in_a_hundred_above_the_p99() {
        let buckets = Buckets::healthy(LatencyModel { median_ms: 50.0, p99_ms: 250.0 });
        let mut rng = SmallRng::seed_from_u64(1);
        let drawn: Vec<usize> = (0..100_000).map(|_| buckets.draw(&mut rng)).collect();
        let above = |us: u32| {
            let bucket = serin_filter::histogram::bucket(u64::from(us));
            drawn.iter().filter(|drawn| **drawn > bucket).count()
        };
        assert!(above(50_000).abs_diff(50_000) < 1_000, "{}", above(50_000));
        assert!(above(250_000).abs_diff(1_000) < 150, "{}", above(250_000));
    }
}
