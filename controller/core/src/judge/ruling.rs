//! The ruling of the judge.

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::settings::Objective;
use super::sli::Sli;

/// The ruling after a block.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ruling {
    /// Number of the block, from 1.
    pub number: u64,
    /// When the block ended, in seconds since the rollout began.
    pub seconds: f64,
    /// The block.
    pub block: Block,
    /// The excess failure rate of the candidate's users at the baseline, by which the margin was
    /// widened. 0 to 1.
    pub errors_bias: f64,
    /// ln E of the error test alone.
    pub ln_e_errors: f64,
    /// ln E of the latency test alone, if latency is judged.
    pub ln_e_latency: Option<f64>,
    /// ln E of the objectives without a baseline, if there are any.
    pub ln_e_objectives: Option<f64>,
    /// ln E of harm, which decides.
    pub ln_e: f64,
    /// ln E of the candidate being no worse than its margins under the current split, for the SLI
    /// with the least evidence; `None` without `confidence`.
    pub ln_e_safe: Option<f64>,
    /// The conclusion from the evidence.
    pub verdict: Verdict,
}

/// The conclusion from the evidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// Neither harm nor its absence is shown.
    Undecided,
    /// The candidate is no worse than its margins in every SLI.
    Safe,
    /// The candidate misses this objective without being worse than its margins: a reason to wait,
    /// not to roll back.
    Unhealthy(Objective),
    /// The candidate is worse than its margins, mainly by this cause.
    Harm(Cause),
}

/// The cause of harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Cause {
    /// The candidate is worse than the baseline.
    Worse(Sli),
    /// The candidate misses an objective, without a baseline that shares the blame.
    Misses(Objective),
}

impl Cause {
    /// The SLI.
    #[must_use]
    pub fn sli(self) -> Sli {
        match self {
            Self::Worse(sli) | Self::Misses(Objective { sli, .. }) => sli,
        }
    }
}
