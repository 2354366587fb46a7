//! The outcome of a rollout.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::outcome::Failure;
use serin_filter::table::Weight;

use super::reason::RollbackReason;
use super::seconds;
use crate::split::ppm;

/// The outcome of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The verdict.
    pub verdict: RolloutVerdict,
    /// The reason, unless promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RollbackReason>,
    /// The service.
    pub service: ServiceName,
    /// The version that served all users at the start.
    pub baseline: VersionName,
    /// The version to roll out.
    pub candidate: VersionName,
    /// The candidate's weight at the end, in parts per million.
    #[serde(with = "ppm")]
    #[schemars(with = "Weight")]
    pub weight: Weight,
    /// The generation of the last split.
    pub generation: Generation,
    /// Whether every worker confirmed the last split.
    pub confirmed: bool,
    /// The duration of the rollout.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Requests that the candidate served.
    pub candidate_requests: u64,
    /// The candidate's failures by kind.
    pub candidate_failures: BTreeMap<Failure, u64>,
}

/// The verdict on a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RolloutVerdict {
    /// The candidate has all traffic.
    Promoted,
    /// The candidate was worse, or exceeded a limit; the baseline has all traffic.
    RolledBack,
    /// The user interrupted the rollout; the baseline has all traffic.
    Interrupted,
}

impl RolloutVerdict {
    /// The verdict in CamelCase, as a Kubernetes reason.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
            Self::Interrupted => "Stopped",
        }
    }
}
