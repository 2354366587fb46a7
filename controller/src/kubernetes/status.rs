//! The status of a ServiceRollout. It is also the operator's store.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::VersionName;

use super::condition::Condition;

/// The most entries of `history`.
pub(crate) const MAX_HISTORY: usize = 10;

/// The status of a ServiceRollout.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ObjectStatus {
    /// The generation of the object that this status describes.
    #[serde(default)]
    pub(crate) observed_generation: i64,
    /// The state of the rollout.
    #[serde(default)]
    pub(crate) phase: RolloutPhase,
    /// The state as a sentence.
    #[serde(default)]
    pub(crate) message: String,
    /// The version that runs: the baseline of the next rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stable: Option<VersionName>,
    /// The candidate that was rolled back or stopped. The operator does not start it again until
    /// spec.candidate changes or the command retry is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rejected: Option<VersionName>,
    /// The current step, such as 2/5.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) step: String,
    /// The candidate's last requested share, such as 5%.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) weight: String,
    /// The last requested share of each version.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) weights: BTreeMap<VersionName, String>,
    /// Ready: the desired version runs. Progressing: a rollout is under way. Degraded: something
    /// needs attention.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    /// Observations of both versions since the step went live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) evidence: Option<EvidenceStatus>,
    /// The last command that the operator handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<CommandReport>,
    /// The last rollouts that ended, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) history: Vec<HistoryEntry>,
    /// The version without traffic since the end of the last rollout. With spec.scale, the
    /// operator scales its Deployment to 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pending_scale_down: Option<PendingScaleDown>,
    /// The generation of the last requested split. It never decreases, so that no proxy takes an
    /// old split for a new one.
    #[serde(default)]
    pub(crate) generation: u64,
    /// The rollout under way; another operator resumes it from here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) checkpoint: Option<StatusCheckpoint>,
    /// The writer of this status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) writer: Option<WriterStamp>,
}

/// The state of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub(crate) enum RolloutPhase {
    /// A rollout can't start yet; the message has the reason.
    #[default]
    Pending,
    /// A rollout is under way.
    Progressing,
    /// A command or the time limit of a step has paused the rollout.
    Paused,
    /// The candidate has all traffic, and the rollback window is open.
    Promoted,
    /// All traffic returns to the baseline.
    RollingBack,
    /// The desired version runs.
    Stable,
    /// The candidate was harmful or exceeded a limit; the baseline has all traffic.
    RolledBack,
    /// A command or a change of the object stopped the rollout; the baseline has all traffic.
    Stopped,
}

/// Observations of both versions since the step went live.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EvidenceStatus {
    /// Requests that the baseline answered.
    pub(crate) baseline_requests: u64,
    /// The baseline's failures among them.
    pub(crate) baseline_failures: u64,
    /// Requests that the candidate answered.
    pub(crate) candidate_requests: u64,
    /// The candidate's failures among them.
    pub(crate) candidate_failures: u64,
    /// How many times likelier the counts are with a worse candidate, and the value that triggers
    /// a rollback, such as 0.7 of 100.
    pub(crate) against: String,
    /// The smallest failure rate of the candidate that would have been detected.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) detects: String,
    /// A limit of the comparison.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) caveat: String,
}

/// A handled command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CommandReport {
    /// The annotation's text. The operator ignores the same text a second time.
    pub(crate) text: String,
    /// When the operator handled it.
    #[schemars(with = "String")]
    pub(crate) at: Timestamp,
    /// The reason of the rejection; absent if the command was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rejected: Option<String>,
}

/// A rollout that ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct HistoryEntry {
    /// The version before the rollout.
    pub(crate) baseline: VersionName,
    /// The candidate.
    pub(crate) candidate: VersionName,
    /// Promoted, RolledBack or Stopped.
    pub(crate) verdict: String,
    /// The reason; absent if promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// Whether every proxy has confirmed the last split.
    pub(crate) confirmed: bool,
    /// When it ended.
    #[schemars(with = "String")]
    pub(crate) ended: Timestamp,
}

/// A version to be scaled to 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PendingScaleDown {
    /// The version's name.
    pub(crate) version: VersionName,
    /// The obstacle. The operator retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) problem: Option<String>,
}

/// A rollout under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusCheckpoint {
    /// The baseline.
    pub(crate) baseline: VersionName,
    /// The candidate.
    pub(crate) candidate: VersionName,
    /// The spec at the start of the rollout, as JSON; later changes apply to the next rollout.
    pub(crate) spec: String,
    /// The state machine, as JSON.
    pub(crate) state: String,
    /// The rollout's duration at the time of this write, in milliseconds.
    pub(crate) at_ms: u64,
    /// The time of this write.
    #[schemars(with = "String")]
    pub(crate) wall: Timestamp,
}

/// The writer of a status, and the number of its write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct WriterStamp {
    /// The operator's identity.
    pub(crate) identity: String,
    /// The number of the write, counted by the operator.
    pub(crate) sequence: u64,
}
