//! The strategies, as the user writes them. Each becomes steps of the one plan.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::table::Weight;

use super::rolling::{Rolling, RollingUnit};
use super::value::{Percent, SpecCount, SpecDuration};
use super::{SpecError, at};
use crate::rollout::call::Replacement;
use crate::rollout::plan::{Exposure, Gate, Limit, Step, TimeoutAction};

/// Where the strategy is in a specification.
pub(super) const PATH: &str = "spec.strategy";

/// Whether both versions may serve the same clients.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub(super) enum Compatibility {
    /// A client does not notice which version answers.
    #[default]
    Compatible,
    /// Clients that one version can serve, the other can't.
    Breaking,
}

/// Exactly one of them.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Strategy {
    /// More and more users, a gate at each step.
    traffic_shifting: Option<TrafficShifting>,
    /// One small slice of the users, a gate, then all.
    canary: Option<Canary>,
    /// A preview for those who ask for it, then one switch for all.
    blue_green: Option<BlueGreen>,
    /// Instances, or in a mesh replicas, are replaced batch by batch.
    rolling: Option<Rolling>,
}

/// More and more users.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TrafficShifting {
    /// What has to pass in each step before its gate opens.
    #[serde(default)]
    bake: Bake,
    /// What else opens a gate: bake is that no harm is in sight, evidence that the candidate is shown to be no worse than its margins.
    #[serde(default)]
    gate: Gate,
    /// The longest that a step may take.
    limit: Option<LimitSpec>,
    /// Whether gates wait for an approval too.
    #[serde(default)]
    approval: bool,
    /// The share of users kept at the baseline while the last step bakes.
    holdback: Option<Percent>,
    /// Weights that rise; the last is 100%.
    steps: Vec<StepSpec>,
}

/// One step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepSpec {
    /// The candidate's share of the users.
    weight: Percent,
    /// What has to pass in this step.
    bake: Option<Bake>,
    /// What else opens its gate.
    gate: Option<Gate>,
    /// The longest that it may take.
    limit: Option<LimitSpec>,
    /// Whether its gate waits for an approval too.
    approval: Option<bool>,
}

/// A small slice of the users, then all.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Canary {
    /// The slice. Default: 5%.
    #[serde(default = "canary_weight")]
    weight: Percent,
    /// What has to pass before the gate opens.
    #[serde(default)]
    bake: Bake,
    /// What else opens the gate.
    #[serde(default)]
    gate: Gate,
    /// The longest that it may take.
    limit: Option<LimitSpec>,
    /// Whether the gate waits for an approval too.
    #[serde(default)]
    approval: bool,
}

fn canary_weight() -> Percent {
    Percent::whole(5)
}

/// The new version is tried by those who ask for it; then all users are switched at once.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BlueGreen {
    /// What has to pass in the preview before the switch.
    #[serde(default = "preview")]
    preview: Bake,
    /// What has to pass after the switch.
    #[serde(default)]
    bake: Bake,
    /// The longest that either may take.
    limit: Option<LimitSpec>,
    /// Whether the switch waits for an approval too.
    #[serde(default)]
    approval: bool,
}

fn preview() -> Bake {
    Bake { requests: SpecCount(10), ..Bake::default() }
}

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
    pub(super) fn parse(self, path: &str) -> Result<Self, SpecError> {
        match self.requests.0 {
            0 => at(
                format!("{path}.requests"),
                "0 would open the gate without any evidence; at least 1",
            ),
            _ => Ok(self),
        }
    }

    pub(super) fn step(self, step: Step, gate: Gate, limit: Option<Limit>) -> Step {
        let (bake, requests) = (self.time.0, self.requests.0);
        Step { bake, requests, gate, limit, ..step }
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

impl Strategy {
    /// The steps of the one strategy that is given.
    pub(super) fn parse(
        &self,
        compatibility: Compatibility,
        preview: &wire::Override,
        moves: RollingUnit,
    ) -> Result<Vec<Step>, SpecError> {
        let breaking = compatibility == Compatibility::Breaking;
        match (&self.traffic_shifting, &self.canary, &self.blue_green, &self.rolling) {
            (None, None, Some(blue_green), None) => blue_green.parse(preview),
            (Some(_), None, None, None)
            | (None, Some(_), None, None)
            | (None, None, None, Some(_))
                if breaking =>
            {
                at(
                    PATH,
                    "a breaking release may not run mixed: a user would meet both versions, one request after the other; only blueGreen \
                 switches all users at once",
                )
            }
            (Some(shifting), None, None, None) => shifting.parse(),
            (None, Some(canary), None, None) => canary.parse(),
            (None, None, None, Some(rolling)) => rolling.steps(moves),
            _ => {
                at(PATH, "exactly one of trafficShifting, canary, blueGreen and rolling is needed")
            }
        }
    }

    /// How instances are replaced, if they are.
    pub(super) fn replacement(&self) -> Result<Option<Replacement>, SpecError> {
        self.rolling.as_ref().map_or(Ok(None), Rolling::replacement)
    }

    /// How long the release can be taken back, unless the user says otherwise.
    pub(super) fn rollback_window(&self) -> SpecDuration {
        SpecDuration(match self.blue_green {
            Some(_) => Duration::from_secs(600),
            None => Duration::ZERO,
        })
    }
}

impl TrafficShifting {
    fn parse(&self) -> Result<Vec<Step>, SpecError> {
        let all = format!("{PATH}.trafficShifting.steps");
        let mut before = Weight::ZERO;
        let mut steps = Vec::new();
        for (index, step) in self.steps.iter().enumerate() {
            let path = format!("{all}[{index}]");
            let weight = step.weight.weight();
            if weight <= before {
                let message = match index {
                    0 => "0 % is no step; a weight is above 0 % and at most 100 %".to_owned(),
                    _ => format!("{weight} does not rise above the step before ({before})"),
                };
                return at(format!("{path}.weight"), message);
            }
            let bake = step.bake.unwrap_or(self.bake).parse(&format!("{path}.bake"))?;
            let limit = limit(&path, step.limit.or(self.limit), bake)?;
            let approval = step.approval.unwrap_or(self.approval);
            let step = bake.step(Step::at(weight), step.gate.unwrap_or(self.gate), limit);
            steps.push(Step { approval, ..step });
            before = weight;
        }
        match steps.len() {
            0 => at(all, "empty; at least one step is needed, the last at 100%"),
            n if before != Weight::ALL => at(
                format!("{all}[{}].weight", n - 1),
                format!("the last step is {before}; it has to be 100%"),
            ),
            _ => self.with_holdback(steps),
        }
    }

    /// Bakes the last step with some users left at the baseline, and gives them to the candidate when it has passed.
    fn with_holdback(&self, mut steps: Vec<Step>) -> Result<Vec<Step>, SpecError> {
        let Some(held_back) = self.holdback.map(Percent::weight) else { return Ok(steps) };
        let Some(last) = steps.pop() else { return Ok(steps) };
        let before = steps.last().map_or(Weight::ZERO, Step::weight);
        let weight = held_back.rest();
        if held_back == Weight::ZERO || weight <= before {
            let message = format!("{held_back} is not above 0 % and below {}", before.rest());
            return at(format!("{PATH}.trafficShifting.holdback"), message);
        }
        steps.extend([Step { exposure: Exposure::Share(weight), ..last }, final_step()]);
        Ok(steps)
    }
}

impl Canary {
    fn parse(&self) -> Result<Vec<Step>, SpecError> {
        let path = format!("{PATH}.canary");
        let weight = self.weight.weight();
        if weight == Weight::ZERO || weight == Weight::ALL {
            let message = format!("{weight} is no slice of the users; above 0 % and below 100 %");
            return at(format!("{path}.weight"), message);
        }
        let bake = self.bake.parse(&format!("{path}.bake"))?;
        let limit = limit(&path, self.limit, bake)?;
        let slice =
            Step { approval: self.approval, ..bake.step(Step::at(weight), self.gate, limit) };
        Ok(vec![slice, final_step()])
    }
}

impl BlueGreen {
    fn parse(&self, preview: &wire::Override) -> Result<Vec<Step>, SpecError> {
        let path = format!("{PATH}.blueGreen");
        if preview.header.is_none() && preview.cookie.is_none() {
            return at(
                "spec.override",
                "blueGreen needs a header or a cookie by which the preview can be asked for, such as { header: x-version }",
            );
        }
        let tried = self.preview.parse(&format!("{path}.preview"))?;
        let bake = self.bake.parse(&format!("{path}.bake"))?;
        let limit = |bake| limit(&path, self.limit, bake);
        let preview = tried.step(Step::preview(), Gate::Bake, limit(tried)?);
        let switch = bake.step(Step::at(Weight::ALL), Gate::Bake, limit(bake)?);
        Ok(vec![Step { approval: self.approval, ..preview }, switch])
    }
}

/// The last step after one that has shown what there is to be seen.
fn final_step() -> Step {
    Step::at(Weight::ALL)
}
