//! The counts of one version since the last poll.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_filter::histogram;
use serin_filter::outcome::Failure;
use serin_filter::select::Reason;
use serin_filter::stat::Stat;

use super::counters::Counters;
use crate::judge::Arm;

/// The counts of one version between two polls.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VersionDelta {
    /// Requests for which the version was chosen.
    pub chosen: u64,
    /// Of those: requests that another version's cluster served.
    pub misrouted: u64,
    /// Of those chosen: requests that a cluster of no version served.
    pub unmatched: u64,
    /// Requests that the version served: that ended, or that are streams whose response began.
    pub requests: u64,
    /// Failures among those, by kind.
    pub failures: BTreeMap<Failure, u64>,
    /// Requests slower than each boundary of the [`histogram`].
    pub slower: Vec<u64>,
    /// Requests pinned to the version by an override or a rule. Of the counts above, only `chosen`
    /// contains them.
    pub pinned: u64,
    /// Failures among the pinned requests.
    pub pinned_failures: u64,
}

impl VersionDelta {
    /// Converts counters.
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

    /// Adds the counts of another interval or proxy.
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

    /// Converts to the judge's counts. A stream counts as a request when it begins, and as a
    /// failure when it ends, so the interval can have more failures than requests. Each failure
    /// beyond them is a request that ended in the interval.
    #[must_use]
    pub fn arm(&self) -> Arm {
        let failures = self.failures.values().sum();
        Arm { requests: self.requests.max(failures), failures, slower: self.slower.clone() }
    }

    /// Removes the requests beyond the last boundary, whose latency is unknown. A request counted
    /// but not yet in its bucket looks the same.
    #[must_use]
    pub fn within_boundaries(mut self) -> Self {
        let beyond = self.slower.last().copied().unwrap_or(0);
        self.requests = self.requests.saturating_sub(beyond);
        for slower in &mut self.slower {
            *slower = slower.saturating_sub(beyond);
        }
        self
    }

    /// The `q` quantile (0 to 1) of the latency in milliseconds, interpolated within its bucket;
    /// `None` without requests.
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
        let mut delta = VersionDelta { requests: 100, ..VersionDelta::default() };
        // 90 requests between 10 and 12.5 ms, 10 beyond the last boundary.
        let ten = histogram::bucket(10_000);
        delta.slower =
            (0..histogram::BOUNDARIES).map(|b| if b <= ten { 100 } else { 10 }).collect();
        assert_eq!(delta.quantile_ms(0.45), Some(11.25));
        assert_eq!(delta.quantile_ms(0.99), Some(100_000.0));
        assert_eq!(VersionDelta::default().quantile_ms(0.5), None);
        // Without the requests beyond the last boundary.
        let within = delta.within_boundaries();
        assert_eq!((within.requests, within.quantile_ms(0.5)), (90, Some(11.25)));
    }
}
