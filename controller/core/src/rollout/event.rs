//! The output of a rollout: events, statuses and a summary.

mod reason;
mod seconds;
mod status;
mod summary;
mod wording;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::table::Weight;

pub use self::reason::RollbackReason;
pub use self::status::{
    ArmStatus, MetricStatus, NonInferiorityStatus, RolloutStatus, Sensitivity, Stage,
};
pub use self::summary::{RolloutVerdict, Summary};
use super::blocker::Blocker;
use super::call::HookPoint;
use super::command::Command;
use super::plan::TimeoutAction;
use crate::split::ppm;

/// An event of a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The rollout starts.
    Started {
        /// The service whose traffic moves.
        service: ServiceName,
        /// The version that serves all users at the start.
        baseline: VersionName,
        /// The version to roll out.
        candidate: VersionName,
        /// The candidate's weight in each step, in parts per million.
        #[serde(with = "ppms")]
        #[schemars(with = "Vec<Weight>")]
        steps: Vec<Weight>,
        /// Whether the versions can't serve each other's clients.
        breaking: bool,
    },
    /// The A/A test starts: the baseline serves all users, and the filter counts the users of the
    /// future slices.
    AaTesting {
        /// The generation of the test.
        generation: Generation,
        /// The number of candidate salts.
        salts: usize,
        /// The minimum duration in seconds.
        duration: f64,
        /// The minimum number of requests with an identity.
        requests: u64,
    },
    /// The salt whose slices differ least assigns the users from now on.
    SaltChosen {
        /// The salt.
        salt: String,
        /// For each compared step, the bound on the failure rate of its users above that of the
        /// others without an effect of the candidate, 0 to 1. It widens the margins.
        bias: Vec<f64>,
    },
    /// A new split is requested.
    Shifting {
        /// Number of the step, from 1; `None` in a rollback.
        step: Option<usize>,
        /// The candidate's weight in parts per million.
        #[serde(with = "ppm")]
        #[schemars(with = "Weight")]
        weight: Weight,
        /// The generation of the split.
        generation: Generation,
    },
    /// Every worker of the proxies follows the split.
    Live {
        /// The candidate's weight in parts per million.
        #[serde(with = "ppm")]
        #[schemars(with = "Weight")]
        weight: Weight,
        /// The generation of the split.
        generation: Generation,
        /// Seconds since its request.
        after: f64,
    },
    /// A condition blocks the rollout. Time does not count until it clears.
    Blocked {
        /// The condition.
        blocker: Blocker,
        /// The condition as a sentence, with a remedy.
        message: String,
    },
    /// The blocking condition cleared.
    Unblocked,
    /// The proxy restarted, and its counters restarted from zero.
    ProxyRestarted,
    /// A warning that does not block the rollout.
    Warning {
        /// The warning.
        message: String,
    },
    /// The status after each poll and its effects.
    Progress(RolloutStatus),
    /// A step passed its gate.
    GateOpened {
        /// Number of the step, from 1.
        step: usize,
        /// The status of the step.
        status: RolloutStatus,
    },
    /// A step exceeded its limit.
    StepTimeout {
        /// Number of the step, from 1.
        step: usize,
        /// The limit in seconds.
        at_most: f64,
        /// The action.
        then: TimeoutAction,
    },
    /// Every gate opened: the candidate serves all users, and the rollback window starts.
    Promoted {
        /// The length of the window in seconds.
        window: f64,
    },
    /// A step's gate waits only for approval.
    ApprovalNeeded {
        /// Number of the step, from 1.
        step: usize,
    },
    /// A freeze started: no gate opens before it ends.
    FreezeStarted {
        /// The end of the freeze, with the time zone.
        until: String,
    },
    /// The freeze ended.
    FreezeEnded,
    /// The timed pause expired.
    PauseExpired,
    /// serin calls a hook.
    HookCalled {
        /// The id of the call.
        id: String,
        /// The point of the call.
        point: HookPoint,
        /// The address or the command.
        hook: String,
        /// The instances that the call is for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<String>,
    },
    /// A hook succeeded.
    HookSucceeded {
        /// The id of the call.
        id: String,
        /// The point of the call.
        point: HookPoint,
        /// The address or the command.
        hook: String,
    },
    /// A hook failed or did not answer. Emitted again only if the reason changes.
    HookFailed {
        /// The id of the call.
        id: String,
        /// The point of the call.
        point: HookPoint,
        /// The address or the command.
        hook: String,
        /// The error.
        reason: String,
    },
    /// A person gave a command.
    Command(Command),
    /// All traffic moves back to the baseline.
    RollingBack {
        /// The reason.
        reason: RollbackReason,
    },
    /// The rollout ended.
    Ended(Summary),
}

impl Event {
    /// The event's name in CamelCase, as a Kubernetes reason.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Started { .. } => "Started",
            Self::AaTesting { .. } => "AATesting",
            Self::SaltChosen { .. } => "SaltChosen",
            Self::Shifting { .. } => "Shifting",
            Self::Live { .. } => "Live",
            Self::Blocked { .. } => "Blocked",
            Self::Unblocked => "Unblocked",
            Self::ProxyRestarted => "ProxyRestarted",
            Self::Warning { .. } => "Warning",
            Self::Progress(_) => "Progress",
            Self::GateOpened { .. } => "GateOpened",
            Self::StepTimeout { .. } => "StepTimeout",
            Self::Promoted { .. } => "RollbackWindow",
            Self::ApprovalNeeded { .. } => "ApprovalNeeded",
            Self::FreezeStarted { .. } => "FreezeStarted",
            Self::FreezeEnded => "FreezeEnded",
            Self::PauseExpired => "PauseExpired",
            Self::HookCalled { .. } => "HookCalled",
            Self::HookSucceeded { .. } => "HookSucceeded",
            Self::HookFailed { .. } => "HookFailed",
            Self::Command(_) => "Command",
            Self::RollingBack { .. } => "RollingBack",
            Self::Ended(summary) => summary.verdict.reason(),
        }
    }

    /// Returns true if the event needs a person's attention.
    #[must_use]
    pub fn is_warning(&self) -> bool {
        match self {
            Self::Blocked { .. }
            | Self::Warning { .. }
            | Self::StepTimeout { .. }
            | Self::ApprovalNeeded { .. }
            | Self::HookFailed { .. }
            | Self::RollingBack { .. } => true,
            Self::Ended(summary) => summary.verdict != RolloutVerdict::Promoted,
            _ => false,
        }
    }
}

/// An event with its time, as serialized to JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TimedEvent{E}")]
pub struct TimedEvent<E> {
    /// Seconds since the rollout started.
    pub at: f64,
    /// The event, or a reference to it.
    #[serde(flatten)]
    pub event: E,
}

/// Serializes weights as parts per million.
mod ppms {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serin_filter::table::Weight;

    #[allow(clippy::ptr_arg)] // the signature is serde's
    pub(super) fn serialize<S: Serializer>(
        weights: &Vec<Weight>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        weights.iter().map(|weight| weight.ppm()).collect::<Vec<_>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Weight>, D::Error> {
        let weights = Vec::<u32>::deserialize(from)?.into_iter().map(Weight::from_ppm);
        weights.collect::<Option<_>>().ok_or_else(|| D::Error::custom("a weight above 1000000"))
    }
}
