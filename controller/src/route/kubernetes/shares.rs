//! Weights as a mesh's objects have them.

use std::fmt::{self, Display};

use serin_filter::table::{BUCKETS, Weight};

/// Two weights as an object has them: each version's share is its part of the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// The baseline's weight.
    pub baseline: u32,
    /// The candidate's weight.
    pub candidate: u32,
}

impl Shares {
    /// In parts per million.
    pub(super) fn ppm(candidate: Weight) -> Self {
        Self { baseline: candidate.rest().ppm(), candidate: candidate.ppm() }
    }

    /// In percent, if the weight is a whole percentage.
    pub(super) fn percent(candidate: Weight) -> Option<Self> {
        const PERCENT: u32 = BUCKETS / 100;
        let Self { baseline, candidate } = Self::ppm(candidate);
        let whole = candidate.is_multiple_of(PERCENT);
        whole.then_some(Self { baseline: baseline / PERCENT, candidate: candidate / PERCENT })
    }

    /// The candidate's share, to the nearest part per million; `None` if neither version has any.
    pub(super) fn candidate_weight(self) -> Option<Weight> {
        let sum = u64::from(self.baseline) + u64::from(self.candidate);
        let ppm = (u64::from(self.candidate) * u64::from(BUCKETS) + sum / 2).checked_div(sum)?;
        Weight::from_ppm(u32::try_from(ppm).ok()?)
    }
}

impl Display for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} and {}", self.baseline, self.candidate)
    }
}
