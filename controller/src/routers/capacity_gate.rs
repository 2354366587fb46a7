//! Stands before a mesh's router: the candidate gets a greater share only when its Deployment can carry it. What gives it less, or as much as it
//! has, goes through at once, with no look at any Deployment: a rollback waits for nothing.

use serin_core::ports::Router;
use serin_core::rollout::event::Stage;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::{Exposure, Step};
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;

use super::RouteError;
use crate::kubernetes::deployments::{CapacityError, DeploymentScaler};

/// A mesh's router behind a guard, if the rollout has Deployments to look at.
#[derive(Debug)]
pub(crate) struct CapacityGate<R> {
    router: R,
    /// The share that the candidate has.
    share: Weight,
    check: Option<CapacityCheck>,
}

#[derive(Debug)]
struct CapacityCheck {
    deployments: DeploymentScaler,
    /// The split of a preview: its share is 0, but the candidate needs a ready replica.
    preview: Option<Generation>,
}

impl<R> CapacityGate<R> {
    /// A gate before the router of a mesh in which the candidate has this share, without a check yet.
    #[must_use]
    pub(crate) fn new(router: R, share: Weight) -> Self {
        Self { router, share, check: None }
    }

    /// Has the rollout look at these Deployments.
    pub(crate) fn set_check(&mut self, deployments: DeploymentScaler, rollout: &Rollout) {
        self.check = Some(CapacityCheck { deployments, preview: preview(rollout) });
    }

    /// Whether replicas follow the weights.
    #[must_use]
    pub(crate) fn scales(&self) -> bool {
        self.check.as_ref().is_some_and(|guard| guard.deployments.scale())
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

/// The generation of the preview that the rollout begins with and that is not live yet.
fn preview(rollout: &Rollout) -> Option<Generation> {
    rollout.plan().steps.first().filter(|step| Step::is_preview(step))?;
    let (shown, present) = (rollout.status(), rollout.split().generation);
    match shown.stage {
        Stage::Preparing => Some(present.next()),
        Stage::Step if shown.step == Some(1) && !shown.live => Some(present),
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
