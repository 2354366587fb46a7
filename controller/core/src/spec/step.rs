//! The fields that the steps of every strategy share.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::value::{SpecCount, SpecDuration};
use crate::rollout::plan::{Gate, Limit, Step, TimeoutAction};

/// The path of the strategy.
pub(super) const PATH: &str = "spec.strategy";

/// The least time and traffic of a step.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bake {
    /// Time is the least time at the step's weight. Default: 60s.
    time: SpecDuration,
    /// Requests is the least number of requests that the candidate answers. At least 1. Default:
    /// 100; 10 for a preview.
    requests: SpecCount,
}

impl Default for Bake {
    fn default() -> Self {
        Self { time: SpecDuration(Duration::from_secs(60)), requests: SpecCount(100) }
    }
}

impl Bake {
    /// The default of a preview.
    pub(super) fn preview() -> Self {
        Self { requests: SpecCount(10), ..Self::default() }
    }

    pub(super) fn parse(self, path: &str) -> Result<Self, SpecError> {
        match self.requests.0 {
            0 => {
                at(format!("{path}.requests"), "0 opens the gate without evidence; set at least 1")
            }
            _ => Ok(self),
        }
    }

    pub(super) fn step(self, step: Step, gate: Gate, limit: Option<Limit>) -> Step {
        let (bake, requests) = (self.time.0, self.requests.0);
        Step { bake, requests, gate, limit, ..step }
    }
}

/// The longest time of a step, and the action at its end.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LimitSpec {
    /// AtMost is the longest time from the request of the split to the opening of the gate. Longer
    /// than the bake time.
    at_most: SpecDuration,
    /// Then is the action after that time: pause, rollBack or advance. Default: pause.
    #[serde(default)]
    then: TimeoutAction,
}

impl LimitSpec {
    fn parse(self, path: &str, bake: Bake) -> Result<Limit, SpecError> {
        let (at_most, least) = (self.at_most.0, bake.time.0);
        if at_most <= least {
            let format = humantime::format_duration;
            let message =
                format!("{} is not above the bake time, {}", format(at_most), format(least));
            return at(format!("{path}.atMost"), message);
        }
        Ok(Limit { at_most, then: self.then })
    }
}

pub(super) fn limit(
    path: &str,
    limit: Option<LimitSpec>,
    bake: Bake,
) -> Result<Option<Limit>, SpecError> {
    limit.map(|limit| limit.parse(&format!("{path}.limit"), bake)).transpose()
}
