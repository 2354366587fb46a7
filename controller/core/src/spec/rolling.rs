//! `spec.strategy.rolling`: instances get the candidate batch by batch, and the weights follow
//! them.
//!
//! Of `n` instances, `k` run the candidate when the next batch of `b` begins. While the batch is
//! out of service, the candidate's weight is k / (n - b); afterwards it is (k + b) / n. Both only
//! rise.
//!
//! In a mesh no instance is replaced in place. The candidate's Deployment grows by a share of the
//! baseline's replicas, which is its weight.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::table::Weight;

use super::error::{SpecError, at};
use super::hooks::HookSpec;
use super::step::{Bake, LimitSpec, PATH, limit};
use super::value::Percent;
use crate::rollout::call::Replacement;
use crate::rollout::plan::{Gate, Step};

/// The most batches of a rollout.
const MAX_BATCHES: usize = 50;

/// The unit that a rolling rollout replaces.
#[derive(Debug, Clone, Copy)]
pub(super) enum RollingUnit {
    /// The instances that the specification names.
    Instances,
    /// The replicas of Deployments.
    Replicas {
        /// Whether the rollout may scale the Deployments.
        scale: bool,
    },
}

/// Instances are replaced batch by batch.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rolling {
    /// Instances names the instances in the order of replacement. At least two. In a mesh, set
    /// spec.scale instead.
    instances: Option<Vec<String>>,
    /// Batch is the number of instances replaced at once, or their share such as 25%. In a mesh a
    /// share is required. At most 50 batches. Default: 1.
    batch: Option<Batch>,
    /// Drain removes an instance from load balancing. Not in a mesh.
    drain: Option<HookSpec>,
    /// Replace starts the version in the message on an instance. Required, except in a mesh, where
    /// it is not allowed.
    replace: Option<HookSpec>,
    /// Ready succeeds once an instance serves. Not in a mesh.
    ready: Option<HookSpec>,
    /// Bake is the least time and traffic of each batch.
    #[serde(default)]
    bake: Bake,
    /// Gate is bake, which requires that no harm is detected, or evidence, which requires evidence
    /// that the candidate is no worse than its margins. Default: bake.
    #[serde(default)]
    gate: Gate,
    /// Limit is the longest time of a batch.
    limit: Option<LimitSpec>,
    /// Approval makes every gate but the last wait for an approval. Default: false.
    #[serde(default)]
    approval: bool,
}

/// The size of a batch: a number of instances, or a share such as `25%`.
#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(untagged)]
enum Batch {
    Count(usize),
    Share(Percent),
}

impl Rolling {
    pub(super) fn steps(&self, unit: RollingUnit) -> Result<Vec<Step>, SpecError> {
        let path = format!("{PATH}.rolling");
        match unit {
            RollingUnit::Instances => self.of_instances(&path),
            RollingUnit::Replicas { scale } => self.of_replicas(&path, scale),
        }
    }

    fn of_instances(&self, path: &str) -> Result<Vec<Step>, SpecError> {
        if self.replace.is_none() {
            let message = "missing; set a url or a command that replaces an instance";
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

    /// The candidate's weight after each batch is its share of the baseline's replicas.
    fn of_replicas(&self, path: &str, scale: bool) -> Result<Vec<Step>, SpecError> {
        let submitted = [
            ("instances", self.instances.is_some()),
            ("drain", self.drain.is_some()),
            ("replace", self.replace.is_some()),
            ("ready", self.ready.is_some()),
        ];
        if let Some((name, _)) = submitted.iter().find(|(_, given)| *given) {
            let message =
                "not supported in a mesh, where Deployments are scaled (spec.scale); remove it";
            return at(format!("{path}.{name}"), message);
        }
        if !scale {
            return at(
                path,
                "requires spec.scale: true and a deployment for each of spec.versions in a mesh",
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

    /// The candidate's weight after each batch.
    fn weights(&self, path: &str) -> Result<Vec<Weight>, SpecError> {
        let batch = match self.batch {
            Some(Batch::Share(share)) => share.weight(),
            Some(Batch::Count(_)) => {
                return at(path, "a number; in a mesh, set a share of the replicas such as 25%");
            }
            None => {
                return at(path, "missing; set the share of the replicas in a batch, such as 25%");
            }
        };
        if batch == Weight::ZERO || batch == Weight::ALL {
            return at(path, format!("{batch} is not above 0 % and below 100 %"));
        }
        let batches = Weight::ALL.ppm().div_ceil(batch.ppm());
        if batches as usize > MAX_BATCHES {
            return at(path, format!("{batches} batches are more than {MAX_BATCHES}"));
        }
        let weight = |n: u32| Weight::from_ppm(n * batch.ppm()).unwrap_or(Weight::ALL);
        Ok((1..=batches).map(weight).collect())
    }

    /// The replacement of instances; `None` where replicas move.
    pub(super) fn replacement(&self) -> Result<Option<Replacement>, SpecError> {
        let parse = |hook: &HookSpec, name| hook.clone().parse(&format!("{PATH}.rolling.{name}"));
        let Some(replace) = &self.replace else { return Ok(None) };
        Ok(Some(Replacement {
            drain: self.drain.as_ref().map(|hook| parse(hook, "drain")).transpose()?,
            replace: parse(replace, "replace")?,
            ready: self.ready.as_ref().map(|hook| parse(hook, "ready")).transpose()?,
        }))
    }

    /// The number of instances in a batch. At least one instance keeps serving.
    fn batch(&self, path: &str, instances: &[String]) -> Result<usize, SpecError> {
        let all = instances.len();
        if all < 2 {
            return at(
                format!("{path}.instances"),
                "list at least two; one serves while another is replaced",
            );
        }
        let mut names = BTreeSet::new();
        if let Some((index, name)) =
            instances.iter().enumerate().find(|(_, name)| !names.insert(name.as_str()))
        {
            return at(
                format!("{path}.instances[{index}]"),
                format!("duplicate instance {name:?}"),
            );
        }
        let batch = match self.batch {
            None => 1,
            Some(Batch::Count(count)) => count,
            // Rounded up, so that a small share is at least one instance.
            Some(Batch::Share(share)) => (share.weight().ppm() as usize * all).div_ceil(1_000_000),
        };
        if batch == 0 || batch >= all {
            let message = format!("{batch} of {all} instances; set at least 1 and fewer than all");
            return at(format!("{path}.batch"), message);
        }
        if all.div_ceil(batch) > MAX_BATCHES {
            let message = format!("{} batches are more than {MAX_BATCHES}", all.div_ceil(batch));
            return at(format!("{path}.batch"), message);
        }
        Ok(batch)
    }
}

/// The weight of `some` of `all` instances.
fn share(some: usize, all: usize) -> Weight {
    let ppm = (some * 1_000_000).checked_div(all).and_then(|ppm| u32::try_from(ppm).ok());
    ppm.and_then(Weight::from_ppm).unwrap_or(Weight::ALL)
}
