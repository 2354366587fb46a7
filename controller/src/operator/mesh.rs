//! A rollout's mesh: the router that applies splits, and the source that observes proxies.

mod filtered;
mod weighted;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serin_core::ports::Router;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{IstioProxies, Pods, Proxies, Spec, Splitter, StatisticsSource};
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::Instrument;

pub(crate) use self::filtered::Plugins;
use self::filtered::{PluginRouter, PluginTarget};
use self::weighted::WeightedRoute;
use crate::engine::{reassigned_users, running};
use crate::kubernetes::fence::Fence;
use crate::kubernetes::pods;
use crate::operator::reconcile_error::{ReconcileError, invalid};
use crate::routers::capacity_gate::CapacityGate;
use crate::routers::weights::WeightRouter;
use crate::sources::AnySource;
use crate::sources::fleet::discovery::ProxyList;
use crate::sources::fleet::{FleetSource, MetricIndex, ProxyDiscovery, Scraper, StatsReader};
use crate::sources::prometheus::{PrometheusSource, Series};
use crate::telemetry::operator::OperatorMetrics;

/// After this time there are no pods, if none have been found.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// What all rollouts of an operator have in common.
#[derive(Clone)]
pub(crate) struct ClusterContext {
    /// The API server.
    pub(crate) client: Client,
    /// Whether it may be written to.
    pub(crate) fence: Fence,
    /// Reads proxies.
    pub(crate) scraper: Scraper,
    /// Plugins that rollouts share.
    pub(crate) plugins: Plugins,
    /// Counts errors.
    pub(crate) metrics: Arc<OperatorMetrics>,
}

/// A rollout's mesh, as it is followed.
#[derive(Debug)]
pub(crate) struct MeshHandles {
    /// The router that applies splits.
    pub(crate) router: CapacityGate<MeshRouter>,
    /// What is seen of it.
    pub(crate) source: AnySource,
    /// What follows it: ends with this.
    pub(crate) watches: JoinSet<()>,
    /// Its proxies, if they are read themselves.
    proxies: Option<watch::Receiver<ProxyList>>,
}

/// Tells a mesh splits.
#[derive(Debug)]
pub(crate) enum MeshRouter {
    /// By weights in its routes.
    Weights(Box<WeightRouter>),
    /// By the filter's configuration.
    Plugin(Box<PluginRouter>),
}

impl Router for MeshRouter {
    async fn apply(&mut self, split: Split) -> Result<(), String> {
        match self {
            Self::Weights(router) => router.apply(split).await,
            Self::Plugin(router) => router.apply(split).await,
        }
    }

    fn generation_at(&self, running: Generation) -> Generation {
        match self {
            Self::Weights(router) => router.generation_at(running),
            Self::Plugin(router) => router.generation_at(running),
        }
    }
}

/// Where a rollout is carried out.
enum RoutingBackend {
    Weights(WeightedRoute),
    Filter(PluginTarget),
}

impl RoutingBackend {
    async fn of(
        cluster: &ClusterContext,
        namespace: &str,
        spec: &Spec,
    ) -> Result<(Self, Pods), ReconcileError> {
        Ok(match &spec.proxies {
            Proxies::Istio(IstioProxies { splitter: Splitter::Filter { plugin }, pods }) => {
                let place = PluginTarget::open(cluster, namespace, plugin, &spec.service).await?;
                (Self::Filter(place), pods.clone())
            }
            Proxies::Istio(IstioProxies {
                splitter: Splitter::Mesh { virtual_service, versions, drift },
                pods,
            }) => {
                let place = WeightedRoute::virtual_service(
                    cluster,
                    namespace,
                    virtual_service,
                    versions,
                    *drift,
                );
                (Self::Weights(place), pods.clone())
            }
            Proxies::GatewayApi(route) => {
                let place = WeightedRoute::route(cluster, namespace, route);
                (Self::Weights(place), route.pods.clone())
            }
            Proxies::Envoy(_) => return Err(invalid("spec.envoy: is for files")),
        })
    }
}

/// A rollout that can begin.
pub(crate) struct StartState {
    /// Where.
    pub(crate) mesh: MeshHandles,
    /// What it does.
    pub(crate) plan: Plan,
    /// The split that is in force.
    pub(crate) present: Split,
}

/// Makes sure that a rollout can begin, and that nobody is taken from a version that they have met. `generation` is the number of the last
/// split that was asked for.
pub(crate) async fn begin(
    cluster: &ClusterContext,
    namespace: &str,
    spec: Spec,
    generation: Generation,
) -> Result<StartState, ReconcileError> {
    let (place, pods) = RoutingBackend::of(cluster, namespace, &spec).await?;
    let mut plan = spec.plan;
    let (candidate, others) = match &place {
        RoutingBackend::Weights(place) => {
            let present = place.current_weight().await?;
            place.check(cluster, namespace).await?;
            (present, Weight::ZERO)
        }
        RoutingBackend::Filter(place) => place.current_weight(),
    };
    if let Some(found) = reassigned_users(&plan, candidate, others) {
        let reason = format!(
            "{found}, and a rollout would take them back: change the first step, or give them back by hand"
        );
        return Err(ReconcileError("WouldReassignUsers", reason));
    }
    if candidate > Weight::ZERO {
        // They stay with it: to choose another salt now would take them away.
        plan.drop_aa_test();
    }
    let (mut mesh, generation) = match place {
        RoutingBackend::Weights(place) => {
            (place.follow(cluster, namespace, pods, &plan, generation, candidate), generation)
        }
        RoutingBackend::Filter(mut place) => {
            place.allow_aa_test(&plan)?;
            let generation = place.generation().max(generation);
            (place.follow(cluster, namespace, pods, &plan), generation)
        }
    };
    if let Some(listing) = &mut mesh.proxies {
        // Which pods there are is not known at once.
        let known = listing.wait_for(|listing| !listing.proxies.is_empty());
        let _ = timeout(LIST_TIMEOUT, known).await;
    }
    let seen = running(&mut mesh.source).await;
    let seen = seen.map_err(|error| ReconcileError("NoEvidence", error.to_string()))?;
    let present = Split {
        // A proxy may run what another controller has left.
        generation: generation.max(mesh.router.generation_at(seen)),
        ..Split { candidate, ..Split::baseline(generation) }
    };
    Ok(StartState { mesh, plan, present })
}

/// Follows the mesh of a rollout that was left under way. Whether it had been rolled back, which is done before it is stored.
pub(crate) async fn resume(
    cluster: &ClusterContext,
    namespace: &str,
    spec: &Spec,
    rollout: &Rollout,
) -> Result<(MeshHandles, bool), ReconcileError> {
    let (place, pods) = RoutingBackend::of(cluster, namespace, spec).await?;
    match place {
        RoutingBackend::Weights(place) => Ok(place.resume(cluster, namespace, pods, rollout).await),
        RoutingBackend::Filter(mut place) => {
            place.allow_aa_test(rollout.plan())?;
            let rolled_back = place.rolled_back(rollout.split());
            Ok((place.follow(cluster, namespace, pods, rollout.plan()), rolled_back))
        }
    }
}

/// The candidate's present share.
pub(crate) async fn share(
    cluster: &ClusterContext,
    namespace: &str,
    spec: &Spec,
) -> Result<Weight, ReconcileError> {
    match RoutingBackend::of(cluster, namespace, spec).await?.0 {
        RoutingBackend::Weights(place) => Ok(place.current_weight().await?),
        RoutingBackend::Filter(place) => Ok(place.current_weight().0),
    }
}

/// Evidence of the proxies in some pods, with what follows which pods there are.
fn proxy_source(
    cluster: &ClusterContext,
    namespace: &str,
    pods: Pods,
    plan: &Plan,
    watches: &mut JoinSet<()>,
) -> (AnySource, Option<watch::Receiver<ProxyList>>) {
    let port = match &pods.statistics {
        StatisticsSource::Port(port) => *port,
        StatisticsSource::Prometheus(settings) => {
            let prometheus = PrometheusSource::new(settings.clone(), Series::plain(&plan.series()));
            return (AnySource::Prometheus(Box::new(prometheus)), None);
        }
    };
    let (listing, changes) = watch::channel(ProxyList::default());
    let (client, namespace) = (cluster.client.clone(), namespace.to_owned());
    let metrics = cluster.metrics.clone();
    let follow =
        async move { pods::follow(client, &namespace, &pods, port, listing, metrics).await };
    watches.spawn(follow.in_current_span());
    let reader = StatsReader::Exposition(MetricIndex::new(&plan.series()));
    let discovery = ProxyDiscovery::follow(changes.clone());
    let fleet = FleetSource::new(discovery, cluster.scraper.clone(), reader);
    (AnySource::Fleet(Box::new(fleet)), Some(changes))
}
