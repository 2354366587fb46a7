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

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The verdict.
    pub verdict: RolloutVerdict,
    /// Why, unless promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RollbackReason>,
    /// The service.
    pub service: ServiceName,
    /// The version that ran.
    pub baseline: VersionName,
    /// The version that was to replace it.
    pub candidate: VersionName,
    /// The candidate's weight at the end, in parts per million.
    #[serde(with = "ppm")]
    #[schemars(with = "Weight")]
    pub weight: Weight,
    /// The generation that carries it.
    pub generation: Generation,
    /// Whether every worker confirmed it.
    pub confirmed: bool,
    /// How long the rollout took.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Requests that the candidate served.
    pub candidate_requests: u64,
    /// Failures that their callers saw, by kind.
    pub candidate_failures: BTreeMap<Failure, u64>,
}

/// How a rollout can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RolloutVerdict {
    /// The candidate has all traffic.
    Promoted,
    /// The candidate was worse, or a limit was reached; the baseline has all traffic.
    RolledBack,
    /// The user stopped it; the baseline has all traffic.
    Interrupted,
}

impl RolloutVerdict {
    /// Its name in CamelCase, as Kubernetes has it.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Promoted => "Promoted",
            Self::RolledBack => "RolledBack",
            Self::Interrupted => "Stopped",
        }
    }
}
