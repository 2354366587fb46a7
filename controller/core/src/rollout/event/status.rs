//! The status of a rollout in progress.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::seconds;
use crate::judge::Interval;
use crate::split::ppm;

/// The status of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// The stage.
    pub stage: Stage,
    /// Number of the step, from 1; `None` in the A/A test, in the rollback window and during a
    /// rollback.
    pub step: Option<usize>,
    /// The number of steps.
    pub steps: usize,
    /// The candidate's last requested weight in parts per million.
    #[serde(with = "ppm")]
    #[schemars(with = "Weight")]
    pub weight: Weight,
    /// Whether every worker follows the weight.
    pub live: bool,
    /// The baseline since the step went live.
    pub baseline: ArmStatus,
    /// The candidate since the step went live.
    pub candidate: ArmStatus,
    /// The e-value: the candidate counts as worse at `limit`.
    pub evidence: f64,
    /// 1/alpha.
    pub limit: f64,
    /// The failure rate that the step could detect so far.
    pub sensitivity: Sensitivity,
    /// The candidate's failure rate minus the baseline's.
    pub difference: Interval,
    /// The step's progress towards non-inferiority, if its gate requires it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferiority: Option<NonInferiorityStatus>,
    /// The time that the step has been live.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub baked: Duration,
    /// The time that the step must be live.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub bake: Duration,
    /// Requests that the candidate must answer in the step.
    pub requests_needed: u64,
    /// Time to promotion without incidents, once an estimate exists.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds::optional")]
    #[schemars(with = "Option<f64>")]
    pub time_left: Option<Duration>,
    /// Requests with an identity so far in the A/A test. During the test `baked`, `bake` and
    /// `requests_needed` describe it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aa_test_requests: Option<u64>,
    /// The plan's metrics, once measured in the step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// A limitation of the bound on false rollbacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
    /// Whether the rollout is paused, by a person or by a step timeout.
    pub paused: bool,
    /// The end of the present freeze.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_end: Option<String>,
    /// The condition that blocks the rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<String>,
}

/// The stage of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Hooks run before the first split.
    Preparing,
    /// The A/A test runs before the first step.
    AaTesting,
    /// A step.
    Step,
    /// The candidate serves all users, in the rollback window.
    Promoted,
    /// All traffic moves back to the baseline.
    RollingBack,
    /// Notifications of the end are pending, or the rollout has ended.
    Ending,
}

/// The sensitivity of a step: the harm that it could have detected.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Sensitivity {
    /// The step detects this failure rate and higher ones.
    Detects {
        /// The smallest detectable failure rate, 0 to 1.
        failure_rate: f64,
    },
    /// The step detects no failure rate: it has too few requests.
    Nothing,
    /// No baseline is left to compare with; the objectives apply to the candidate.
    Objectives,
    /// No baseline is left to compare with, and the plan has no objectives.
    NoBaseline,
    /// Only requests that ask for the candidate reach it. Each of their failures counts.
    Preview {
        /// The number of these requests.
        requests: u64,
    },
}

/// A step's progress towards non-inferiority within the margins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NonInferiorityStatus {
    /// The e-value: non-inferiority is shown at `limit`.
    pub evidence: f64,
    /// 1 / (1 - confidence).
    pub limit: f64,
    /// The approximate number of candidate requests needed at this split if the candidate equals
    /// the baseline; `None` if no number suffices.
    pub requests_needed: Option<u64>,
}

/// The last sample of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// The metric's name.
    pub name: String,
    /// The rule in words.
    pub limit: String,
    /// The baseline's value, if queried and known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// The candidate's value, if known.
    pub candidate: Option<f64>,
    /// The number of consecutive bad values.
    pub bad: u32,
    /// The number of consecutive bad values that start a rollback.
    pub consecutive: u32,
}

/// The status of one version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmStatus {
    /// The version.
    pub version: VersionName,
    /// Completed requests.
    pub requests: u64,
    /// Failed requests.
    pub failures: u64,
    /// The failure rate, 0 to 1.
    pub failure_rate: Option<f64>,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of latency in milliseconds.
    pub p99_ms: Option<f64>,
}
