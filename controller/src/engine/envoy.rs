//! A rollout on Envoys whose filters follow one file.

use std::time::Duration;

use serin_core::config::sink::SinkLocation;
use serin_core::observation::Observation;
use serin_core::observation::aggregator::join_names;
use serin_core::ports::Source;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{EnvoyProxies, Proxies, Spec};
use serin_core::split::{Split, UserAssignment};
use serin_filter::names::Generation;
use serin_filter::stat::FLUSH_INTERVAL;
use serin_filter::table::Weight;
use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::{Engine, RunState, frozen};
use crate::routers::filter::FilterRouter;
use crate::routers::{ConfigSinks, RouteError};
use crate::sources::AnySource;
use crate::sources::fleet::Scraper;

/// The time limit for a filter's first report, since its proxy may have just started.
const FIRST_REPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// A rollout could not start. Nothing was changed.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum StartError {
    #[error("{field}: {cause}; nothing was changed")]
    Route { field: &'static str, cause: RouteError },
    #[error("spec.freeze: nothing begins before {until}; nothing was changed")]
    Frozen { until: String },
    #[error(
        "{found}; --reset-users takes them to {baseline} and begins at {first}; nothing was changed"
    )]
    WouldReassignUsers { found: String, baseline: String, first: Weight },
    #[error(
        "{field}: `serin operator` carries this out, for objects in a cluster; elsewhere spec.envoy is needed; nothing was changed"
    )]
    InCluster { field: &'static str },
    #[error("{reason}; nothing was changed")]
    Unreachable { reason: String },
    #[error(
        "Envoy runs no serin filter: is it in the listener's http_filters, and did its module load? (no statistic {}); nothing was changed",
        serin_filter::stat::GENERATION
    )]
    NoFilter,
    #[error(
        "some of the proxies run no serin filter: {proxies}: is it in their listeners' http_filters, and did its module load?; nothing was changed"
    )]
    NoFilterAt { proxies: String },
}

/// The shared state of all rollouts of a process.
#[derive(Debug, Clone, Default)]
pub struct EngineContext {
    /// The configuration sinks; each is opened once.
    pub sinks: ConfigSinks,
    /// Scrapes proxies; concurrent readers share one scrape of a page.
    pub scraper: Scraper,
}

/// An engine for Envoys that follow one file.
pub type EnvoyEngine = Engine<FilterRouter, AnySource>;

impl EnvoyEngine {
    /// Checks that a rollout can start, and that no user is reassigned from a version that they
    /// have met, unless `reset_users` allows it. `run` distinguishes rollouts of the same name.
    ///
    /// # Errors
    /// A check failed.
    pub async fn begin(
        shared: &EngineContext,
        spec: Spec,
        run: String,
        reset_users: bool,
    ) -> Result<(Self, RunState), StartError> {
        let Spec { mut plan, service, proxies, .. } = spec;
        let envoy = envoy(proxies)?;
        if let Some(until) = frozen(&plan) {
            return Err(StartError::Frozen { until });
        }
        let mut file = FilterRouter::open(&shared.sinks, &envoy.sink, &service)
            .map_err(refused(&envoy.sink))?;
        let candidate = file.candidate();
        if candidate > Weight::ZERO {
            // A new salt would reassign these users.
            plan.drop_aa_test();
        }
        plan.filter_aa_test()
            .map_or(Ok(()), |watch| file.allow_aa_test(watch))
            .map_err(refused(&envoy.sink))?;
        if !reset_users
            && let Some(found) = reassigned_users(&plan, candidate, file.others_weight())
        {
            let first = plan.steps.first().map_or(Weight::ZERO, |step| step.weight());
            return Err(StartError::WouldReassignUsers {
                found,
                baseline: plan.baseline.to_string(),
                first,
            });
        }
        let (service, filter) = (plan.service.clone(), file.filter());
        let mut source = AnySource::new(envoy.source, &shared.scraper, service, filter);
        let running = running(&mut source).await?;
        // If another rollout wrote meanwhile, this one counts its own generations.
        let generation = match running > file.sink_generation() {
            true => running,
            false => file.generation(),
        };
        let present = Split { generation, candidate, assignment: UserAssignment::ServiceSalt };
        let (rollout, outputs) = Rollout::start(plan, present, run);
        Ok((Self { router: file, source }, RunState { rollout, outputs, at: Duration::ZERO }))
    }

    /// Resumes a rollout, `at` this time since it started, and requests its split again under the
    /// same generation. If the file is ahead of the state without more users on the candidate, a
    /// rollback was applied but not persisted; it is repeated under the same generation.
    ///
    /// # Errors
    /// The file can't be opened. The proxy need not be reachable yet.
    pub fn resume(
        shared: &EngineContext,
        spec: Spec,
        mut rollout: Rollout,
        at: Duration,
    ) -> Result<(Self, RunState), StartError> {
        let Spec { plan, service, proxies, .. } = spec;
        let envoy = envoy(proxies)?;
        let mut file = FilterRouter::open(&shared.sinks, &envoy.sink, &service)
            .map_err(refused(&envoy.sink))?;
        let watched = rollout.plan().filter_aa_test();
        watched.map_or(Ok(()), |watch| file.allow_aa_test(watch)).map_err(refused(&envoy.sink))?;
        let filter = file.filter();
        let Split { generation, candidate, .. } = rollout.split();
        let rolled_back = file.generation() > generation && file.candidate() <= candidate;
        rollout.resume_clock(at);
        let outputs = match rolled_back {
            true => rollout.resume_rollback(at),
            false => rollout.replay(),
        };
        let source = AnySource::new(envoy.source, &shared.scraper, plan.service, filter);
        Ok((Self { router: file, source }, RunState { rollout, outputs, at }))
    }
}

/// The Envoys of a rollout, unless it runs only in a mesh.
fn envoy(proxies: Proxies) -> Result<EnvoyProxies, StartError> {
    match proxies {
        Proxies::Envoy(envoy) => Ok(envoy),
        Proxies::Istio(_) => Err(StartError::InCluster { field: "spec.istio" }),
        Proxies::GatewayApi(_) => Err(StartError::InCluster { field: "spec.gatewayApi" }),
    }
}

fn refused(place: &SinkLocation) -> impl FnOnce(RouteError) -> StartError {
    let field = place.field();
    move |cause| StartError::Route { field, cause }
}

/// Waits until every reachable proxy runs the filter, and returns the newest generation among
/// them.
pub(crate) async fn running(source: &mut impl Source) -> Result<Generation, StartError> {
    let deadline = Instant::now() + FIRST_REPORT_TIMEOUT;
    loop {
        let seen = match source.observe().await {
            Observation::Delta(seen) => seen,
            Observation::Unreachable { reason } => return Err(StartError::Unreachable { reason }),
        };
        if seen.generation.is_some()
            && let Some(newest) = seen.newest_generation
        {
            return Ok(newest);
        }
        if Instant::now() >= deadline {
            let without = seen.health.outdated.iter().filter(|proxy| proxy.generation.is_none());
            let proxies = join_names(without.map(|proxy| &proxy.name));
            return Err(match proxies.is_empty() {
                true => StartError::NoFilter,
                false => StartError::NoFilterAt { proxies },
            });
        }
        sleep(FLUSH_INTERVAL).await;
    }
}

/// The reason not to start at the first step: users whom it would reassign from a version that
/// they have met.
pub(crate) fn reassigned_users(plan: &Plan, present: Weight, others: Weight) -> Option<String> {
    let first = plan.steps.first().map_or(Weight::ZERO, |step| step.weight());
    let Plan { service, baseline, candidate, .. } = plan;
    match (present, others) {
        (weight, _) if weight > first => {
            Some(format!("{candidate} has {weight} of the users of {service} already"))
        }
        (_, others) if others > Weight::ZERO => Some(format!(
            "a version of {service} that is neither {baseline} nor {candidate} has {others} of the users"
        )),
        _ => None,
    }
}
