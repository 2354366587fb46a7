//! The status of a rollout in progress.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::VersionName;
use serin_filter::table::Weight;

use super::seconds;
use crate::judge::Interval;
use crate::split::ppm;

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What is being done.
    pub stage: Stage,
    /// Number of the step, from 1; `None` while users are watched, in the rollback window, and while all traffic goes back.
    pub step: Option<usize>,
    /// How many steps there are.
    pub steps: usize,
    /// The candidate's weight in parts per million, as last asked for.
    #[serde(with = "ppm")]
    #[schemars(with = "Weight")]
    pub weight: Weight,
    /// Whether every worker follows it.
    pub live: bool,
    /// The running version, since the step went live.
    pub baseline: ArmStatus,
    /// The new version, since the step went live.
    pub candidate: ArmStatus,
    /// E: at `limit` the candidate is worse.
    pub evidence: f64,
    /// 1/alpha.
    pub limit: f64,
    /// What the step could have seen so far.
    pub sensitivity: Sensitivity,
    /// How much the candidate's failure rate is above the baseline's.
    pub difference: Interval,
    /// How far the step is from showing that there is no harm, if its gate asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferiority: Option<NonInferiorityStatus>,
    /// How long the step has been live, of how long it has to be.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub baked: Duration,
    /// How long the step has to be live.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub bake: Duration,
    /// Requests that the candidate has to answer in the step.
    pub requests_needed: u64,
    /// Time to promotion if nothing goes wrong, once it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "seconds::optional")]
    #[schemars(with = "Option<f64>")]
    pub time_left: Option<Duration>,
    /// Requests with an identity so far, while users are watched; `baked`, `bake` and `requests_needed` are about that then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aa_test_requests: Option<u64>,
    /// The plan's metrics, once they have been measured in the step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// What the chance of a false rollback does not cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
    /// Whether the rollout stays where it is, because somebody wants that or a step has taken too long.
    pub paused: bool,
    /// The end of the freeze that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_end: Option<String>,
    /// What keeps the rollout from going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<String>,
}

/// What is being done in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Hooks are called before anything is asked for.
    Preparing,
    /// Users are watched before the candidate has any.
    AaTesting,
    /// A step.
    Step,
    /// The candidate serves everybody, in the rollback window.
    Promoted,
    /// Traffic goes back to the baseline.
    RollingBack,
    /// Hooks are told of the end, or it has ended.
    Ending,
}

/// What a step could have seen: what it is worth that it saw no harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Sensitivity {
    /// A candidate that fails as often as this, or more.
    Detects {
        /// The smallest such failure rate, 0 to 1.
        failure_rate: f64,
    },
    /// Not even a candidate that always fails: too few requests.
    Nothing,
    /// There is no baseline to compare with, but the candidate is held to its objectives.
    Objectives,
    /// There is no baseline to compare with, and no objective.
    NoBaseline,
    /// Only requests that ask for the candidate get it. Of those any failure is seen.
    Preview {
        /// How many there have been.
        requests: u64,
    },
}

/// How far a step is from showing that the candidate is no worse than its margins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NonInferiorityStatus {
    /// E: at `limit` it is shown.
    pub evidence: f64,
    /// 1 / (1 - confidence).
    pub limit: f64,
    /// About how many requests of the candidate it takes at this split, if it is as good as the baseline; `None` if no number does.
    pub requests_needed: Option<u64>,
}

/// A metric as it was measured last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Which.
    pub name: String,
    /// What it has to keep to, in words.
    pub limit: String,
    /// The baseline's value, if one was asked for and is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// The candidate's value, if it is known.
    pub candidate: Option<f64>,
    /// How many values in a row were bad.
    pub bad: u32,
    /// How many in a row roll the rollout back.
    pub consecutive: u32,
}

/// How one version does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmStatus {
    /// Which.
    pub version: VersionName,
    /// Requests that ended.
    pub requests: u64,
    /// Failures among them.
    pub failures: u64,
    /// Their share, 0 to 1.
    pub failure_rate: Option<f64>,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of latency in milliseconds.
    pub p99_ms: Option<f64>,
}
