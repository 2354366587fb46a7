//! Where a rollout is on its way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::event::RollbackReason;
use crate::observation::SliceCounts;

/// What is being done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum MachinePhase {
    /// Nothing has been asked for yet.
    Preparing,
    /// A split is on its way to the proxy.
    Shifting {
        goal: Goal,
        since: Duration,
        /// Since when no worker has contradicted.
        followed: Option<Duration>,
    },
    /// A step is live and being watched.
    Baking {
        step: usize,
        /// How long it has been live, as far as is known.
        baked: Duration,
        /// Whether somebody has approved of it.
        approved: bool,
        /// Whether the rollout emitted `ApprovalNeeded`.
        approval_requested: bool,
        /// Requests that end before this time are not judged: fast failures arrive before slow
        /// successes.
        warm_until: Duration,
    },
    /// The baseline serves everybody, and the users of the future slices are watched.
    AaTesting {
        /// For how long, as far as is known.
        watched: Duration,
        slices: SliceCounts,
    },
    /// The candidate serves everybody, and can still be taken back.
    Promoted {
        since: Duration,
    },
    /// The baseline serves all that it can, and gets instances back.
    Reverting {
        reason: RollbackReason,
    },
    /// Nothing is left to do but to tell those who are called at the end.
    Closing {
        reason: Option<RollbackReason>,
        confirmed: bool,
    },
    Ended,
}

/// What a split is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Goal {
    /// To watch users.
    AaTest,
    /// The step with this index.
    Step(usize),
    /// All traffic back.
    Rollback(RollbackReason),
}
