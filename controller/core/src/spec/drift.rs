//! Drift: route weights that differ from those that the rollout wrote.

use schemars::JsonSchema;
use serde::Deserialize;

/// What is done about weights of a rollout under way that somebody else has changed. It is told in either case, and a rollback writes its
/// weights in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DriftPolicy {
    /// The weights are written again.
    #[default]
    Repair,
    /// The rollout waits until they are what it wrote.
    Respect,
}
