//! What a judge goes by.

use serde::{Deserialize, Serialize};

use super::coin_flip::Margin;
use super::sli::Sli;

/// What the judge goes by.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// The chance of a rollback that a candidate no worse than its margins may run, over the whole rollout. Above 0, below 1.
    pub alpha: f64,
    /// How much more often than the baseline's the candidate's requests may fail.
    pub errors: Margin,
    /// How much more often they may be slower than any boundary; `None` leaves latency out.
    pub latency: Option<Margin>,
    /// Upper limits of latency in milliseconds, rising. Blocks count the slower requests for each.
    pub boundaries_ms: Vec<f64>,
    /// What the candidate has to keep to, whatever the baseline does.
    pub objectives: Vec<Objective>,
    /// How sure to be that the candidate is no worse than its margins, above 0 and below 1; `None` gathers no evidence of that.
    pub confidence: Option<f64>,
    /// How many slots the rollout is expected to last. See [`crate::judge::wealth`] for what they do.
    pub slots: u32,
    /// Length of a slot in seconds.
    pub slot_seconds: f64,
    /// Whether one block may add at most `ln(1/alpha)/2` to the evidence, so that no single look, perhaps askew, decides.
    pub cap: bool,
    /// Counts are gathered until both versions have this many requests.
    pub block_min: u64,
    /// By how much bad requests come in bursts that hit one version: variance / mean of the counts of a second, at least 1.
    pub dispersion: f64,
}

/// An absolute objective: at most this share of the requests is bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// Bad in what.
    pub sli: Sli,
    /// The share allowed, above 0 and below 0.999.
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

/// The share that each kind of test has in the evidence.
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

    /// The evidence at which the candidate is no worse than its margins, where that is asked for.
    #[must_use]
    pub fn safe_at(&self) -> Option<f64> {
        self.confidence.map(|confidence| -(1.0 - confidence).ln())
    }

    /// The margin of latency, if there is anything to judge by it.
    pub(super) fn judged_latency(&self) -> Option<Margin> {
        self.latency.filter(|_| !self.boundaries_ms.is_empty())
    }

    /// Weights that add up to 1 over what is judged: 5 for errors, 3 for latency, 2 for objectives.
    pub(super) fn weights(&self) -> Weights {
        let latency = if self.judged_latency().is_some() { 3.0 } else { 0.0 };
        let objectives = if self.objectives.is_empty() { 0.0 } else { 2.0 };
        let all = 5.0 + latency + objectives;
        Weights { errors: 5.0 / all, latency: latency / all, objectives: objectives / all }
    }
}

/// What the blocks of one split are judged by, besides the settings.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SplitContext {
    /// Whether the candidate serves everybody. Then there is nothing to compare with, and only objectives are judged.
    pub single_arm: bool,
    /// What is known of the candidate's users.
    pub slice: Slice,
}

/// What is known beforehand of the users who meet the candidate. See [`super::balance`] for where it is from; nothing, by default.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Slice {
    /// How they differ from the others without the candidate's doing.
    pub bias: Bias,
    /// The share of all requests that they send, as lower and upper limit; `None` if it is not known.
    pub share: Option<(f64, f64)>,
}

/// By how much the requests of the candidate's users are bad more often than others' even at the baseline: upper limits, 0 to 1. They
/// widen the margins.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bias {
    /// In the share that fails.
    pub errors: f64,
    /// In the share slower than each boundary; none for those that are absent.
    pub latency: Vec<f64>,
}
