//! `spec.strategy`: each strategy becomes the steps of a plan.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::table::Weight;

use super::error::{SpecError, at};
use super::rolling::{Rolling, RollingUnit};
use super::step::{Bake, LimitSpec, PATH, limit};
use super::value::{Percent, SpecDuration};
use crate::rollout::call::Replacement;
use crate::rollout::plan::{Exposure, Gate, Step};

/// Whether the versions may serve the same clients.
#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub(super) enum Compatibility {
    /// Each version serves all clients.
    #[default]
    Compatible,
    /// One version fails clients of the other.
    Breaking,
}

/// A strategy: exactly one field is set.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Strategy {
    /// TrafficShifting raises the candidate's weight step by step, with a gate at each step.
    traffic_shifting: Option<TrafficShifting>,
    /// Canary gives the candidate one small slice of the users, and all users after one gate.
    canary: Option<Canary>,
    /// BlueGreen offers a preview on request, and then switches all users at once.
    blue_green: Option<BlueGreen>,
    /// Rolling replaces instances, or in a mesh replicas, batch by batch.
    rolling: Option<Rolling>,
}

/// The candidate's weight rises step by step.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TrafficShifting {
    /// Bake is the least time and traffic of a step.
    #[serde(default)]
    bake: Bake,
    /// Gate is bake, which requires that no harm is detected, or evidence, which requires evidence
    /// that the candidate is no worse than its margins. Default: bake.
    #[serde(default)]
    gate: Gate,
    /// Limit is the longest time of a step.
    limit: Option<LimitSpec>,
    /// Approval makes every gate wait for an approval. Default: false.
    #[serde(default)]
    approval: bool,
    /// Holdback is the share of users that stays at the baseline while the last step bakes, for
    /// comparison. Default: none.
    holdback: Option<Percent>,
    /// Steps lists the steps by rising weight. The last weight is 100%.
    steps: Vec<StepSpec>,
}

/// A step.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepSpec {
    /// Weight is the candidate's share of the users. Above 0%, at most 100%, in steps of 0.0001%.
    weight: Percent,
    /// Bake is the least time and traffic of this step. Default: that of the strategy.
    bake: Option<Bake>,
    /// Gate is bake or evidence. Default: that of the strategy.
    gate: Option<Gate>,
    /// Limit is the longest time of the step. Default: that of the strategy.
    limit: Option<LimitSpec>,
    /// Approval makes the gate wait for an approval. Default: that of the strategy.
    approval: Option<bool>,
}

/// One small slice of the users, then all users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Canary {
    /// Weight is the candidate's share of the users. Above 0%, below 100%. Default: 5%.
    #[serde(default = "canary_weight")]
    weight: Percent,
    /// Bake is the least time and traffic of the slice.
    #[serde(default)]
    bake: Bake,
    /// Gate is bake, which requires that no harm is detected, or evidence, which requires evidence
    /// that the candidate is no worse than its margins. Default: bake.
    #[serde(default)]
    gate: Gate,
    /// Limit is the longest time of the step. Default: that of the strategy.
    limit: Option<LimitSpec>,
    /// Approval makes the gate wait for an approval. Default: false.
    #[serde(default)]
    approval: bool,
}

fn canary_weight() -> Percent {
    Percent::whole(5)
}

/// A preview on request, then a switch of all users.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BlueGreen {
    /// Preview is the least time and traffic of the preview.
    #[serde(default = "Bake::preview")]
    preview: Bake,
    /// Bake is the least time and traffic after the switch.
    #[serde(default)]
    bake: Bake,
    /// Limit is the longest time of the preview, and of the bake after the switch.
    limit: Option<LimitSpec>,
    /// Approval makes the switch wait for an approval. Default: false.
    #[serde(default)]
    approval: bool,
}

impl Strategy {
    /// Parses the steps of the strategy.
    pub(super) fn parse(
        &self,
        compatibility: Compatibility,
        override_: &wire::Override,
        unit: RollingUnit,
    ) -> Result<Vec<Step>, SpecError> {
        let breaking = compatibility == Compatibility::Breaking;
        match (&self.traffic_shifting, &self.canary, &self.blue_green, &self.rolling) {
            (None, None, Some(blue_green), None) => blue_green.parse(override_),
            (Some(_), None, None, None)
            | (None, Some(_), None, None)
            | (None, None, None, Some(_))
                if breaking =>
            {
                at(
                    PATH,
                    "compatibility: breaking requires blueGreen, which switches all users at once",
                )
            }
            (Some(shifting), None, None, None) => shifting.parse(),
            (None, Some(canary), None, None) => canary.parse(),
            (None, None, None, Some(rolling)) => rolling.steps(unit),
            _ => at(
                PATH,
                "exactly one of trafficShifting, canary, blueGreen and rolling is required",
            ),
        }
    }

    /// The replacement of instances; `None` for other strategies.
    pub(super) fn replacement(&self) -> Result<Option<Replacement>, SpecError> {
        self.rolling.as_ref().map_or(Ok(None), Rolling::replacement)
    }

    /// The default of `spec.rollbackWindow`.
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
                    0 => "0 % is not above 0 % and at most 100 %".to_owned(),
                    _ => format!("{weight} is not above the previous step ({before})"),
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
            0 => at(all, "empty; list at least one step, the last with 100%"),
            n if before != Weight::ALL => at(
                format!("{all}[{}].weight", n - 1),
                format!("the last step is {before}; set it to 100%"),
            ),
            _ => self.with_holdback(steps),
        }
    }

    /// Bakes the last step with some users left at the baseline, and adds a step that moves them.
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
            let message = format!("{weight} is not above 0 % and below 100 %");
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
    fn parse(&self, override_: &wire::Override) -> Result<Vec<Step>, SpecError> {
        let path = format!("{PATH}.blueGreen");
        if override_.header.is_none() && override_.cookie.is_none() {
            return at(
                "spec.override",
                "blueGreen requires a header or a cookie that requests the preview, such as { header: x-version }",
            );
        }
        let preview = self.preview.parse(&format!("{path}.preview"))?;
        let bake = self.bake.parse(&format!("{path}.bake"))?;
        let limit = |bake| limit(&path, self.limit, bake);
        let preview = preview.step(Step::preview(), Gate::Bake, limit(preview)?);
        let switch = bake.step(Step::at(Weight::ALL), Gate::Bake, limit(bake)?);
        Ok(vec![Step { approval: self.approval, ..preview }, switch])
    }
}

/// The last step, after one with enough evidence.
fn final_step() -> Step {
    Step::at(Weight::ALL)
}
