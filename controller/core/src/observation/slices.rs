//! The counts of the slices of an A/A test.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serin_filter::stat::SliceStat;
use serin_filter::table::Weight;

use crate::judge::Arm;
use crate::judge::balance::SliceObservation;

/// Counts by index of the salt and by slice in parts per million; 1,000,000 counts all users.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SliceCounts(BTreeMap<u32, BTreeMap<u32, Arm>>);

impl SliceCounts {
    /// Sets a count.
    pub fn set(&mut self, salt: u32, slice: u32, watched: SliceStat, count: u64) {
        let arm = self.0.entry(salt).or_default().entry(slice).or_default();
        match watched {
            SliceStat::Requests => arm.requests = count,
            SliceStat::Failures => arm.failures = count,
        }
    }

    /// Adds the counts of another interval or proxy.
    pub fn add(&mut self, other: &Self) {
        for (salt, slices) in &other.0 {
            for (slice, arm) in slices {
                self.0.entry(*salt).or_default().entry(*slice).or_default().add(arm);
            }
        }
    }

    /// The rise of each count since `before`; 0 for a count that fell.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut rise = self.clone();
        for (salt, slices) in &mut rise.0 {
            for (slice, arm) in slices {
                let before = before.count(*salt, *slice);
                arm.requests = arm.requests.saturating_sub(before.requests);
                arm.failures = arm.failures.saturating_sub(before.failures);
            }
        }
        rise
    }

    /// Requests with an identity.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.count(0, Weight::ALL.ppm()).requests
    }

    /// The slices of these weights for each of `salts` salts, as counted so far.
    #[must_use]
    pub fn observed(&self, salts: usize, weights: &[Weight]) -> Vec<Vec<SliceObservation>> {
        let observed = |salt, weight: &Weight| {
            let (inside, all) =
                (self.count(salt, weight.ppm()), self.count(salt, Weight::ALL.ppm()));
            let arm = |requests: u64, failures: u64| Arm {
                requests,
                failures: failures.min(requests),
                slower: Vec::new(),
            };
            SliceObservation {
                outside: arm(
                    all.requests.saturating_sub(inside.requests),
                    all.failures.saturating_sub(inside.failures),
                ),
                inside: arm(inside.requests, inside.failures),
            }
        };
        let salted = |salt| weights.iter().map(|weight| observed(salt, weight)).collect();
        (0..).take(salts).map(salted).collect()
    }

    fn count(&self, salt: u32, slice: u32) -> Arm {
        self.0.get(&salt).and_then(|slices| slices.get(&slice)).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_outside_of_the_slice_are_the_rest() {
        let mut slices = SliceCounts::default();
        for (slice, requests, failures) in [(10_000, 10, 1), (1_000_000, 100, 5)] {
            slices.set(0, slice, SliceStat::Requests, requests);
            slices.set(0, slice, SliceStat::Failures, failures);
        }
        let [seen, unseen] = &slices.observed(2, &[Weight::from_ppm(10_000).unwrap()])[..] else {
            panic!("two salts")
        };
        assert_eq!((seen[0].inside.requests, seen[0].inside.failures), (10, 1));
        assert_eq!((seen[0].outside.requests, seen[0].outside.failures), (90, 4));
        assert_eq!(unseen[0], SliceObservation::default());
        assert_eq!(slices.requests(), 100);
        let more = slices.clone();
        slices.add(&more);
        assert_eq!(slices.since(&more), more);
    }
}
