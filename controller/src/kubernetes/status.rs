//! What an object's status says, and what is kept in it: the status is the store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::VersionName;

use super::condition::Condition;

/// The most rollouts that are remembered.
pub(crate) const MAX_HISTORY: usize = 10;

/// The status of a ServiceRollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectStatus {
    /// The generation of the object that all else is about.
    #[serde(default)]
    pub(crate) observed_generation: i64,
    /// Where the service is between its versions.
    #[serde(default)]
    pub(crate) phase: RolloutPhase,
    /// The same as a sentence.
    #[serde(default)]
    pub(crate) message: String,
    /// The version that runs: the baseline of the next rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stable: Option<VersionName>,
    /// Rejected is the candidate that was rolled back or stopped. It is not started again until
    /// spec.candidate has changed, or until the command retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rejected: Option<VersionName>,
    /// The step that is under way, such as 2/5.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) step: String,
    /// The candidate's share as last asked for, such as 5%.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) weight: String,
    /// The share of each version as last asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) weights: BTreeMap<VersionName, String>,
    /// Ready: the version that is wanted runs. Progressing: a rollout is under way. Degraded: something is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    /// What was seen of both versions since the step went live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<EvidenceStatus>,
    /// The last order that was dealt with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<CommandReport>,
    /// The last rollouts that have ended, the last one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<HistoryEntry>,
    /// PendingScaleDown is the version without traffic since the end of the last rollout. Its Deployment
    /// is scaled to 0; with spec.scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending_scale_down: Option<PendingScaleDown>,
    /// The number of the last split that was asked for. It never falls, so that no proxy takes an old split for a new one.
    #[serde(default)]
    pub(crate) generation: u64,
    /// The rollout under way, for the operator that goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<StatusCheckpoint>,
    /// Who wrote this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writer: Option<WriterStamp>,
}

/// Where a service is between its versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum RolloutPhase {
    /// A rollout could not begin yet; the message says why.
    #[default]
    Pending,
    /// A rollout is under way.
    Progressing,
    /// The rollout is paused by a command or by the time limit of a step.
    Paused,
    /// The candidate serves everybody, and can still be taken back.
    Promoted,
    /// All traffic goes back to the baseline.
    RollingBack,
    /// The version that is wanted runs.
    Stable,
    /// The candidate was worse, or a limit was reached; the baseline has all traffic.
    RolledBack,
    /// Somebody stopped the rollout; the baseline has all traffic.
    Stopped,
}

/// What was seen of both versions since the step went live.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EvidenceStatus {
    /// Requests that the baseline has answered.
    pub(crate) baseline_requests: u64,
    /// Failures among them.
    pub(crate) baseline_failures: u64,
    /// Requests that the candidate has answered.
    pub(crate) candidate_requests: u64,
    /// Failures among them.
    pub(crate) candidate_failures: u64,
    /// How many times likelier they are with a worse candidate, and from how many on it is taken back, such as 0.7 of 100.
    pub(crate) against: String,
    /// The smallest failure rate of the candidate that would have been noticed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detects: String,
    /// What this does not cover.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) caveat: String,
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommandReport {
    /// The annotation's text. The same text is not obeyed twice.
    pub(crate) text: String,
    /// When it was dealt with.
    #[schemars(with = "String")]
    pub(crate) at: Timestamp,
    /// Why it was not obeyed, unless it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rejected: Option<String>,
}

/// A rollout that has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryEntry {
    /// The version that ran.
    pub(crate) baseline: VersionName,
    /// The version that was to replace it.
    pub(crate) candidate: VersionName,
    /// Promoted, RolledBack or Stopped.
    pub(crate) verdict: String,
    /// Why, unless promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Whether every proxy has confirmed it.
    pub(crate) confirmed: bool,
    /// When it ended.
    #[schemars(with = "String")]
    pub(crate) ended: Timestamp,
}

/// A version whose replicas are to be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingScaleDown {
    /// Its name.
    pub(crate) version: VersionName,
    /// What is in the way. It is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusCheckpoint {
    /// The version that runs.
    pub(crate) baseline: VersionName,
    /// The version that shall replace it.
    pub(crate) candidate: VersionName,
    /// spec as it was when the rollout began, as JSON: later changes are for the next one.
    pub(crate) spec: String,
    /// The state machine, as JSON.
    pub(crate) state: String,
    /// How many milliseconds it had been under way when this was written.
    pub(crate) at_ms: u64,
    /// When this was written.
    #[schemars(with = "String")]
    pub(crate) wall: Timestamp,
}

/// Who wrote a status, and with which of its writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriterStamp {
    /// The operator.
    pub(crate) identity: String,
    /// Counted by it.
    pub(crate) sequence: u64,
}
