//! The counts of both versions in one interval.

use serde::{Deserialize, Serialize};

use super::sli::Sli;

/// The counts of one version.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Arm {
    /// Requests that ended in an answer or a failure.
    pub requests: u64,
    /// The failures among them.
    pub failures: u64,
    /// For each latency boundary of the judge, the requests among them that took longer.
    pub slower: Vec<u64>,
}

impl Arm {
    /// Adds the counts of `other`.
    pub fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failures += other.failures;
        self.slower.resize(self.slower.len().max(other.slower.len()), 0);
        for (mine, theirs) in self.slower.iter_mut().zip(&other.slower) {
            *mine += theirs;
        }
    }

    /// Requests slower than the boundary with this index; none, if there is no such boundary.
    #[must_use]
    pub fn slower_than(&self, boundary: usize) -> u64 {
        self.slower.get(boundary).copied().unwrap_or(0)
    }

    /// Requests that are bad by `sli`.
    #[must_use]
    pub fn bad(&self, sli: Sli) -> u64 {
        match sli {
            Sli::Errors => self.failures,
            Sli::Latency { boundary } => self.slower_than(boundary),
        }
    }

    /// The share of failures, 0 to 1; `None` without requests.
    #[must_use]
    pub fn failure_rate(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.failures as f64 / self.requests as f64)
    }
}

/// The counts of both versions in the same interval.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Block {
    /// The running version.
    pub baseline: Arm,
    /// The new version.
    pub candidate: Arm,
}

impl Block {
    /// Adds the counts of another interval.
    pub fn add(&mut self, other: &Self) {
        self.baseline.add(&other.baseline);
        self.candidate.add(&other.candidate);
    }

    /// Requests of the version with fewer requests.
    #[must_use]
    pub fn smaller_arm(&self) -> u64 {
        self.baseline.requests.min(self.candidate.requests)
    }
}
