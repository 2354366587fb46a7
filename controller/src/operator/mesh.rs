//! A rollout's mesh: how it is told splits, and what is seen of it.

use futures_util::{StreamExt, TryStreamExt};
use kube::Client;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::cluster::{ClusterError, Subject, kind};
use super::fence::Fence;
use super::pods;
use super::weights::{WeightRouter, Weighted, version};
use crate::rollout::plan::Plan;
use crate::rollout::spec::{
    DriftPolicy, GatewayApi, Istio, Pods, Proxies, RouteKind, Spec, Splitter,
};
use crate::sli::board::Board;
use crate::sli::fleet::discovery::Listing;
use crate::sli::fleet::{Discovery, Fleet, Names, Reader, Scraper};
use crate::sli::served::Served;

/// What all rollouts of an operator have in common.
#[derive(Clone)]
pub(super) struct Cluster {
    /// The API server.
    pub(super) client: Client,
    /// Whether it may be written to.
    pub(super) fence: Fence,
    /// Reads proxies.
    pub(super) scraper: Scraper,
}

/// Where the weights of a rollout are.
#[derive(Debug, Clone)]
pub(super) struct Place {
    subject: Subject,
    weighted: Weighted,
    drift: DriftPolicy,
    pods: Pods,
}

/// A rollout's mesh, as it is followed. What follows it ends with this.
#[derive(Debug)]
pub(super) struct Mesh {
    /// How it is told splits.
    pub(super) router: WeightRouter,
    /// What is seen of it.
    pub(super) source: Fleet,
    /// Keeps the watches going.
    pub(super) watches: JoinSet<()>,
}

impl Place {
    /// Where a specification has them.
    ///
    /// # Errors
    /// It does not say, in words for the user.
    pub(super) fn of(cluster: &Cluster, namespace: &str, spec: &Spec) -> Result<Self, String> {
        let subject = |group: &str, version: &str, named: &str, name: &str| {
            let resource = kind(group, version, named);
            let fence = cluster.fence.clone();
            Subject::new(cluster.client.clone(), &resource, namespace, name, fence)
        };
        match &spec.proxies {
            Proxies::Istio(Istio {
                splitter: Splitter::Mesh { virtual_service, versions, drift },
                pods,
            }) => Ok(Self {
                subject: subject("networking.istio.io", "v1", "VirtualService", virtual_service),
                weighted: Weighted::VirtualService(versions.clone()),
                drift: *drift,
                pods: pods.clone(),
            }),
            Proxies::GatewayApi(GatewayApi { kind, route, versions, pods, drift }) => {
                let kind = match kind {
                    RouteKind::Http => "HTTPRoute",
                    RouteKind::Grpc => "GRPCRoute",
                };
                Ok(Self {
                    subject: subject("gateway.networking.k8s.io", "v1", kind, route),
                    weighted: Weighted::Route(versions.clone()),
                    drift: *drift,
                    pods: pods.clone(),
                })
            }
            Proxies::Istio(Istio { splitter: Splitter::Filter { .. }, .. }) => {
                Err("spec.istio.mode: filter is not carried out yet".to_owned())
            }
            Proxies::Envoy(_) => Err("spec.envoy is for files".to_owned()),
        }
    }

    /// The candidate's present share.
    ///
    /// # Errors
    /// The object is not there, or not what it has to be.
    pub(super) async fn present(&self) -> Result<Weight, ClusterError> {
        let object = self.subject.read().await?;
        let what = || self.subject.what();
        let routes = self.weighted.routes(&object).map_err(|error| (what(), error))?;
        routes.candidate().ok_or_else(|| ClusterError::Refused {
            what: what(),
            why: "its routes give the versions different shares: give all the same".to_owned(),
        })
    }

    /// Tells the mesh a split without a rollout.
    ///
    /// # Errors
    /// It could not be told.
    pub(super) async fn set(&self, candidate: Weight) -> Result<(), ClusterError> {
        let refused = |why| ClusterError::Refused { what: self.subject.what(), why };
        let shares = self.weighted.shares(candidate).map_err(refused)?;
        self.subject.change(|object| Ok(self.weighted.routes(object)?.edits(shares))).await?;
        Ok(())
    }

    /// Follows the mesh for a rollout. It was told this split last, by whomever.
    #[must_use]
    pub(super) fn follow(
        self,
        cluster: &Cluster,
        namespace: &str,
        plan: &Plan,
        generation: Generation,
        present: Weight,
    ) -> Mesh {
        let Self { subject, weighted, drift, pods } = self;
        let board = Board::new(generation, present);
        let mut watches = JoinSet::new();
        let (listing, changes) = watch::channel(Listing::default());
        let (client, namespace) = (cluster.client.clone(), namespace.to_owned());
        watches.spawn(async move { pods::follow(client, &namespace, &pods, listing).await });
        watches.spawn(follow_object(subject.clone(), weighted.clone(), board.clone()));
        let reader = Reader::Exposition(Names::of(plan));
        let served = Served::new(plan.baseline.clone(), plan.candidate.clone());
        let source = Fleet::new(Discovery::follow(changes), cluster.scraper.clone(), reader);
        let source = source.told(board.clone(), served);
        Mesh { router: WeightRouter::new(subject, weighted, drift, board), source, watches }
    }
}

/// Notes what becomes of the object that tells the mesh.
async fn follow_object(subject: Subject, weighted: Weighted, board: Board) {
    let (api, name) = subject.api();
    let mut changes = watch_object(api, name).default_backoff().boxed();
    loop {
        match changes.try_next().await {
            Ok(Some(Some(object))) => {
                let object: Value = json!(object);
                let trouble = weighted.trouble(&object, board.read().weight);
                let waiting = trouble.as_ref().is_some_and(|trouble| trouble.waiting);
                board.see(version(&object), trouble.map(|trouble| trouble.message), waiting);
            }
            Ok(Some(None)) => {
                let gone = format!("{} is not there any more", subject.what());
                board.see(u64::MAX, Some(gone), false);
            }
            Ok(None) => return,
            // It is tried again; what is known is still so, as far as is known.
            Err(_) => {}
        }
    }
}
