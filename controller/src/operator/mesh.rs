//! A rollout's mesh: how it is told splits, and what is seen of it.

mod filtered;
mod weighted;

use std::time::Duration;

use kube::Client;
use serin_core::ports::Router;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{Istio, Pods, Proxies, Spec, Splitter, Statistics};
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

pub(crate) use self::filtered::Plugins;
use self::filtered::{Filtered, PluginRouter};
use self::weighted::WeightedPlace;
use crate::engine::{running, stepping_back};
use crate::kubernetes::fence::Fence;
use crate::kubernetes::pods;
use crate::operator::reconcile_error::{Stuck, invalid};
use crate::routers::capacity_gate::Guarded;
use crate::routers::weights::WeightRouter;
use crate::sources::Evidence;
use crate::sources::fleet::discovery::Listing;
use crate::sources::fleet::{Discovery, Fleet, Names, Reader, Scraper};
use crate::sources::prometheus::{Prometheus, Series};

/// After this time there are no pods, if none have been found.
const LISTED: Duration = Duration::from_secs(5);

/// What all rollouts of an operator have in common.
#[derive(Clone)]
pub(crate) struct Cluster {
    /// The API server.
    pub(crate) client: Client,
    /// Whether it may be written to.
    pub(crate) fence: Fence,
    /// Reads proxies.
    pub(crate) scraper: Scraper,
    /// Plugins that rollouts share.
    pub(crate) plugins: Plugins,
}

/// A rollout's mesh, as it is followed.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// How it is told splits.
    pub(crate) router: Guarded,
    /// What is seen of it.
    pub(crate) source: Evidence,
    /// What follows it: ends with this.
    pub(crate) watches: JoinSet<()>,
    /// Its proxies, if they are read themselves.
    listing: Option<watch::Receiver<Listing>>,
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
enum Place {
    Weights(WeightedPlace),
    Filter(Filtered),
}

impl Place {
    async fn of(cluster: &Cluster, namespace: &str, spec: &Spec) -> Result<(Self, Pods), Stuck> {
        Ok(match &spec.proxies {
            Proxies::Istio(Istio { splitter: Splitter::Filter { plugin }, pods }) => {
                let place = Filtered::open(cluster, namespace, plugin, &spec.service).await?;
                (Self::Filter(place), pods.clone())
            }
            Proxies::Istio(Istio {
                splitter: Splitter::Mesh { virtual_service, versions, drift },
                pods,
            }) => {
                let place = WeightedPlace::virtual_service(
                    cluster,
                    namespace,
                    virtual_service,
                    versions,
                    *drift,
                );
                (Self::Weights(place), pods.clone())
            }
            Proxies::GatewayApi(route) => {
                let place = WeightedPlace::route(cluster, namespace, route);
                (Self::Weights(place), route.pods.clone())
            }
            Proxies::Envoy(_) => return Err(invalid("spec.envoy: is for files")),
        })
    }
}

/// A rollout that can begin.
pub(crate) struct Beginning {
    /// Where.
    pub(crate) mesh: Mesh,
    /// What it does.
    pub(crate) plan: Plan,
    /// The split that is in force.
    pub(crate) present: Split,
}

/// Makes sure that a rollout can begin, and that nobody is taken from a version that they have met. `generation` is the number of the last
/// split that was asked for.
pub(crate) async fn begin(
    cluster: &Cluster,
    namespace: &str,
    spec: Spec,
    generation: Generation,
) -> Result<Beginning, Stuck> {
    let (place, pods) = Place::of(cluster, namespace, &spec).await?;
    let mut plan = spec.plan;
    let (candidate, others) = match &place {
        Place::Weights(place) => {
            let present = place.present().await?;
            place.check(cluster, namespace).await?;
            (present, Weight::ZERO)
        }
        Place::Filter(place) => place.present(),
    };
    if let Some(found) = stepping_back(&plan, candidate, others) {
        let why = format!(
            "{found}, and a rollout would take them back: change the first step, or give them back by hand"
        );
        return Err(Stuck("StepsBack", why));
    }
    if candidate > Weight::ZERO {
        // They stay with it: to choose another salt now would take them away.
        plan.forgo_watch();
    }
    let (mut mesh, generation) = match place {
        Place::Weights(place) => {
            (place.follow(cluster, namespace, pods, &plan, generation, candidate), generation)
        }
        Place::Filter(mut place) => {
            place.allow(&plan)?;
            let generation = place.generation().max(generation);
            (place.follow(cluster, namespace, pods, &plan), generation)
        }
    };
    if let Some(listing) = &mut mesh.listing {
        // Which pods there are is not known at once.
        let known = listing.wait_for(|listing| !listing.proxies.is_empty());
        let _ = timeout(LISTED, known).await;
    }
    let seen = running(&mut mesh.source).await;
    let seen = seen.map_err(|error| Stuck("NoEvidence", error.to_string()))?;
    let present = Split {
        // A proxy may run what another controller has left.
        generation: generation.max(mesh.router.generation_at(seen)),
        ..Split { candidate, ..Split::baseline(generation) }
    };
    Ok(Beginning { mesh, plan, present })
}

/// Follows the mesh of a rollout that was left under way. Whether it had been rolled back, which is done before it is stored.
pub(crate) async fn resume(
    cluster: &Cluster,
    namespace: &str,
    spec: &Spec,
    rollout: &Rollout,
) -> Result<(Mesh, bool), Stuck> {
    let (place, pods) = Place::of(cluster, namespace, spec).await?;
    match place {
        Place::Weights(place) => Ok(place.resume(cluster, namespace, pods, rollout).await),
        Place::Filter(mut place) => {
            place.allow(rollout.plan())?;
            let rolled_back = place.rolled_back(rollout.split());
            Ok((place.follow(cluster, namespace, pods, rollout.plan()), rolled_back))
        }
    }
}

/// The candidate's present share.
pub(crate) async fn share(
    cluster: &Cluster,
    namespace: &str,
    spec: &Spec,
) -> Result<Weight, Stuck> {
    match Place::of(cluster, namespace, spec).await?.0 {
        Place::Weights(place) => Ok(place.present().await?),
        Place::Filter(place) => Ok(place.present().0),
    }
}

/// Evidence of the proxies in some pods, with what follows which pods there are.
fn proxies(
    cluster: &Cluster,
    namespace: &str,
    pods: Pods,
    plan: &Plan,
    watches: &mut JoinSet<()>,
) -> (Evidence, Option<watch::Receiver<Listing>>) {
    let port = match &pods.statistics {
        Statistics::Port(port) => *port,
        Statistics::Prometheus(settings) => {
            let prometheus = Prometheus::new(settings.clone(), Series::plain(plan));
            return (Evidence::Prometheus(Box::new(prometheus)), None);
        }
    };
    let (listing, changes) = watch::channel(Listing::default());
    let (client, namespace) = (cluster.client.clone(), namespace.to_owned());
    watches.spawn(async move { pods::follow(client, &namespace, &pods, port, listing).await });
    let reader = Reader::Exposition(Names::of(plan));
    let discovery = Discovery::follow(changes.clone());
    let fleet = Fleet::new(discovery, cluster.scraper.clone(), reader);
    (Evidence::Fleet(Box::new(fleet)), Some(changes))
}
