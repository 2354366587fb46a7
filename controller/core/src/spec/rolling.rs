//! The rolling strategy: the instances of a service get the new version batch by batch, and the weights follow them.
//!
//! Of `n` instances, `k` run the candidate when the next batch of `b` begins. While that batch serves nobody, the candidate's `k` instances
//! get k / (n - b) of the users and the baseline has what its remaining ones can carry; then (k + b) / n. Both only ever rise.
//!
//! In a mesh nothing is replaced in its place: the candidate's Deployment grows by a share of the baseline's replicas, and that is its weight.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::table::Weight;

use super::hooks::HookSpec;
use super::strategy::{Bake, LimitSpec, PATH, limit};
use super::value::Percent;
use super::{SpecError, at};
use crate::rollout::call::Replacement;
use crate::rollout::plan::{Gate, Step};

/// No rollout takes more batches.
const MAX_BATCHES: usize = 50;

/// What a rolling release moves.
#[derive(Debug, Clone, Copy)]
pub(super) enum RollingUnit {
    /// The instances that it names.
    Instances,
    /// The replicas of Deployments.
    Replicas {
        /// Whether they may be written.
        scale: bool,
    },
}

/// Batch after batch.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rolling {
    /// Names of the instances, in the order in which they are replaced. Not in a mesh, where spec.scale is needed instead.
    instances: Option<Vec<String>>,
    /// How many at once, or which share such as 25%. Default: 1. In a mesh a share is needed.
    batch: Option<Batch>,
    /// Takes an instance's requests away. Not in a mesh.
    drain: Option<HookSpec>,
    /// Has an instance run the version in the message. Not in a mesh.
    replace: Option<HookSpec>,
    /// Tells whether an instance serves. Not in a mesh.
    ready: Option<HookSpec>,
    /// What has to pass after each batch.
    #[serde(default)]
    bake: Bake,
    /// What else opens the gate to the next.
    #[serde(default)]
    gate: Gate,
    /// The longest that a batch may take.
    limit: Option<LimitSpec>,
    /// Of each batch but the last, once it has been compared.
    #[serde(default)]
    approval: bool,
}

/// How many instances are replaced at once: a number, or a share such as `25%`.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(untagged)]
enum Batch {
    Count(usize),
    Share(Percent),
}

impl Rolling {
    pub(super) fn steps(&self, moves: RollingUnit) -> Result<Vec<Step>, SpecError> {
        let path = format!("{PATH}.rolling");
        match moves {
            RollingUnit::Instances => self.of_instances(&path),
            RollingUnit::Replicas { scale } => self.of_replicas(&path, scale),
        }
    }

    fn of_instances(&self, path: &str) -> Result<Vec<Step>, SpecError> {
        if self.replace.is_none() {
            let message = "missing; a url or a command that has an instance run another version";
            return at(format!("{path}.replace"), message);
        }
        let instances = self.instances.as_deref().unwrap_or_default();
        let all = instances.len();
        let batch = self.batch(path, instances)?;
        let bake = self.bake.parse(&format!("{path}.bake"))?;
        let limit = limit(path, self.limit, bake)?;
        let mut steps = Vec::new();
        let mut replaced = 0;
        for instances in instances.chunks(batch) {
            let carried = share(replaced, all - instances.len());
            steps.push(Step { limit, ..Step::replacing(instances.to_vec(), carried) });
            replaced += instances.len();
            let compared = bake.step(Step::at(share(replaced, all)), self.gate, limit);
            steps.push(Step { approval: self.approval && replaced < all, ..compared });
        }
        Ok(steps)
    }

    /// The candidate's replicas come batch by batch, and its weight is what they are of the baseline's.
    fn of_replicas(&self, path: &str, scale: bool) -> Result<Vec<Step>, SpecError> {
        let submitted = [
            ("instances", self.instances.is_some()),
            ("drain", self.drain.is_some()),
            ("replace", self.replace.is_some()),
            ("ready", self.ready.is_some()),
        ];
        if let Some((name, _)) = submitted.iter().find(|(_, given)| *given) {
            let message = "is not for a mesh, where the replicas of Deployments move (spec.scale)";
            return at(format!("{path}.{name}"), message);
        }
        if !scale {
            return at(
                path,
                "in a mesh it moves the replicas of Deployments: spec.scale: true is needed, and a deployment at each of spec.versions",
            );
        }
        let bake = self.bake.parse(&format!("{path}.bake"))?;
        let limit = limit(path, self.limit, bake)?;
        let weights = self.weights(&format!("{path}.batch"))?;
        let step = |weight| Step {
            approval: self.approval && weight < Weight::ALL,
            ..bake.step(Step::at(weight), self.gate, limit)
        };
        Ok(weights.into_iter().map(step).collect())
    }

    /// The candidate's share after each batch.
    fn weights(&self, path: &str) -> Result<Vec<Weight>, SpecError> {
        let batch = match self.batch {
            Some(Batch::Share(share)) => share.weight(),
            Some(Batch::Count(_)) => {
                return at(
                    path,
                    "a number; in a mesh a share of the replicas is needed, such as 25%",
                );
            }
            None => return at(path, "missing; the share of the replicas in a batch, such as 25%"),
        };
        if batch == Weight::ZERO || batch == Weight::ALL {
            return at(path, format!("{batch} is no batch; above 0 % and below 100 %"));
        }
        let batches = Weight::ALL.ppm().div_ceil(batch.ppm());
        if batches as usize > MAX_BATCHES {
            return at(path, format!("{batches} batches are more than {MAX_BATCHES}"));
        }
        let weight = |n: u32| Weight::from_ppm(n * batch.ppm()).unwrap_or(Weight::ALL);
        Ok((1..=batches).map(weight).collect())
    }

    /// How instances are replaced; `None` where replicas move.
    pub(super) fn replacement(&self) -> Result<Option<Replacement>, SpecError> {
        let checked = |hook: &HookSpec, name| hook.clone().parse(&format!("{PATH}.rolling.{name}"));
        let Some(replace) = &self.replace else { return Ok(None) };
        Ok(Some(Replacement {
            drain: self.drain.as_ref().map(|hook| checked(hook, "drain")).transpose()?,
            replace: checked(replace, "replace")?,
            ready: self.ready.as_ref().map(|hook| checked(hook, "ready")).transpose()?,
        }))
    }

    /// How many instances a batch has. One is left at least to serve meanwhile.
    fn batch(&self, path: &str, instances: &[String]) -> Result<usize, SpecError> {
        let all = instances.len();
        if all < 2 {
            return at(
                format!("{path}.instances"),
                "at least two are needed: one serves while another is replaced",
            );
        }
        let mut seen = BTreeSet::new();
        if let Some((index, name)) =
            instances.iter().enumerate().find(|(_, name)| !seen.insert(name.as_str()))
        {
            return at(format!("{path}.instances[{index}]"), format!("{name:?} is there twice"));
        }
        let batch = match self.batch {
            None => 1,
            Some(Batch::Count(count)) => count,
            // At least as many as asked for, so that no share makes none.
            Some(Batch::Share(share)) => (share.weight().ppm() as usize * all).div_ceil(1_000_000),
        };
        if batch == 0 || batch >= all {
            let message = format!("{batch} of {all} instances; at least 1, and not all of them");
            return at(format!("{path}.batch"), message);
        }
        if all.div_ceil(batch) > MAX_BATCHES {
            let message = format!("{} batches are more than {MAX_BATCHES}", all.div_ceil(batch));
            return at(format!("{path}.batch"), message);
        }
        Ok(batch)
    }
}

/// The share of the users for so many of all instances.
fn share(some: usize, all: usize) -> Weight {
    let ppm = (some * 1_000_000).checked_div(all).and_then(|ppm| u32::try_from(ppm).ok());
    ppm.and_then(Weight::from_ppm).unwrap_or(Weight::ALL)
}
