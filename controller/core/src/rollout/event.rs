//! What a rollout tells: events as they happen, its status in between, a summary at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::outcome::Failure;
use serin_filter::table::Weight;

use super::call::HookPoint;
use super::plan::TimeoutAction;
use crate::judge::Interval;
use crate::judge::explain::share;
use crate::rollout::blocker::Blocker;
use crate::rollout::command::Command;
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

/// Why all traffic goes back to the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum RollbackReason {
    /// The candidate is worse.
    Harm {
        /// By what: `errors` or `latency`.
        sli: String,
        /// Why, as a sentence with the numbers.
        sentence: String,
        /// How many times likelier the evidence makes it than an acceptable candidate would at best: E.
        evidence: f64,
        /// The E at which the candidate counts as worse: 1/alpha.
        limit: f64,
        /// The block that decided, from 1.
        block: u64,
    },
    /// It failed so hard that a proxy has cut it off by itself.
    Tripwire {
        /// How hard, as a sentence with the numbers.
        sentence: String,
    },
    /// A step took longer than it may, and was to be rolled back then.
    StepTimeout {
        /// Number of the step, from 1.
        step: usize,
        /// How many seconds it may take.
        at_most: f64,
    },
    /// Requests that asked for the preview failed.
    Preview {
        /// The candidate.
        version: VersionName,
        /// So many.
        failures: u64,
        /// Of so many.
        requests: u64,
    },
    /// More of the candidate's requests have failed than the rollout may cost.
    FailureBudget {
        /// So many.
        failures: u64,
        /// How many it may.
        budget: u64,
    },
    /// A metric has broken its rule.
    Metric {
        /// Which.
        metric: String,
        /// What it has to keep to, in words.
        limit: String,
        /// The baseline's last value.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        baseline: Option<f64>,
        /// The candidate's last value.
        candidate: f64,
        /// So many values in a row were bad.
        consecutive: u32,
    },
    /// A hook that is called before the rollout has said no.
    HookRejected {
        /// When in the rollout.
        point: HookPoint,
        /// The address or the command.
        hook: String,
        /// What it said.
        reason: String,
    },
    /// It had been rolled back before the controller was started anew, but the store could not be written.
    ReasonNotPersisted,
    /// Somebody has ordered it.
    Command(Command),
    /// The user asked to stop.
    Interrupted,
}

impl fmt::Display for RollbackReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Harm { sentence, evidence, limit, block, .. } => {
                write!(f, "{sentence} (evidence {evidence:.0}, limit {limit:.0}, block {block})")
            }
            Self::Tripwire { sentence } => {
                write!(f, "the tripwire: the proxy has cut it off by itself; {sentence}")
            }
            Self::StepTimeout { step, at_most } => {
                let at_most = humantime::format_duration(Duration::from_secs_f64(*at_most));
                write!(f, "step {step} has not passed its gate within {at_most}")
            }
            Self::Preview { version, failures, requests } => {
                write!(
                    f,
                    "{} of the requests that asked for {version} failed",
                    share(*failures, *requests)
                )
            }
            Self::FailureBudget { failures, budget } => {
                write!(
                    f,
                    "{failures} requests have failed at the candidate; spec.failureBudget is {budget}"
                )
            }
            Self::Metric { metric, limit, baseline, candidate, consecutive } => {
                write!(f, "{metric} is {candidate}")?;
                if let Some(baseline) = baseline {
                    write!(f, " (baseline {baseline})")?;
                }
                write!(f, " and has to be {limit}: {consecutive} bad in a row")
            }
            Self::HookRejected { point, hook, reason } => {
                write!(f, "the {point} hook {hook} has not said yes: {reason}")
            }
            Self::ReasonNotPersisted => f.write_str(
                "it was rolled back before serin was started anew; why could not be stored",
            ),
            Self::Command(order) => order.fmt(f),
            Self::Interrupted => f.write_str("stopped by Ctrl-C or SIGTERM"),
        }
    }
}

/// Where a rollout stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutStatus {
    /// What is being done.
    pub stage: Stage,
    /// Number of the step, from 1; `None` while users are watched, in the rollback window, and while all traffic goes back.
    pub step: Option<usize>,
    /// How many steps there are.
    pub steps: usize,
    /// The candidate's weight in parts per million, as last asked for.
    #[serde(with = "ppm")]
    #[schemars(with = "Weight")]
    pub weight: Weight,
    /// Whether every worker follows it.
    pub live: bool,
    /// The running version, since the step went live.
    pub baseline: ArmStatus,
    /// The new version, since the step went live.
    pub candidate: ArmStatus,
    /// E: at `limit` the candidate is worse.
    pub evidence: f64,
    /// 1/alpha.
    pub limit: f64,
    /// What the step could have seen so far.
    pub sensitivity: Sensitivity,
    /// How much the candidate's failure rate is above the baseline's.
    pub difference: Interval,
    /// How far the step is from showing that there is no harm, if its gate asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub non_inferiority: Option<NonInferiorityStatus>,
    /// How long the step has been live, of how long it has to be.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub baked: Duration,
    /// How long the step has to be live.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub bake: Duration,
    /// Requests that the candidate has to answer in the step.
    pub requests_needed: u64,
    /// Time to promotion if nothing goes wrong, once it can be told.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "some_seconds")]
    #[schemars(with = "Option<f64>")]
    pub time_left: Option<Duration>,
    /// Requests with an identity so far, while users are watched; `baked`, `bake` and `requests_needed` are about that then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aa_test_requests: Option<u64>,
    /// The plan's metrics, once they have been measured in the step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<MetricStatus>,
    /// What the chance of a false rollback does not cover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caveat: Option<String>,
    /// Whether the rollout stays where it is, because somebody wants that or a step has taken too long.
    pub paused: bool,
    /// The end of the freeze that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze_end: Option<String>,
    /// What keeps the rollout from going on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocker: Option<String>,
}

/// What is being done in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// Hooks are called before anything is asked for.
    Preparing,
    /// Users are watched before the candidate has any.
    AaTesting,
    /// A step.
    Step,
    /// The candidate serves everybody, in the rollback window.
    Promoted,
    /// Traffic goes back to the baseline.
    RollingBack,
    /// Hooks are told of the end, or it has ended.
    Ending,
}

/// What a step could have seen: what it is worth that it saw no harm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Sensitivity {
    /// A candidate that fails as often as this, or more.
    Detects {
        /// The smallest such failure rate, 0 to 1.
        failure_rate: f64,
    },
    /// Not even a candidate that always fails: too few requests.
    Nothing,
    /// There is no baseline to compare with, but the candidate is held to its objectives.
    Objectives,
    /// There is no baseline to compare with, and no objective.
    NoBaseline,
    /// Only requests that ask for the candidate get it. Of those any failure is seen.
    Preview {
        /// How many there have been.
        requests: u64,
    },
}

/// How far a step is from showing that the candidate is no worse than its margins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NonInferiorityStatus {
    /// E: at `limit` it is shown.
    pub evidence: f64,
    /// 1 / (1 - confidence).
    pub limit: f64,
    /// About how many requests of the candidate it takes at this split, if it is as good as the baseline; `None` if no number does.
    pub requests_needed: Option<u64>,
}

/// A metric as it was measured last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MetricStatus {
    /// Which.
    pub name: String,
    /// What it has to keep to, in words.
    pub limit: String,
    /// The baseline's value, if one was asked for and is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<f64>,
    /// The candidate's value, if it is known.
    pub candidate: Option<f64>,
    /// How many values in a row were bad.
    pub bad: u32,
    /// How many in a row roll the rollout back.
    pub consecutive: u32,
}

/// How one version does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArmStatus {
    /// Which.
    pub version: VersionName,
    /// Requests that ended.
    pub requests: u64,
    /// Failures among them.
    pub failures: u64,
    /// Their share, 0 to 1.
    pub failure_rate: Option<f64>,
    /// Median latency in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of latency in milliseconds.
    pub p99_ms: Option<f64>,
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The verdict.
    pub verdict: RolloutVerdict,
    /// Why, unless promoted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<RollbackReason>,
    /// The service.
    pub service: ServiceName,
    /// The version that ran.
    pub baseline: VersionName,
    /// The version that was to replace it.
    pub candidate: VersionName,
    /// The candidate's weight at the end, in parts per million.
    #[serde(with = "ppm")]
    #[schemars(with = "Weight")]
    pub weight: Weight,
    /// The generation that carries it.
    pub generation: Generation,
    /// Whether every worker confirmed it.
    pub confirmed: bool,
    /// How long the rollout took.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub duration: Duration,
    /// Requests that the candidate served.
    pub candidate_requests: u64,
    /// Failures that their callers saw, by kind.
    pub candidate_failures: BTreeMap<Failure, u64>,
}

/// How a rollout can end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RolloutVerdict {
    /// The candidate has all traffic.
    Promoted,
    /// The candidate was worse, or a limit was reached; the baseline has all traffic.
    RolledBack,
    /// The user stopped it; the baseline has all traffic.
    Interrupted,
}

/// Spans of time as seconds.
mod seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        span.as_secs_f64().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(from)?).map_err(D::Error::custom)
    }
}

mod some_seconds {
    use std::time::Duration;

    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[allow(clippy::ref_option)] // the signature is serde's
    pub(super) fn serialize<S: Serializer>(
        span: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        span.map(|span| span.as_secs_f64()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        let seconds = Option::<f64>::deserialize(from)?;
        seconds.map(Duration::try_from_secs_f64).transpose().map_err(D::Error::custom)
    }
}
