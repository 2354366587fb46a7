//! Rollouts as objects in a cluster: what `serin operator` does.
//!
//! ```text
//!   ServiceRollouts ──watch──> roll ──> release, one task for each object
//!                                         │ intent: what is to be done (pure)
//!                                         │ engine: the same as elsewhere
//!                                         │    router ──> VirtualService, HTTPRoute, GRPCRoute (weights, plugin)
//!                                         │      behind a guard that waits for Deployments (guard, deployments)
//!                                         │    source <── pods, by what their proxies count (pods, sli::served)
//!                                         │    clerk  ──> status: stored before it is acted on (progress, store)
//!                                         └──> Events (announce, telling)
//! ```
//!
//! Of several operators one works: whoever holds the lease. Each write asks the fence first, and carries the version of the object
//! that it was decided on, so that a late one is refused.

pub mod command;
pub mod controller;
mod intent;
pub mod journal;
pub mod mailbox;
pub(crate) mod mesh;
mod progress;
pub mod reconcile_error;
pub mod reconciler;
pub mod scale_down;

use kube::Client;

use self::mesh::{ClusterContext, Plugins};
use crate::kubernetes::fence::Fence;
use crate::kubernetes::leader::{self, Leader};
use crate::sources::fleet::Scraper;

/// How an operator works.
#[derive(Debug, Clone)]
pub struct OperatorOptions {
    /// The namespace whose ServiceRollouts it looks after; all if absent.
    pub namespace: Option<String>,
    /// The namespace of the lease.
    pub lease_namespace: String,
    /// The name of the lease.
    pub lease: String,
    /// What tells this operator from all others.
    pub identity: String,
}

impl OperatorOptions {
    /// Gives the lease up, if it is held: so nobody has to wait for it.
    pub async fn release_lease(&self, client: Client) {
        let Self { lease_namespace, lease, identity, .. } = self;
        leader::release_lease(client, lease_namespace, lease, identity).await;
    }
}

/// Works whenever it leads. Ends only with its future, or when it can't go on: then why.
pub async fn operate(client: Client, options: OperatorOptions) -> String {
    let OperatorOptions { namespace, lease_namespace, lease, identity } = options;
    let fence = Fence::shut();
    let leader = Leader::new(client.clone(), &lease_namespace, &lease, &identity, fence.clone());
    let (scraper, plugins) = (Scraper::default(), Plugins::default());
    let cluster = ClusterContext { client, fence, scraper, plugins };
    leader.lead(|| controller::run(cluster.clone(), namespace.clone(), identity.clone())).await
}
