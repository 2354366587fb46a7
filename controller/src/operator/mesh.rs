//! A rollout's mesh: the router that applies splits, and the source that observes proxies.

mod filtered;
mod weighted;

use std::sync::Arc;

use kube::Client;
use serin_core::ports::Router;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{IstioProxies, Pods, Proxies, Spec, Splitter, StatisticsSource};
use serin_core::split::Split;
use serin_filter::config::wire::AaTest;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::Instrument;

pub(crate) use self::filtered::Plugins;
use self::filtered::{PluginRouter, PluginTarget};
use self::weighted::WeightedRoute;
use crate::engine::Engine;
use crate::engine::start::{RoutingBackend, StartError};
use crate::kubernetes::fence::Fence;
use crate::kubernetes::pods;
use crate::routers::capacity_gate::CapacityGate;
use crate::routers::weights::WeightRouter;
use crate::routers::{PresentSplit, RouteError};
use crate::sources::AnySource;
use crate::sources::fleet::discovery::ProxyList;
use crate::sources::fleet::{FleetSource, MetricIndex, ProxyDiscovery, Scraper, StatsReader};
use crate::sources::prometheus::{PrometheusSource, Series};
use crate::telemetry::operator::OperatorMetrics;

/// The shared state of all rollouts of an operator.
#[derive(Clone)]
pub(crate) struct ClusterContext {
    /// The API server.
    pub(crate) client: Client,
    /// Admits writes while this operator leads.
    pub(crate) fence: Fence,
    /// Scrapes proxies.
    pub(crate) scraper: Scraper,
    /// The plugins; rollouts may share one.
    pub(crate) plugins: Plugins,
    /// Counts errors.
    pub(crate) metrics: Arc<OperatorMetrics>,
}

/// An engine for a rollout in a mesh.
pub(crate) type MeshEngine = Engine<CapacityGate<MeshRouter>>;

/// Applies splits to a mesh.
#[derive(Debug)]
pub(crate) enum MeshRouter {
    /// By the weights of its routes.
    Weights(Box<WeightRouter>),
    /// By the filter's configuration.
    Plugin(Box<PluginRouter>),
}

impl Router for MeshRouter {
    type Error = RouteError;

    async fn apply(&mut self, split: Split) -> Result<(), RouteError> {
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

/// The objects that split a rollout's service, and the pods whose proxies are observed.
pub(crate) struct MeshBackend<'c> {
    cluster: &'c ClusterContext,
    namespace: &'c str,
    pods: Pods,
    target: MeshTarget,
}

enum MeshTarget {
    Weights(WeightedRoute),
    Plugin(PluginTarget),
}

impl<'c> MeshBackend<'c> {
    /// Opens the objects that the specification names.
    ///
    /// # Errors
    /// A plugin can't be read, or is not serin's.
    pub(crate) async fn open(
        cluster: &'c ClusterContext,
        namespace: &'c str,
        spec: &Spec,
    ) -> Result<Self, StartError> {
        let (target, pods) = match &spec.proxies {
            Proxies::Istio(IstioProxies { splitter: Splitter::Filter { plugin }, pods }) => {
                let target = PluginTarget::open(cluster, namespace, plugin, &spec.service).await?;
                (MeshTarget::Plugin(target), pods)
            }
            Proxies::Istio(IstioProxies {
                splitter: Splitter::Mesh { virtual_service, versions, drift },
                pods,
            }) => {
                let target = WeightedRoute::virtual_service(
                    cluster,
                    namespace,
                    virtual_service,
                    versions,
                    *drift,
                );
                (MeshTarget::Weights(target), pods)
            }
            Proxies::GatewayApi(route) => {
                let target = WeightedRoute::route(cluster, namespace, route);
                (MeshTarget::Weights(target), &route.pods)
            }
            Proxies::Envoy(_) => return Err(StartError::OutsideCluster),
        };
        Ok(Self { cluster, namespace, pods: pods.clone(), target })
    }
}

impl RoutingBackend for MeshBackend<'_> {
    type Router = CapacityGate<MeshRouter>;

    async fn present(&self) -> Result<PresentSplit, StartError> {
        match &self.target {
            MeshTarget::Weights(target) => {
                let candidate = target.current_weight().await?;
                Ok(PresentSplit { generation: None, candidate, others: Weight::ZERO })
            }
            MeshTarget::Plugin(target) => Ok(target.present()),
        }
    }

    async fn check_candidate(&self) -> Result<(), StartError> {
        match &self.target {
            MeshTarget::Weights(target) => target.check(self.cluster, self.namespace).await,
            // The filter's configuration names the clusters.
            MeshTarget::Plugin(_) => Ok(()),
        }
    }

    fn allow_aa_test(&mut self, test: AaTest) -> Result<(), StartError> {
        match &mut self.target {
            // The weights of routes can't assign users.
            MeshTarget::Weights(_) => Ok(()),
            MeshTarget::Plugin(target) => target.allow_aa_test(test),
        }
    }

    fn connect(self, plan: &Plan, generation: Generation, candidate: Weight) -> MeshEngine {
        let Self { cluster, namespace, pods, target } = self;
        let mut watches = JoinSet::new();
        let source = proxy_source(cluster, namespace, pods, plan, &mut watches);
        let (router, source) = match target {
            MeshTarget::Weights(target) => {
                let (router, tracker) =
                    target.connect(cluster, plan, generation, candidate, &mut watches);
                (MeshRouter::Weights(Box::new(router)), source.with_split_tracker(tracker))
            }
            MeshTarget::Plugin(target) => (MeshRouter::Plugin(Box::new(target.connect())), source),
        };
        Engine { router: CapacityGate::new(router, candidate), source, watches }
    }
}

/// The source of evidence of the proxies in some pods. A watch keeps the list of pods.
fn proxy_source(
    cluster: &ClusterContext,
    namespace: &str,
    pods: Pods,
    plan: &Plan,
    watches: &mut JoinSet<()>,
) -> AnySource {
    let port = match &pods.statistics {
        StatisticsSource::Port(port) => *port,
        StatisticsSource::Prometheus(settings) => {
            let prometheus = PrometheusSource::new(settings.clone(), Series::plain(&plan.series()));
            return AnySource::Prometheus(Box::new(prometheus));
        }
    };
    let (listing, changes) = watch::channel(ProxyList::default());
    let (client, namespace) = (cluster.client.clone(), namespace.to_owned());
    let metrics = cluster.metrics.clone();
    let follow =
        async move { pods::follow(client, &namespace, &pods, port, listing, metrics).await };
    watches.spawn(follow.in_current_span());
    let reader = StatsReader::Exposition(MetricIndex::new(&plan.series()));
    let discovery = ProxyDiscovery::follow(changes);
    AnySource::Fleet(Box::new(FleetSource::new(discovery, cluster.scraper.clone(), reader)))
}
