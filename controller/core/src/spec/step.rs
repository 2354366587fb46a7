//! The fields that the steps of every strategy share.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::table::Weight;

use super::error::{SpecError, at};
use super::value::{SpecCount, SpecDuration};
use crate::rollout::plan::{Gate, Limit, Step, TimeoutAction};

/// Where the strategy is in a specification.
pub(super) const PATH: &str = "spec.strategy";

/// What has to pass in a step: time, and requests.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bake {
    /// How long the step has to be live. Default: 60s.
    time: SpecDuration,
    /// How many requests the candidate has to answer. Default: 100; of a preview 10.
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
            0 => at(
                format!("{path}.requests"),
                "0 would open the gate without any evidence; at least 1",
            ),
            _ => Ok(self),
        }
    }

    pub(super) fn step(self, weight: Weight, gate: Gate, limit: Option<Limit>) -> Step {
        let (bake, requests) = (self.time.0, self.requests.0);
        Step { bake, requests, gate, limit, ..Step::at(weight) }
    }
}

/// The longest that a step may take, and what happens then.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LimitSpec {
    /// How long.
    at_most: SpecDuration,
    /// What happens then. Default: pause.
    #[serde(default)]
    then: TimeoutAction,
}

impl LimitSpec {
    fn parse(self, path: &str, bake: Bake) -> Result<Limit, SpecError> {
        let (at_most, least) = (self.at_most.0, bake.time.0);
        if at_most <= least {
            let format = humantime::format_duration;
            let message = format!(
                "{} is not above {}, which the step has to be live",
                format(at_most),
                format(least)
            );
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
