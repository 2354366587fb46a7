//! A mesh that splits by weights in its own routes.

use futures_util::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use serin_core::config::mesh::{Destination, Versions};
use serin_core::observation::inference::Served;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{DriftPolicy, GatewayApi, Pods, RouteKind};
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::task::JoinSet;

use super::{Cluster, Mesh, MeshRouter, proxies};
use crate::kubernetes::destinations;
use crate::kubernetes::objects::{ClusterError, Subject, kind};
use crate::operator::reconcile_error::Stuck;
use crate::routers::capacity_gate::Guarded;
use crate::routers::weights::{WeightRouter, Weighted, version};
use crate::sources::requested_split::Board;
use crate::sources::split_tracker::Told;

/// Where the weights of a rollout are.
#[derive(Debug)]
pub(crate) struct WeightedPlace {
    subject: Subject,
    weighted: Weighted,
    drift: DriftPolicy,
}

impl WeightedPlace {
    /// In a VirtualService.
    pub(crate) fn virtual_service(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        versions: &Versions<Destination>,
        drift: DriftPolicy,
    ) -> Self {
        let resource = kind("networking.istio.io", "v1", "VirtualService");
        let (client, fence) = (cluster.client.clone(), cluster.fence.clone());
        let subject = Subject::new(client, &resource, namespace, name, fence);
        Self { subject, weighted: Weighted::VirtualService(versions.clone()), drift }
    }

    /// In a route of the Gateway API.
    pub(crate) fn route(cluster: &Cluster, namespace: &str, route: &GatewayApi) -> Self {
        let named = match route.kind {
            RouteKind::Http => "HTTPRoute",
            RouteKind::Grpc => "GRPCRoute",
        };
        let resource = kind("gateway.networking.k8s.io", "v1", named);
        let (client, fence) = (cluster.client.clone(), cluster.fence.clone());
        let subject = Subject::new(client, &resource, namespace, &route.route, fence);
        let weighted = Weighted::Route(route.versions.clone());
        Self { subject, weighted, drift: route.drift }
    }

    /// The candidate's present share.
    pub(crate) async fn present(&self) -> Result<Weight, ClusterError> {
        let object = self.subject.read().await?;
        let what = || self.subject.what();
        let routes = self.weighted.routes(&object).map_err(|error| (what(), error))?;
        routes.candidate().ok_or_else(|| ClusterError::Refused {
            what: what(),
            why: "its routes give the versions different shares: give all the same".to_owned(),
        })
    }

    /// Makes sure that the mesh can send requests to the candidate.
    ///
    /// # Errors
    /// It can't, as far as can be known.
    pub(crate) async fn check(&self, cluster: &Cluster, namespace: &str) -> Result<(), Stuck> {
        destinations::check(cluster, namespace, &self.weighted).await
    }

    /// Follows the mesh, which was told this split last, by whomever.
    pub(crate) fn follow(
        self,
        cluster: &Cluster,
        namespace: &str,
        pods: Pods,
        plan: &Plan,
        generation: Generation,
        present: Weight,
    ) -> Mesh {
        let Self { subject, weighted, drift } = self;
        let board = Board::new(generation, present);
        let mut watches = JoinSet::new();
        watches.spawn(follow_object(subject.clone(), weighted.clone(), board.clone()));
        let served = Served::new(plan.baseline.clone(), plan.candidate.clone());
        let (source, listing) = proxies(cluster, namespace, pods, plan, &mut watches);
        let source = source.told(Told::new(board.clone(), served));
        let router = WeightRouter::new(subject, weighted, drift, board);
        let router = Guarded::new(MeshRouter::Weights(Box::new(router)), present);
        Mesh { router, source, watches, listing }
    }

    /// Follows it for a rollout that was left under way; whether that had been rolled back: the candidate has less than what was live.
    pub(crate) async fn resume(
        self,
        cluster: &Cluster,
        namespace: &str,
        pods: Pods,
        rollout: &Rollout,
    ) -> (Mesh, bool) {
        let Split { generation, candidate, .. } = rollout.split();
        let live = rollout.status().live;
        // What can't be read now is written all the same, as soon as it can be.
        let present = self.present().await.ok();
        let (told, weight) = match present {
            Some(weight) if live && weight == candidate => (generation, weight),
            other => (Generation(generation.0.saturating_sub(1)), other.unwrap_or(Weight::ZERO)),
        };
        let rolled_back = live && present.is_some_and(|weight| weight < candidate);
        let mesh = self.follow(cluster, namespace, pods, rollout.plan(), told, weight);
        (mesh, rolled_back)
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
