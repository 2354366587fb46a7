//! What a rollout tells: events as they happen, its status in between, a summary at the end.

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

/// Something that happened in a rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The rollout begins.
    Started {
        /// The service whose traffic moves.
        service: ServiceName,
        /// The version that runs.
        baseline: VersionName,
        /// The version that shall replace it.
        candidate: VersionName,
        /// The candidate's weight in each step, in parts per million.
        #[serde(with = "ppms")]
        #[schemars(with = "Vec<Weight>")]
        steps: Vec<Weight>,
        /// Whether clients of the one version can't be served by the other.
        breaking: bool,
    },
    /// The users of the future slices are going to be watched while the baseline serves everybody.
    AaTesting {
        /// The generation from which on they are.
        generation: Generation,
        /// How many salts there are to choose from.
        salts: usize,
        /// For how many seconds at least.
        duration: f64,
        /// How many requests with an identity it takes at least.
        requests: u64,
    },
    /// The salt whose slices differ least from the rest assigns the users from now on.
    SaltChosen {
        /// Which.
        salt: String,
        /// For each step that is compared: by how much its users' failure rate may still be above the others' without the
        /// candidate's doing, 0 to 1. The margins are wider by that.
        bias: Vec<f64>,
    },
    /// A new split has been asked for.
    Shifting {
        /// Number of the step, from 1; `None` when all traffic goes back.
        step: Option<usize>,
        /// The candidate's weight in parts per million.
        #[serde(with = "ppm")]
        #[schemars(with = "Weight")]
        weight: Weight,
        /// The generation that carries it.
        generation: Generation,
    },
    /// Every worker of the proxy follows the split.
    Live {
        /// The candidate's weight in parts per million.
        #[serde(with = "ppm")]
        #[schemars(with = "Weight")]
        weight: Weight,
        /// The generation that carries it.
        generation: Generation,
        /// Seconds since it was asked for.
        after: f64,
    },
    /// Something keeps the rollout from going on. Until it is gone, time does not count.
    Blocked {
        /// What it is and what to do.
        blocker: Blocker,
        /// The same as a sentence.
        message: String,
    },
    /// What blocked the rollout is gone.
    Unblocked,
    /// The proxy was started anew; its counters began again from zero.
    ProxyRestarted,
    /// Something that the user should know, and that keeps nothing from going on.
    Warning {
        /// What.
        message: String,
    },
    /// Where the rollout stands, after each look at the proxy and whatever followed from it.
    Progress(RolloutStatus),
    /// A step has passed its gate.
    GateOpened {
        /// Number of the step, from 1.
        step: usize,
        /// How the step went.
        status: RolloutStatus,
    },
    /// A step has taken longer than it may.
    StepTimeout {
        /// Number of the step, from 1.
        step: usize,
        /// How many seconds it may take.
        at_most: f64,
        /// What happens now.
        then: TimeoutAction,
    },
    /// Every gate has opened: the candidate serves everybody, and is watched for the rollback window.
    Promoted {
        /// How many seconds the window lasts.
        window: f64,
    },
    /// All that a step's gate wants is there, but for somebody's approval.
    ApprovalNeeded {
        /// Number of the step, from 1.
        step: usize,
    },
    /// A freeze has begun: no gate opens before it is over.
    FreezeStarted {
        /// When that is, with the time zone.
        until: String,
    },
    /// It is over.
    FreezeEnded,
    /// The time is over for which somebody had it held.
    PauseExpired,
    /// A hook is called.
    HookCalled {
        /// Of the call.
        id: String,
        /// When in the rollout.
        point: HookPoint,
        /// The address or the command.
        hook: String,
        /// The instances that it is about.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        instances: Vec<String>,
    },
    /// A hook has said yes.
    HookSucceeded {
        /// Of the call.
        id: String,
        /// When in the rollout.
        point: HookPoint,
        /// The address or the command.
        hook: String,
    },
    /// A hook has said no, or nothing. Told again only when the reason changes.
    HookFailed {
        /// Of the call.
        id: String,
        /// When in the rollout.
        point: HookPoint,
        /// The address or the command.
        hook: String,
        /// What it said.
        reason: String,
    },
    /// Somebody has given an order.
    Command(Command),
    /// All traffic goes back to the baseline.
    RollingBack {
        /// Why.
        reason: RollbackReason,
    },
    /// The rollout is over.
    Ended(Summary),
}

impl Event {
    /// Its name in CamelCase, as Kubernetes has it.
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

    /// Whether a person should look.
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

/// An event as JSON has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TimedEvent{E}")]
pub struct TimedEvent<E> {
    /// Seconds since the rollout began.
    pub at: f64,
    /// The event, or a reference to it.
    #[serde(flatten)]
    pub event: E,
}

/// Weights as parts per million.
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
