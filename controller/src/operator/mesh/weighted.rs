//! A mesh that splits by weights in its own routes.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};
use serin_core::config::mesh::{Destination, Versions};
use serin_core::observation::inference::SplitInference;
use serin_core::rollout::plan::Plan;
use serin_core::spec::{DriftPolicy, GatewayApiProxies, RouteKind};
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::task::JoinSet;
use tracing::{Instrument, warn};

use super::ClusterContext;
use crate::engine::start::StartError;
use crate::kubernetes::destinations::{check_service, check_subset};
use crate::kubernetes::objects::{ClusterError, ManagedObject, api_resource};
use crate::routers::weights::{WeightRouter, WeightedVersions, version};
use crate::sources::requested_split::RequestedSplit;
use crate::sources::split_tracker::SplitTracker;
use crate::telemetry::operator::OperatorMetrics;

/// The object whose routes carry a rollout's weights.
#[derive(Debug)]
pub(crate) struct WeightedRoute {
    object: ManagedObject,
    weighted: WeightedVersions,
    drift: DriftPolicy,
}

impl WeightedRoute {
    /// A VirtualService.
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

    /// A route of the Gateway API.
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

    /// The candidate's present weight.
    ///
    /// # Errors
    /// The object can't be read, or its routes differ.
    pub(crate) async fn current_weight(&self) -> Result<Weight, ClusterError> {
        let object = self.object.read().await?;
        let name = || self.object.describe();
        let routes = self.weighted.routes(&object).map_err(|error| (name(), error))?;
        routes.candidate().ok_or_else(|| ClusterError::Rejected {
            what: name(),
            reason: "its routes give the versions different weights: set the same in all"
                .to_owned(),
        })
    }

    /// Checks that the mesh can send requests to the candidate.
    ///
    /// # Errors
    /// A subset or Service is missing.
    pub(crate) async fn check(
        &self,
        cluster: &ClusterContext,
        namespace: &str,
    ) -> Result<(), StartError> {
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

    /// Connects the router, and a tracker that checks the mesh against the requested split. A watch
    /// follows the object.
    pub(crate) fn connect(
        self,
        cluster: &ClusterContext,
        plan: &Plan,
        generation: Generation,
        candidate: Weight,
        watches: &mut JoinSet<()>,
    ) -> (WeightRouter, SplitTracker) {
        let Self { object, weighted, drift } = self;
        let requested_split = RequestedSplit::new(generation, candidate);
        let follow = follow_object(
            object.clone(),
            weighted.clone(),
            requested_split.clone(),
            cluster.metrics.clone(),
        );
        watches.spawn(follow.in_current_span());
        let served = SplitInference::new(plan.baseline.clone(), plan.candidate.clone());
        let tracker = SplitTracker::new(requested_split.clone(), served);
        (WeightRouter::new(object, weighted, drift, requested_split), tracker)
    }
}

/// Records the changes of the object.
async fn follow_object(
    subject: ManagedObject,
    weighted: WeightedVersions,
    requested_split: RequestedSplit,
    metrics: Arc<OperatorMetrics>,
) {
    let (api, name) = subject.api();
    let mut changes = watch_object(api, name).default_backoff().boxed();
    loop {
        match changes.try_next().await {
            Ok(Some(Some(object))) => {
                requested_split.set_watch_error(None);
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
                let reason = "RouteWatchFailed";
                metrics.error(reason);
                let warning = format!("the watch of {} fails: {error}", subject.describe());
                if requested_split.read().watch_error.as_ref() != Some(&warning) {
                    warn!(reason, "{warning}");
                    requested_split.set_watch_error(Some(warning));
                }
            }
        }
    }
}
