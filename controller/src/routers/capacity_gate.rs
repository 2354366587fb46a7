//! A gate in front of a mesh's router: the candidate's share grows only if its Deployment has the
//! capacity. A share that is smaller or unchanged passes without a check: a rollback never waits.

use serin_core::ports::Router;
use serin_core::rollout::event::Stage;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::{Exposure, Step};
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;

use super::RouteError;
use crate::kubernetes::deployments::{CapacityError, DeploymentScaler};

/// A mesh's router behind a capacity check, if the rollout has Deployments.
#[derive(Debug)]
pub(crate) struct CapacityGate<R> {
    router: R,
    /// The candidate's present share.
    share: Weight,
    check: Option<CapacityCheck>,
}

#[derive(Debug)]
struct CapacityCheck {
    deployments: DeploymentScaler,
    /// The generation of a preview: its share is 0, but the candidate needs a ready replica.
    preview: Option<Generation>,
}

impl<R> CapacityGate<R> {
    /// A gate without a check. `share` is the candidate's present share.
    #[must_use]
    pub(crate) fn new(router: R, share: Weight) -> Self {
        Self { router, share, check: None }
    }

    /// Adds the check of these Deployments.
    pub(crate) fn set_check(&mut self, deployments: DeploymentScaler, rollout: &Rollout) {
        self.check = Some(CapacityCheck { deployments, preview: preview(rollout) });
    }

    /// Whether replicas follow the weights.
    #[must_use]
    pub(crate) fn scales(&self) -> bool {
        self.check.as_ref().is_some_and(|check| check.deployments.scale())
    }
}

impl CapacityCheck {
    async fn admit(&self, split: Split, share: Weight) -> Result<(), CapacityError> {
        let exposure = match self.preview == Some(split.generation) {
            true => Exposure::Preview,
            false => Exposure::Share(split.candidate),
        };
        match exposure == Exposure::Preview || split.candidate > share {
            true => self.deployments.ensure_capacity(&exposure).await,
            false => Ok(()),
        }
    }
}

/// The generation of a rollout's preview that is not live yet.
fn preview(rollout: &Rollout) -> Option<Generation> {
    rollout.plan().steps.first().filter(|step| Step::is_preview(step))?;
    let (status, present) = (rollout.status(), rollout.split().generation);
    match status.stage {
        Stage::Preparing => Some(present.next()),
        Stage::Step if status.step == Some(1) && !status.live => Some(present),
        _ => None,
    }
}

impl<R: Router<Error = RouteError>> Router for CapacityGate<R> {
    type Error = RouteError;

    async fn apply(&mut self, split: Split) -> Result<(), RouteError> {
        if let Some(check) = &self.check {
            check.admit(split, self.share).await?;
        }
        self.router.apply(split).await?;
        self.share = split.candidate;
        Ok(())
    }

    fn generation_at(&self, running: Generation) -> Generation {
        self.router.generation_at(running)
    }
}
