//! A mesh that splits by weights in its own routes.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use serin_core::config::mesh::{Destination, Versions};
use serin_core::observation::inference::SplitInference;
use serin_core::rollout::machine::Rollout;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{DriftPolicy, GatewayApiProxies, Pods, RouteKind};
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::task::JoinSet;
use tracing::{Instrument, warn};

use super::{ClusterContext, MeshHandles, MeshRouter, proxy_source};
use crate::kubernetes::destinations::{check_service, check_subset};
use crate::kubernetes::objects::{ClusterError, ManagedObject, api_resource};
use crate::operator::reconcile_error::ReconcileError;
use crate::routers::capacity_gate::CapacityGate;
use crate::routers::weights::{WeightRouter, WeightedVersions, version};
use crate::sources::requested_split::RequestedSplit;
use crate::sources::split_tracker::SplitTracker;
use crate::telemetry::operator::OperatorMetrics;

/// Where the weights of a rollout are.
#[derive(Debug)]
pub(crate) struct WeightedRoute {
    object: ManagedObject,
    weighted: WeightedVersions,
    drift: DriftPolicy,
}

impl WeightedRoute {
    /// In a VirtualService.
    pub(crate) fn virtual_service(
        cluster: &ClusterContext,
        namespace: &str,
        name: &str,
        versions: &Versions<Destination>,
        drift: DriftPolicy,
    ) -> Self {
        let resource = api_resource("networking.istio.io", "v1", "VirtualService");
        let (client, fence) = (cluster.client.clone(), cluster.fence.clone());
        let object = ManagedObject::new(client, &resource, namespace, name, fence);
        Self { object, weighted: WeightedVersions::VirtualService(versions.clone()), drift }
    }

    /// In a route of the Gateway API.
    pub(crate) fn route(
        cluster: &ClusterContext,
        namespace: &str,
        route: &GatewayApiProxies,
    ) -> Self {
        let named = match route.kind {
            RouteKind::Http => "HTTPRoute",
            RouteKind::Grpc => "GRPCRoute",
        };
        let resource = api_resource("gateway.networking.k8s.io", "v1", named);
        let (client, fence) = (cluster.client.clone(), cluster.fence.clone());
        let object = ManagedObject::new(client, &resource, namespace, &route.route, fence);
        let weighted = WeightedVersions::Route(route.versions.clone());
        Self { object, weighted, drift: route.drift }
    }

    /// The candidate's present share.
    pub(crate) async fn current_weight(&self) -> Result<Weight, ClusterError> {
        let object = self.object.read().await?;
        let what = || self.object.describe();
        let routes = self.weighted.routes(&object).map_err(|error| (what(), error))?;
        routes.candidate().ok_or_else(|| ClusterError::Rejected {
            what: what(),
            reason: "its routes give the versions different shares: give all the same".to_owned(),
        })
    }

    /// Makes sure that the mesh can send requests to the candidate.
    ///
    /// # Errors
    /// It can't, as far as can be known.
    pub(crate) async fn check(
        &self,
        cluster: &ClusterContext,
        namespace: &str,
    ) -> Result<(), ReconcileError> {
        let (client, fence) = (&cluster.client, &cluster.fence);
        Ok(match &self.weighted {
            WeightedVersions::VirtualService(versions) => {
                check_subset(client, namespace, &versions.candidate).await
            }
            WeightedVersions::Route(versions) => {
                check_service(client, fence, namespace, &versions.candidate).await
            }
        }?)
    }

    /// Follows the mesh, which was told this split last, by whomever.
    pub(crate) fn follow(
        self,
        cluster: &ClusterContext,
        namespace: &str,
        pods: Pods,
        plan: &Plan,
        generation: Generation,
        present: Weight,
    ) -> MeshHandles {
        let Self { object, weighted, drift } = self;
        let requested_split = RequestedSplit::new(generation, present);
        let mut watches = JoinSet::new();
        let follow = follow_object(
            object.clone(),
            weighted.clone(),
            requested_split.clone(),
            cluster.metrics.clone(),
        );
        watches.spawn(follow.in_current_span());
        let served = SplitInference::new(plan.baseline.clone(), plan.candidate.clone());
        let (source, proxies) = proxy_source(cluster, namespace, pods, plan, &mut watches);
        let source = source.with_split_tracker(SplitTracker::new(requested_split.clone(), served));
        let router = WeightRouter::new(object, weighted, drift, requested_split);
        let router = CapacityGate::new(MeshRouter::Weights(Box::new(router)), present);
        MeshHandles { router, source, watches, proxies }
    }

    /// Follows it for a rollout that was left under way; whether that had been rolled back: the candidate has less than what was live.
    pub(crate) async fn resume(
        self,
        cluster: &ClusterContext,
        namespace: &str,
        pods: Pods,
        rollout: &Rollout,
    ) -> (MeshHandles, bool) {
        let Split { generation, candidate, .. } = rollout.split();
        let live = rollout.status().live;
        // What can't be read now is written all the same, as soon as it can be.
        let present = self.current_weight().await.ok();
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
async fn follow_object(
    subject: ManagedObject,
    weighted: WeightedVersions,
    requested_split: RequestedSplit,
    metrics: Arc<OperatorMetrics>,
) {
    let mut reported = None;
    let (api, name) = subject.api();
    let mut changes = watch_object(api, name).default_backoff().boxed();
    loop {
        match changes.try_next().await {
            Ok(Some(Some(object))) => {
                reported = None;
                let object: Value = json!(object);
                let trouble = weighted.problem(&object, requested_split.read().weight);
                let waiting = trouble.as_ref().is_some_and(|trouble| trouble.transient);
                requested_split.update(
                    version(&object),
                    trouble.map(|trouble| trouble.message),
                    waiting,
                );
            }
            Ok(Some(None)) => {
                let gone = format!("{} is not there any more", subject.describe());
                requested_split.update(u64::MAX, Some(gone), false);
            }
            Ok(None) => return,
            // The watch is retried. Until then the last known state of the object stands.
            Err(error) => {
                let (error, reason) = (error.to_string(), "RouteWatchFailed");
                metrics.error(reason);
                if reported.as_ref() != Some(&error) {
                    warn!(object = subject.describe(), reason, "{error}");
                    reported = Some(error);
                }
            }
        }
    }
}
