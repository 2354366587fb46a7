//! ServiceRollouts of a cluster: `serin operator`.
//!
//! ```text
//!   ServiceRollouts ──watch──> controller ──> reconciler, one task for each object
//!                                               │ intent: the next action (pure)
//!                                               │ engine: runs a rollout
//!                                               │    router ──> VirtualService, HTTPRoute, GRPCRoute, WasmPlugin
//!                                               │      behind a capacity gate that waits for Deployments
//!                                               │    source <── pods, by their proxies' counters
//!                                               │    journal ──> status: stored before it is acted on
//!                                               └──> reporter: log lines, metrics, Events
//! ```
//!
//! One replica leads; the others stand by (Lease-based leader election). Each write asks the fence first, and carries the version
//! of the object that it was decided on, so that the API server refuses a late one.

pub mod command;
mod control;
pub mod controller;
mod intent;
pub mod journal;
pub mod mailbox;
pub(crate) mod mesh;
mod progress;
pub mod readiness;
pub mod reconcile_error;
pub mod reconciler;
mod reporter;
pub mod scale_down;

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use tokio::sync::mpsc;

use self::mesh::{ClusterContext, Plugins};
use self::readiness::Readiness;
use crate::kubernetes::events::{publish_events, recorder};
use crate::kubernetes::fence::Fence;
use crate::kubernetes::leader::{self, Leader};
use crate::sources::fleet::Scraper;
use crate::telemetry::operator::OperatorMetrics;

/// The maximum number of Events about the lease that wait for the API server.
const EVENT_CAPACITY: usize = 100;

/// The options of an operator.
#[derive(Debug, Clone)]
pub struct OperatorOptions {
    /// The namespace whose ServiceRollouts it reconciles; all if absent.
    pub namespace: Option<String>,
    /// The namespace of the lease.
    pub lease_namespace: String,
    /// The name of the lease.
    pub lease: String,
    /// Distinguishes this operator from all others.
    pub identity: String,
}

impl OperatorOptions {
    /// Releases the lease, if it is held, so that a standby takes it at once.
    pub async fn release_lease(&self, client: Client) {
        let Self { lease_namespace, lease, identity, .. } = self;
        leader::release_lease(client, lease_namespace, lease, identity).await;
    }
}

/// Reconciles whenever it leads. Returns only when it can't go on, with the reason.
pub async fn operate(
    client: Client,
    options: OperatorOptions,
    metrics: Arc<OperatorMetrics>,
    readiness: Readiness,
) -> String {
    let OperatorOptions { namespace, lease_namespace, lease, identity } = options;
    let fence = Fence::shut();
    let (events, notes) = mpsc::channel(EVENT_CAPACITY);
    let lease_reference = ObjectReference {
        api_version: Some("coordination.k8s.io/v1".to_owned()),
        kind: Some("Lease".to_owned()),
        name: Some(lease.clone()),
        namespace: Some(lease_namespace.clone()),
        ..ObjectReference::default()
    };
    let recorder = recorder(client.clone(), &identity);
    let publisher = publish_events(recorder, lease_reference, metrics.clone(), notes);
    let leader = Leader::new(
        client.clone(),
        &lease_namespace,
        &lease,
        &identity,
        fence.clone(),
        metrics.clone(),
        events.clone(),
    );
    let (scraper, plugins) = (Scraper::default(), Plugins::default());
    let probe = readiness.probe(client.clone(), namespace.as_deref(), &metrics);
    let cluster = ClusterContext { client, fence, scraper, plugins, metrics: metrics.clone() };
    let work = leader.lead(|| {
        // The watch of an earlier term has ended.
        readiness.watch_recovered();
        controller::run(
            cluster.clone(),
            namespace.clone(),
            identity.clone(),
            readiness.clone(),
            events.clone(),
        )
    });
    tokio::select! {
        reason = work => reason,
        never = probe => never,
        () = publisher => "the publisher of Events ended".to_owned(),
    }
}
