//! The counts of one version since the last poll.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_filter::histogram;
use serin_filter::outcome::Failure;
use serin_filter::select::Reason;
use serin_filter::stat::Stat;

use super::counters::Counters;
use crate::judge::Arm;

/// What one version did between two looks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VersionDelta {
    /// Requests for which it was chosen.
    pub chosen: u64,
    /// Of those: requests that another version's cluster served.
    pub misrouted: u64,
    /// Of those chosen: requests that a cluster served which is no version's.
    pub unmatched: u64,
    /// Requests that it served and that ended.
    pub requests: u64,
    /// Failures among those, by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Those that took longer than each boundary of the [`histogram`].
    pub slower: Vec<u64>,
    /// Requests that it served because somebody picked it; they are in none of the counts above but `chosen`.
    pub pinned: u64,
    /// Failures among those.
    pub pinned_failures: u64,
}

impl VersionDelta {
    /// What these counters stand for.
    #[must_use]
    pub fn new(counts: &Counters) -> Self {
        let count = |stat| counts.count(stat);
        let all = count(Stat::LatencyBucket(histogram::BOUNDARIES));
        let slower = |bucket| all.saturating_sub(count(Stat::LatencyBucket(bucket)));
        let failures = Failure::ALL.map(|failure| (failure, count(Stat::Failures(failure))));
        Self {
            chosen: Reason::ALL.iter().map(|reason| count(Stat::Chosen(*reason))).sum(),
            misrouted: count(Stat::Misrouted),
            unmatched: count(Stat::Unmatched),
            requests: all,
            failures: failures.into_iter().filter(|(_, count)| *count > 0).collect(),
            slower: (0..histogram::BOUNDARIES).map(slower).collect(),
            pinned: count(Stat::Pinned),
            pinned_failures: count(Stat::PinnedFailures),
        }
    }

    /// Adds what happened in another stretch.
    pub fn add(&mut self, other: &Self) {
        self.chosen += other.chosen;
        self.misrouted += other.misrouted;
        self.unmatched += other.unmatched;
        self.requests += other.requests;
        self.pinned += other.pinned;
        self.pinned_failures += other.pinned_failures;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        self.slower.resize(histogram::BOUNDARIES, 0);
        for (mine, theirs) in self.slower.iter_mut().zip(&other.slower) {
            *mine += theirs;
        }
    }

    /// As the judge counts. The proxy is read while it counts, so a failure may show before its request.
    #[must_use]
    pub fn arm(&self) -> Arm {
        let failures = self.failures.values().sum::<u64>().min(self.requests);
        Arm { requests: self.requests, failures, slower: self.slower.clone() }
    }

    /// Without the requests that are in no bucket below the last boundary. How long they took is not known; one that the proxy had counted
    /// but not yet put into its bucket when it was read looks like them.
    #[must_use]
    pub fn within_boundaries(mut self) -> Self {
        let beyond = self.slower.last().copied().unwrap_or(0);
        self.requests = self.requests.saturating_sub(beyond);
        for slower in &mut self.slower {
            *slower = slower.saturating_sub(beyond);
        }
        self
    }

    /// The latency in milliseconds that a share `q` of the requests (0 to 1) did not exceed, interpolated within its bucket; `None` without
    /// requests.
    #[must_use]
    pub fn quantile_ms(&self, q: f64) -> Option<f64> {
        if self.requests == 0 {
            return None;
        }
        let rank = q * self.requests as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (slower, boundary) in self.slower.iter().zip(histogram::BOUNDARIES_US) {
            let (upto, upper) = ((self.requests - slower) as f64, f64::from(boundary) / 1_000.0);
            if upto >= rank {
                let within = if upto > below { (rank - below) / (upto - below) } else { 1.0 };
                return Some(lower + (upper - lower) * within);
            }
            (below, lower) = (upto, upper);
        }
        Some(lower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let mut activity = VersionDelta { requests: 100, ..VersionDelta::default() };
        // 90 requests between 10 and 12.5 ms, 10 beyond the last boundary.
        let ten = histogram::bucket(10_000);
        activity.slower =
            (0..histogram::BOUNDARIES).map(|b| if b <= ten { 100 } else { 10 }).collect();
        assert_eq!(activity.quantile_ms(0.45), Some(11.25));
        assert_eq!(activity.quantile_ms(0.99), Some(100_000.0));
        assert_eq!(VersionDelta::default().quantile_ms(0.5), None);
        // Those without a bucket left out.
        let within = activity.within_boundaries();
        assert_eq!((within.requests, within.quantile_ms(0.5)), (90, Some(11.25)));
    }
}
