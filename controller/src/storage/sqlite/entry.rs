//! The entry of a rollout in the store.

use jiff::Timestamp;
use rusqlite::Row;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a rollout in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum QueueState {
    /// It waits for another rollout of its service to end.
    Queued,
    /// It is in progress.
    Running,
    /// It ended with a verdict.
    Ended,
    /// It could not start.
    Failed,
}

/// A rollout in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutEntry {
    /// Its number.
    pub id: i64,
    /// Its name: `metadata.name`.
    pub name: String,
    /// The service.
    pub service: String,
    /// The version that serves all users at the start.
    pub baseline: String,
    /// The version to roll out.
    pub candidate: String,
    /// The time when it was added.
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub created: Timestamp,
    /// The time when its last gate opened. An undo may follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub promoted: Option<Timestamp>,
    /// The time when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended: Option<Timestamp>,
    /// The number of the rollout that it retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<i64>,
    /// Its state in the queue.
    pub phase: QueueState,
    /// The verdict, or the reason why it could not start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The specification as submitted.
    #[serde(skip)]
    pub spec: String,
}

/// Selects the columns of [`entry`].
pub(super) const SELECT_ENTRY: &str = "SELECT id, name, service, phase, outcome, spec, baseline,
    candidate, created, promoted, ended, retry_of FROM rollouts";

/// The entry in a row of [`SELECT_ENTRY`].
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<RolloutEntry> {
    let phase: String = row.get(3)?;
    let time = |column| -> rusqlite::Result<Option<Timestamp>> {
        let text: Option<String> = row.get(column)?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    Ok(RolloutEntry {
        id: row.get(0)?,
        name: row.get(1)?,
        service: row.get(2)?,
        baseline: row.get(6)?,
        candidate: row.get(7)?,
        created: time(8)?.unwrap_or_default(),
        promoted: time(9)?,
        ended: time(10)?,
        retry_of: row.get(11)?,
        phase: match phase.as_str() {
            "queued" => QueueState::Queued,
            "running" => QueueState::Running,
            "failed" => QueueState::Failed,
            _ => QueueState::Ended,
        },
        outcome: row.get(4)?,
        spec: row.get(5)?,
    })
}
