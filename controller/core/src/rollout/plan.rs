//! The plan of a rollout, fixed before it starts.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::config::wire;
use serin_filter::names::{ServiceName, VersionName};
use serin_filter::table::Weight;

use super::call::{Hook, HookTarget, Hooks, Replacement};
use super::freeze::FreezeSchedule;
use super::metric::{MetricsPlan, TemplateVariables};
use crate::judge::{self, Slice, SplitContext};
use crate::observation::series::SeriesSelector;
use crate::split::ppm;

/// A validated plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The rollout's name.
    pub name: String,
    /// The service whose traffic moves.
    pub service: ServiceName,
    /// The version that serves all users at the start.
    pub baseline: VersionName,
    /// The version to roll out.
    pub candidate: VersionName,
    /// At least one step. Weights never fall, and the last is 100 %. The first may be 0: a
    /// preview, or the first replaced instances.
    pub steps: Vec<Step>,
    /// The length of the rollback window after the promotion.
    pub window: Duration,
    /// The maximum number of failed candidate requests; `None`: as many as the judge needs.
    pub budget: Option<u64>,
    /// Whether the versions can't serve each other's clients.
    pub breaking: bool,
    /// The times in which the rollout must not advance.
    pub freezes: FreezeSchedule,
    /// The judge's settings.
    pub judge: judge::Settings,
    /// The interval between polls.
    pub interval: Duration,
    /// Whether users stay with their version.
    pub sticky: bool,
    /// The A/A test before the first step, if any.
    pub aa_test: Option<AaTest>,
    /// The hooks.
    pub hooks: Hooks,
    /// The hooks that replace instances; `None` if no step replaces any.
    pub replacement: Option<Replacement>,
    /// The metrics with rules for the candidate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsPlan>,
}

/// The A/A test: it counts users while the baseline serves all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaTest {
    /// The minimum duration.
    pub duration: Duration,
    /// The minimum number of requests with an identity.
    pub requests: u64,
    /// The candidate salts.
    pub salts: Vec<String>,
    /// The probability, above 0 and below 1, that a slice differs by more than the test found. It
    /// adds to the judge's alpha.
    pub miss_probability: f64,
}

impl Plan {
    /// The weights of the steps in which both versions serve users.
    pub fn compared_weights(&self) -> impl Iterator<Item = Weight> {
        self.steps.iter().filter(|step| step.is_compared()).map(Step::weight)
    }

    /// The filter's configuration of the A/A test, if any.
    #[must_use]
    pub fn filter_aa_test(&self) -> Option<wire::AaTest> {
        let slices = self.compared_weights().map(Weight::ppm).collect();
        self.aa_test.as_ref().map(|watch| wire::AaTest { salts: watch.salts.clone(), slices })
    }

    /// The statistics that the rollout reads.
    #[must_use]
    pub fn series(&self) -> SeriesSelector {
        SeriesSelector {
            service: self.service.clone(),
            versions: [self.baseline.clone(), self.candidate.clone()],
            slices: self.filter_aa_test(),
        }
    }

    /// All hooks of the plan.
    pub fn all_hooks(&self) -> impl Iterator<Item = &Hook> {
        let Hooks { before, gate, after, rollback } = &self.hooks;
        let work = self.replacement.iter().flat_map(|replacement| replacement.calls());
        let hooks = [before, gate, after, rollback].into_iter().flatten();
        hooks.chain(work.map(|(_, hook)| hook))
    }

    /// The commands among the hooks.
    pub fn commands(&self) -> impl Iterator<Item = &[String]> {
        self.all_hooks().filter_map(|hook| match &hook.target {
            HookTarget::Command(command) => Some(&command[..]),
            HookTarget::Url(_) => None,
        })
    }

    /// Returns true if both plans have the same hooks and metrics.
    #[must_use]
    pub fn calls_same_as(&self, other: &Self) -> bool {
        let metrics = |plan: &Self| plan.metrics.clone().map_or_else(Vec::new, |plan| plan.all);
        let providers = |plan| metrics(plan).into_iter().map(|metric| metric.provider);
        (&self.hooks, &self.replacement) == (&other.hooks, &other.replacement)
            && providers(self).eq(providers(other))
    }

    /// The variables of the metric queries.
    #[must_use]
    pub fn template_variables(&self) -> TemplateVariables<'_> {
        let Self { name, service, baseline, candidate, .. } = self;
        TemplateVariables { rollout: name, service, baseline, candidate }
    }

    /// Drops the preview, where no request can ask for the candidate.
    pub fn drop_preview(&mut self) {
        self.steps.retain(|step| !step.is_preview());
    }

    /// Drops the A/A test, and adds its probability of error to the judge's alpha.
    pub fn drop_aa_test(&mut self) {
        self.judge.alpha += self.aa_test.take().map_or(0.0, |watch| watch.miss_probability);
    }
}

/// A step: a weight, and the conditions for the next step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which requests reach the candidate.
    pub exposure: Exposure,
    /// The time that the step must be live.
    pub bake: Duration,
    /// The number of requests that the candidate must answer in that time. In a preview only
    /// requests that ask for it count.
    pub requests: u64,
    /// The evidence that the gate requires.
    pub gate: Gate,
    /// The A/A test's result for the step's users.
    pub slice: Option<Slice>,
    /// The time limit; `None`: unlimited.
    pub limit: Option<Limit>,
    /// Whether its gate needs a person's approval.
    pub approval: bool,
}

/// Which requests reach the candidate in a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exposure {
    /// Only requests that ask for it.
    Preview,
    /// Those of a share of the users.
    Share(#[serde(with = "ppm")] Weight),
    /// Those of a share of the users, while serin replaces instances of the baseline.
    Replacement {
        /// The share that the remaining instances can carry.
        #[serde(with = "ppm")]
        weight: Weight,
        /// The instances. They serve no requests during the replacement.
        instances: Vec<String>,
    },
}

impl Exposure {
    /// The candidate's share of the users.
    #[must_use]
    pub fn weight(&self) -> Weight {
        match *self {
            Self::Preview => Weight::ZERO,
            Self::Share(weight) | Self::Replacement { weight, .. } => weight,
        }
    }
}

/// The limit of a step, from the request of its split to the opening of its gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The time limit.
    pub at_most: Duration,
    /// The action after the limit.
    pub then: TimeoutAction,
}

/// The action after a step exceeds its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TimeoutAction {
    /// The rollout pauses. Harm still rolls it back.
    #[default]
    Pause,
    /// The rollout rolls back.
    RollBack,
    /// The next step starts, if the split is live, nothing blocks the rollout, no harm is
    /// suspected, and no approval is missing.
    Advance,
}

/// The evidence that a gate requires after time and requests suffice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    /// No suspicion of harm.
    #[default]
    Bake,
    /// Evidence that the candidate is no worse than its margins. Without a baseline no such
    /// evidence exists, and the gate acts like a bake.
    Evidence,
}

impl Step {
    /// A step of this weight without conditions.
    #[must_use]
    pub fn at(weight: Weight) -> Self {
        Self::exposing(Exposure::Share(weight))
    }

    /// A preview without conditions.
    #[must_use]
    pub fn preview() -> Self {
        Self::exposing(Exposure::Preview)
    }

    /// A step without conditions that replaces these instances.
    #[must_use]
    pub fn replacing(instances: Vec<String>, weight: Weight) -> Self {
        Self::exposing(Exposure::Replacement { weight, instances })
    }

    fn exposing(exposure: Exposure) -> Self {
        Self {
            exposure,
            bake: Duration::ZERO,
            requests: 0,
            gate: Gate::Bake,
            slice: None,
            limit: None,
            approval: false,
        }
    }

    /// The candidate's share of the users.
    #[must_use]
    pub fn weight(&self) -> Weight {
        self.exposure.weight()
    }

    /// The instances that serin replaces in the step.
    #[must_use]
    pub fn instances(&self) -> &[String] {
        match &self.exposure {
            Exposure::Replacement { instances, .. } => instances,
            Exposure::Preview | Exposure::Share(_) => &[],
        }
    }

    /// Returns true if the baseline still serves users.
    #[must_use]
    pub fn has_baseline(&self) -> bool {
        self.weight() < Weight::ALL
    }

    /// Returns true if only requests that ask for the candidate reach it.
    #[must_use]
    pub fn is_preview(&self) -> bool {
        self.exposure == Exposure::Preview
    }

    /// Returns true if the judge can compare users of both versions.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        self.has_baseline() && self.weight() > Weight::ZERO
    }

    /// The context for judging the step's blocks.
    #[must_use]
    pub fn split_context(&self) -> SplitContext {
        SplitContext {
            single_arm: !self.has_baseline(),
            slice: self.slice.clone().unwrap_or_default(),
        }
    }
}
