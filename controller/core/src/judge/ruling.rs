//! What a judge says.

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::settings::Objective;
use super::sli::Sli;

/// What the judge says after a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    /// Number of the block, from 1.
    pub number: u64,
    /// When the block ended, in seconds since the rollout began.
    pub seconds: f64,
    /// The block.
    pub block: Block,
    /// By how much the candidate's users fail more often without its doing: the margin of errors was wider by that. 0 to 1.
    pub errors_bias: f64,
    /// ln E of the error test alone.
    pub ln_e_errors: f64,
    /// ln E of the latency test alone, if latency is judged.
    pub ln_e_latency: Option<f64>,
    /// ln E of the objectives where there is no baseline, if there are any.
    pub ln_e_objectives: Option<f64>,
    /// ln E of everything, which decides on harm.
    pub ln_e: f64,
    /// ln E of the candidate being no worse than its margins, under the present split: the least of all SLIs. If it is asked for.
    pub ln_e_safe: Option<f64>,
    /// What the evidence says.
    pub verdict: Verdict,
}

/// What the evidence says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Neither harm nor the absence of it is shown.
    Undecided,
    /// By every SLI the candidate is no worse than its margin allows.
    Safe,
    /// The candidate misses this objective, but is no worse than the baseline by more than its margins: a reason to wait, not to roll back.
    Unhealthy(Objective),
    /// The candidate is worse than its margins allow, by this SLI before all.
    Harm(Cause),
}

/// What made the difference.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// It is worse than the baseline.
    Worse(Sli),
    /// It misses an objective, and there is no baseline to share the blame with.
    Misses(Objective),
}

impl Cause {
    /// What it is about.
    #[must_use]
    pub fn sli(self) -> Sli {
        match self {
            Self::Worse(sli) | Self::Misses(Objective { sli, .. }) => sli,
        }
    }
}
