//! The settings of the judge.

use serde::{Deserialize, Serialize};

use super::coin_flip::Margin;
use super::sli::Sli;

/// The settings of the judge of one rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The probability, over the whole rollout, of rolling back a candidate within its margins.
    /// Above 0, below 1.
    pub alpha: f64,
    /// The tolerated excess of failures.
    pub errors: Margin,
    /// The tolerated excess of requests slower than a boundary; `None` does not judge latency.
    pub latency: Option<Margin>,
    /// Latency boundaries in milliseconds, rising. Blocks count the slower requests for each.
    pub boundaries_ms: Vec<f64>,
    /// Limits that do not depend on the baseline.
    pub objectives: Vec<Objective>,
    /// The required confidence that the candidate is no worse than its margins, above 0 and below
    /// 1; `None` gathers no such evidence.
    pub confidence: Option<f64>,
    /// The number of slots that the rollout is expected to last. See [`crate::judge::wealth`].
    pub slots: u32,
    /// The length of a slot in seconds.
    pub slot_seconds: f64,
    /// Whether one block adds at most `ln(1/alpha)/2` to the evidence, so that no single poll,
    /// perhaps skewed, decides.
    pub cap: bool,
    /// The least requests of each version in a block.
    pub block_min: u64,
    /// The burstiness of bad requests at one version: variance / mean of the counts of a second, at
    /// least 1.
    pub dispersion: f64,
}

/// An absolute objective: a limit on the share of bad requests.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// The kind of bad request.
    pub sli: Sli,
    /// The largest share, above 0 and below 0.999.
    pub at_most: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            alpha: 0.01,
            errors: Margin { relative: 1.2, absolute: 0.001 },
            latency: Some(Margin { relative: 1.1, absolute: 0.005 }),
            boundaries_ms: Vec::new(),
            objectives: Vec::new(),
            confidence: None,
            slots: 30,
            slot_seconds: 60.0,
            cap: true,
            block_min: 5,
            dispersion: 1.0,
        }
    }
}

/// The weight of each kind of test in the evidence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Weights {
    pub(super) errors: f64,
    pub(super) latency: f64,
    pub(super) objectives: f64,
}

impl Settings {
    /// The evidence at which the candidate is worse: ln(1/alpha).
    #[must_use]
    pub fn limit(&self) -> f64 {
        -self.alpha.ln()
    }

    /// The evidence at which the candidate is no worse than its margins; `None` without
    /// `confidence`.
    #[must_use]
    pub fn safe_at(&self) -> Option<f64> {
        self.confidence.map(|confidence| -(1.0 - confidence).ln())
    }

    /// The margin of latency, if there are boundaries.
    pub(super) fn judged_latency(&self) -> Option<Margin> {
        self.latency.filter(|_| !self.boundaries_ms.is_empty())
    }

    /// The weights, with a sum of 1: 5 for errors, 3 for latency, 2 for objectives, of those that
    /// are judged.
    pub(super) fn weights(&self) -> Weights {
        let latency = if self.judged_latency().is_some() { 3.0 } else { 0.0 };
        let objectives = if self.objectives.is_empty() { 0.0 } else { 2.0 };
        let all = 5.0 + latency + objectives;
        Weights { errors: 5.0 / all, latency: latency / all, objectives: objectives / all }
    }
}

/// The context in which the blocks of one split are judged.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitContext {
    /// Whether the candidate serves all users. Then only objectives are judged.
    pub single_arm: bool,
    /// The bounds of the candidate's users.
    pub slice: Slice,
}

/// Bounds of the candidate's users from an A/A test (see [`super::balance`]); none by default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Slice {
    /// The difference from the other users that the candidate does not cause.
    pub bias: Bias,
    /// The lower and upper bound of their share of the requests; `None` if unknown.
    pub share: Option<(f64, f64)>,
}

/// Upper bounds, 0 to 1, of the excess share of bad requests of the candidate's users at the
/// baseline. They widen the margins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bias {
    /// The excess of failures.
    pub errors: f64,
    /// The excess of requests slower than each boundary; 0 for absent ones.
    pub latency: Vec<f64>,
}
