//! The phases of a rollout.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::event::RollbackReason;
use crate::observation::SliceCounts;

/// The phase of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum MachinePhase {
    /// The rollout has requested no split.
    Preparing,
    /// The proxy has not confirmed the requested split.
    Shifting {
        goal: Goal,
        since: Duration,
        /// The time since which no worker contradicts the split.
        followed: Option<Duration>,
    },
    /// A step is live.
    Baking {
        step: usize,
        /// The known time that it has been live.
        baked: Duration,
        /// Whether a person approved it.
        approved: bool,
        /// Whether the rollout emitted `ApprovalNeeded`.
        approval_requested: bool,
        /// Requests that end before this time are not judged: fast failures arrive before slow
        /// successes.
        warm_until: Duration,
    },
    /// The baseline serves all users, and the filter counts the users of the future slices.
    AaTesting {
        /// The known duration of the test so far.
        watched: Duration,
        slices: SliceCounts,
    },
    /// The candidate serves all users, and a rollback is still possible.
    Promoted {
        since: Duration,
    },
    /// The baseline serves its full capacity, and serin restores its instances.
    Reverting {
        reason: RollbackReason,
    },
    /// Only notifications of the end are pending.
    Closing {
        reason: Option<RollbackReason>,
        confirmed: bool,
    },
    Ended,
}

/// The purpose of a split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Goal {
    /// The A/A test.
    AaTest,
    /// The step with this index.
    Step(usize),
    /// All traffic back.
    Rollback(RollbackReason),
}
