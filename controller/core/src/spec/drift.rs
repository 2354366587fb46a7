//! Drift: route weights that differ from those that the rollout wrote.

use schemars::JsonSchema;
use serde::Deserialize;

/// The reaction to route weights that another client changed during a rollout. Drift is always
/// reported, and a rollback always overwrites the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DriftPolicy {
    /// serin restores the weights.
    #[default]
    Repair,
    /// The rollout waits until the weights are restored.
    Respect,
}
