//! The rolling strategy: the instances of a service get the new version batch by batch, and the weights follow them.
//!
//! Of `n` instances, `k` run the candidate when the next batch of `b` begins. While that batch serves nobody, the candidate's `k` instances
//! get k / (n - b) of the users and the baseline has what its remaining ones can carry; then (k + b) / n. Both only ever rise.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::table::Weight;

use super::super::call::Replacement;
use super::super::plan::{Gate, Step};
use super::hooks::HookSpec;
use super::strategy::{Bake, LimitSpec, PATH, limit};
use super::value::Percent;
use super::{SpecError, at};

/// No rollout takes more batches.
const MOST_BATCHES: usize = 50;

/// Instance after instance.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Rolling {
    /// Names of the instances, in the order in which they are replaced.
    instances: Vec<String>,
    /// How many at once, or which share such as 25%. Default: 1.
    #[serde(default)]
    batch: Batch,
    /// Takes an instance's requests away.
    drain: Option<HookSpec>,
    /// Has an instance run the version in the message.
    replace: HookSpec,
    /// Tells whether an instance serves.
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

impl Default for Batch {
    fn default() -> Self {
        Self::Count(1)
    }
}

impl Rolling {
    pub(super) fn steps(&self) -> Result<Vec<Step>, SpecError> {
        let path = format!("{PATH}.rolling");
        let all = self.instances.len();
        let batch = self.batch(&path)?;
        let bake = self.bake.checked(&format!("{path}.bake"))?;
        let limit = limit(&path, self.limit, bake)?;
        let mut steps = Vec::new();
        let mut replaced = 0;
        for instances in self.instances.chunks(batch) {
            let carried = share(replaced, all - instances.len());
            steps.push(Step { limit, instances: instances.to_vec(), ..Step::at(carried) });
            replaced += instances.len();
            let compared = bake.step(share(replaced, all), self.gate, limit);
            steps.push(Step { approval: self.approval && replaced < all, ..compared });
        }
        Ok(steps)
    }

    pub(super) fn replacement(&self) -> Result<Replacement, SpecError> {
        let checked =
            |hook: &HookSpec, name| hook.clone().checked(&format!("{PATH}.rolling.{name}"));
        Ok(Replacement {
            drain: self.drain.as_ref().map(|hook| checked(hook, "drain")).transpose()?,
            replace: checked(&self.replace, "replace")?,
            ready: self.ready.as_ref().map(|hook| checked(hook, "ready")).transpose()?,
        })
    }

    /// How many instances a batch has. One is left at least to serve meanwhile.
    fn batch(&self, path: &str) -> Result<usize, SpecError> {
        let all = self.instances.len();
        if all < 2 {
            return at(
                format!("{path}.instances"),
                "at least two are needed: one serves while another is replaced",
            );
        }
        let mut seen = BTreeSet::new();
        if let Some((index, name)) =
            self.instances.iter().enumerate().find(|(_, name)| !seen.insert(name.as_str()))
        {
            return at(format!("{path}.instances[{index}]"), format!("{name:?} is there twice"));
        }
        let batch = match self.batch {
            Batch::Count(count) => count,
            // At least as many as asked for, so that no share makes none.
            Batch::Share(share) => (share.weight().ppm() as usize * all).div_ceil(1_000_000),
        };
        if batch == 0 || batch >= all {
            let message = format!("{batch} of {all} instances; at least 1, and not all of them");
            return at(format!("{path}.batch"), message);
        }
        if all.div_ceil(batch) > MOST_BATCHES {
            let message = format!("{} batches are more than {MOST_BATCHES}", all.div_ceil(batch));
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
