//! What a rollout will do, decided before it starts.

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

/// A plan that needs no second check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Name of the rollout.
    pub name: String,
    /// The service whose traffic moves.
    pub service: ServiceName,
    /// The version that runs.
    pub baseline: VersionName,
    /// The version that shall replace it.
    pub candidate: VersionName,
    /// At least one; weights never fall and the last is 100 %. The first may be 0: a preview, or the first instances to be replaced.
    pub steps: Vec<Step>,
    /// How long the candidate is watched after promotion, and can be taken back.
    pub window: Duration,
    /// How many failed requests of the candidate the rollout may cost; `None`: as many as the judge needs.
    pub budget: Option<u64>,
    /// Whether clients of the one version can't be served by the other.
    pub breaking: bool,
    /// When it may not advance.
    pub freezes: FreezeSchedule,
    /// What the judge goes by.
    pub judge: judge::Settings,
    /// Time from one look at the proxy to the next.
    pub interval: Duration,
    /// Whether users stay with their version.
    pub sticky: bool,
    /// How users are watched before the first step, if they are.
    pub aa_test: Option<AaTest>,
    /// What is called, and when.
    pub hooks: Hooks,
    /// How the instances of the steps are replaced; `None` if none are.
    pub replacement: Option<Replacement>,
    /// What else the candidate is held to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<MetricsPlan>,
}

/// How users are watched while the baseline still serves all of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AaTest {
    /// For how long at least.
    pub duration: Duration,
    /// How many requests with an identity it takes at least.
    pub requests: u64,
    /// Salts to choose from.
    pub salts: Vec<String>,
    /// The chance, above 0 and below 1, that a slice differs by more than is found. The judge's alpha comes on top of it.
    pub miss_probability: f64,
}

impl Plan {
    /// The weights of the steps in which the baseline still serves somebody.
    pub fn compared_weights(&self) -> impl Iterator<Item = Weight> {
        self.steps.iter().filter(|step| step.is_compared()).map(Step::weight)
    }

    /// What the filter has to watch, if anything.
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

    /// Everything that carrying it out calls.
    pub fn all_hooks(&self) -> impl Iterator<Item = &Hook> {
        let Hooks { before, gate, after, rollback } = &self.hooks;
        let work = self.replacement.iter().flat_map(|replacement| replacement.calls());
        let hooks = [before, gate, after, rollback].into_iter().flatten();
        hooks.chain(work.map(|(_, hook)| hook))
    }

    /// The commands among that.
    pub fn commands(&self) -> impl Iterator<Item = &[String]> {
        self.all_hooks().filter_map(|hook| match &hook.target {
            HookTarget::Command(command) => Some(&command[..]),
            HookTarget::Url(_) => None,
        })
    }

    /// Whether carrying it out calls and asks the same as another.
    #[must_use]
    pub fn calls_same_as(&self, other: &Self) -> bool {
        let metrics = |plan: &Self| plan.metrics.clone().map_or_else(Vec::new, |plan| plan.all);
        let providers = |plan| metrics(plan).into_iter().map(|metric| metric.provider);
        (&self.hooks, &self.replacement) == (&other.hooks, &other.replacement)
            && providers(self).eq(providers(other))
    }

    /// The variables of its metric queries.
    #[must_use]
    pub fn template_variables(&self) -> TemplateVariables<'_> {
        let Self { name, service, baseline, candidate, .. } = self;
        TemplateVariables { rollout: name, service, baseline, candidate }
    }

    /// Leaves the preview out, for where nobody can ask for it.
    pub fn drop_preview(&mut self) {
        self.steps.retain(|step| !step.is_preview());
    }

    /// Leaves the watching out: the judge may use all of the chance of a false rollback.
    pub fn drop_aa_test(&mut self) {
        self.judge.alpha += self.aa_test.take().map_or(0.0, |watch| watch.miss_probability);
    }
}

/// One step: a weight, and what has to pass before the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Which requests reach the candidate.
    pub exposure: Exposure,
    /// How long the step has to be live.
    pub bake: Duration,
    /// How many requests the candidate has to answer in that time; in a preview, requests that asked for it.
    pub requests: u64,
    /// What else it takes.
    pub gate: Gate,
    /// What is known beforehand of the users who will meet the candidate.
    pub slice: Option<Slice>,
    /// How long it may take at most; `None`: as long as it takes.
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
        /// The share that the instances left can carry.
        #[serde(with = "ppm")]
        weight: Weight,
        /// The instances; they serve no requests meanwhile.
        instances: Vec<String>,
    },
}

/// The longest that a step may take, from when its split is asked for until its gate opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// How long.
    pub at_most: Duration,
    /// What happens then.
    pub then: TimeoutAction,
}

/// What happens when a step has taken too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TimeoutAction {
    /// The rollout stays where it is. Harm still takes it back.
    #[default]
    Pause,
    /// All traffic goes back.
    RollBack,
    /// The next step begins, provided that the split is live, nothing blocks the rollout, no harm is in sight, and nobody's approval is
    /// needed.
    Advance,
}

/// What opens the way to the next step, once time and requests have passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Gate {
    /// That no harm is in sight.
    #[default]
    Bake,
    /// That the candidate is shown to be no worse than its margins. Without a baseline nothing can show that: then as for a bake.
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
        match self.exposure {
            Exposure::Preview => Weight::ZERO,
            Exposure::Share(weight) | Exposure::Replacement { weight, .. } => weight,
        }
    }

    /// The instances that serin replaces in it.
    #[must_use]
    pub fn instances(&self) -> &[String] {
        match &self.exposure {
            Exposure::Replacement { instances, .. } => instances,
            Exposure::Preview | Exposure::Share(_) => &[],
        }
    }

    /// Whether the baseline still serves users.
    #[must_use]
    pub fn has_baseline(&self) -> bool {
        self.weight() < Weight::ALL
    }

    /// Whether only requests that ask for the candidate reach it.
    #[must_use]
    pub fn is_preview(&self) -> bool {
        self.exposure == Exposure::Preview
    }

    /// Whether users of both versions can be compared.
    #[must_use]
    pub fn is_compared(&self) -> bool {
        self.has_baseline() && self.weight() > Weight::ZERO
    }

    /// What its blocks are judged by.
    #[must_use]
    pub fn split_context(&self) -> SplitContext {
        SplitContext {
            single_arm: !self.has_baseline(),
            slice: self.slice.clone().unwrap_or_default(),
        }
    }
}
