//! Starts and resumes rollouts: the one algorithm for files, xDS, plugins and weights.

use std::time::Duration;

use serin_core::observation::Observation;
use serin_core::observation::aggregator::join_names;
use serin_core::ports::{Router, Source};
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::split::{Split, UserAssignment};
use serin_filter::config::wire::AaTest;
use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;
use serin_filter::table::Weight;
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

use super::{Engine, RunState, freeze_end};
use crate::kubernetes::objects::ClusterError;
use crate::routers::{PresentSplit, RouteError};
use crate::sources::AnySource;

/// The time limit for the discovery of the first proxy.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for a filter's first report, since its proxy may have just started.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A rollout could not start. Nothing was changed.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum StartError {
    #[error("{field}: {cause}")]
    Route { field: &'static str, cause: RouteError },
    #[error("spec.freeze: no rollout starts before {until}")]
    Frozen { until: String },
    #[error(
        "{found}; a rollout that starts at {first} would reassign them to {baseline}: start at a higher weight, or roll them back first"
    )]
    WouldReassignUsers { found: String, baseline: String, first: Weight },
    #[error("{field}: only `serin operator` supports this field; use spec.envoy outside a cluster")]
    InCluster { field: &'static str },
    #[error(
        "spec.envoy: `serin operator` does not support this field; use `serin run` or `serin serve`"
    )]
    OutsideCluster,
    #[error("{reason}")]
    Unreachable { reason: String },
    #[error(
        "Envoy runs no serin filter: check that the listener's http_filters contain it and that its module loaded (no statistic {})",
        serin_filter::stat::GENERATION
    )]
    NoFilter,
    #[error(
        "proxies without the serin filter: {proxies}; check that their listeners' http_filters contain it and that its module loaded"
    )]
    NoFilterAt { proxies: String },
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

impl StartError {
    /// The reason in CamelCase, for conditions and metrics. It is stable.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Route { .. } | Self::InCluster { .. } | Self::OutsideCluster => "SpecInvalid",
            Self::Frozen { .. } => "Frozen",
            Self::WouldReassignUsers { .. } => "WouldReassignUsers",
            Self::Unreachable { .. } | Self::NoFilter | Self::NoFilterAt { .. } => "NoEvidence",
            Self::Cluster(error) => error.reason(),
        }
    }
}

/// The target of a rollout's splits, before the rollout starts.
pub trait RoutingBackend: Send {
    /// The router of this target.
    type Router: Router;

    /// Reads the split in force.
    fn present(&self) -> impl Future<Output = Result<PresentSplit, StartError>> + Send;

    /// Checks that requests can be sent to the candidate.
    ///
    /// # Errors
    /// Its destination is missing.
    fn check_candidate(&self) -> impl Future<Output = Result<(), StartError>> + Send {
        async { Ok(()) }
    }

    /// Permits splits that assign users by this A/A test.
    ///
    /// # Errors
    /// The filter would reject it.
    fn allow_aa_test(&mut self, test: AaTest) -> Result<(), StartError>;

    /// Connects a router, and a source of evidence for the plan's versions. `generation` and
    /// `candidate` are those of the last split that was requested of this target.
    fn connect(
        self,
        plan: &Plan,
        generation: Generation,
        candidate: Weight,
    ) -> Engine<Self::Router>;
}

/// The options of a start.
#[derive(Debug)]
pub struct StartOptions {
    /// Distinguishes rollouts of the same name.
    pub run: String,
    /// Whether users may be reassigned from a version that has served them.
    pub reset_users: bool,
    /// The newest generation that an earlier rollout of this service requested.
    pub last_generation: Generation,
}

/// Checks that a rollout can start, and starts it. It reassigns no user from a version that has
/// served them, unless the options allow it.
///
/// # Errors
/// A check failed.
pub async fn begin<B: RoutingBackend>(
    mut backend: B,
    mut plan: Plan,
    options: StartOptions,
) -> Result<(Engine<B::Router>, RunState), StartError> {
    if let Some(until) = freeze_end(&plan.freezes) {
        return Err(StartError::Frozen { until });
    }
    let present = backend.present().await?;
    backend.check_candidate().await?;
    if present.candidate > Weight::ZERO {
        // A new salt would reassign these users.
        plan.drop_aa_test();
    }
    if let Some(test) = plan.filter_aa_test() {
        backend.allow_aa_test(test)?;
    }
    if !options.reset_users {
        check_users(present, &plan)?;
    }
    let candidate = present.candidate;
    let generation = options.last_generation.max(present.generation.unwrap_or(Generation(0)));
    let mut engine = backend.connect(&plan, generation, candidate);
    // Without a proxy the first poll reports the reason.
    let _ = timeout(DISCOVERY_TIMEOUT, engine.source.discovered()).await;
    let reported = first_report(&mut engine.source).await?;
    // A proxy may run a split that another controller requested.
    let generation = generation.max(engine.router.generation_at(reported));
    let present = Split { generation, candidate, assignment: UserAssignment::ServiceSalt };
    let (rollout, outputs) = Rollout::start(plan, present, options.run);
    Ok((engine, RunState { rollout, outputs, at: Duration::ZERO }))
}

/// Resumes a rollout, `at` this time since it started, and requests its split again under the
/// same generation. A rollback that was applied but not persisted is repeated.
///
/// # Errors
/// The A/A test of the plan is rejected. The proxies need not be reachable yet.
pub async fn resume<B: RoutingBackend>(
    mut backend: B,
    mut rollout: Rollout,
    at: Duration,
) -> Result<(Engine<B::Router>, RunState), StartError> {
    if let Some(test) = rollout.plan().filter_aa_test() {
        backend.allow_aa_test(test)?;
    }
    // A split that can't be read now is requested again.
    let present = backend.present().await.ok();
    let Split { generation, candidate, .. } = rollout.split();
    let weight = present.map_or(Weight::ZERO, |present| present.candidate);
    let requested = match rollout.status().live && weight == candidate {
        true => generation,
        false => Generation(generation.0.saturating_sub(1)),
    };
    let rolled_back = present.is_some_and(|present| is_rollback(present, &rollout));
    let engine = backend.connect(rollout.plan(), requested, weight);
    rollout.resume_clock(at);
    let outputs = match rolled_back {
        true => rollout.resume_rollback(at),
        false => rollout.replay(),
    };
    Ok((engine, RunState { rollout, outputs, at }))
}

/// Checks that the first step reassigns no user from a version that has served them.
fn check_users(present: PresentSplit, plan: &Plan) -> Result<(), StartError> {
    let first = plan.steps.first().map_or(Weight::ZERO, |step| step.weight());
    let Plan { service, baseline, candidate, .. } = plan;
    let PresentSplit { candidate: weight, others, .. } = present;
    let found = if weight > first {
        format!("{candidate} has {weight} of the users of {service} already")
    } else if others > Weight::ZERO {
        format!(
            "a version of {service} that is neither {baseline} nor {candidate} has {others} of the users"
        )
    } else {
        return Ok(());
    };
    Err(StartError::WouldReassignUsers { found, baseline: baseline.to_string(), first })
}

/// Whether a rollback was applied but not persisted: the split in force is ahead of the state
/// without more users on the candidate, or gives the candidate less than was live.
fn is_rollback(present: PresentSplit, rollout: &Rollout) -> bool {
    let Split { generation, candidate, .. } = rollout.split();
    match present.generation {
        Some(newest) => newest > generation && present.candidate <= candidate,
        None => rollout.status().live && present.candidate < candidate,
    }
}

/// Waits until every reachable proxy runs the filter, and returns the newest generation among
/// them.
async fn first_report(source: &mut AnySource) -> Result<Generation, StartError> {
    let deadline = Instant::now() + FIRST_REPORT_TIMEOUT;
    loop {
        let delta = match source.observe().await {
            Observation::Delta(delta) => delta,
            Observation::Unreachable { reason } => return Err(StartError::Unreachable { reason }),
        };
        if delta.generation.is_some()
            && let Some(newest) = delta.newest_generation
        {
            return Ok(newest);
        }
        if Instant::now() >= deadline {
            let without = delta.health.outdated.iter().filter(|proxy| proxy.generation.is_none());
            let proxies = join_names(without.map(|proxy| &proxy.name));
            return Err(match proxies.is_empty() {
                true => StartError::NoFilter,
                false => StartError::NoFilterAt { proxies },
            });
        }
        sleep(FLUSH_INTERVAL).await;
    }
}
