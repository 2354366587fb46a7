//! `serin operator`: carries out the ServiceRollouts of a cluster.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use clap::Args;
use jiff::Timestamp;
use kube::Config;

use super::signals::StopSignals;
use super::{CliError, CliResult, ExitStatus, listen};
use crate::kubernetes::client::connect;
use crate::operator::readiness::Readiness;
use crate::operator::{OperatorOptions, operate};
use crate::server::api::serve;
use crate::telemetry::operator::{self, OperatorMetrics};

/// Carry out the ServiceRollouts of a Kubernetes cluster
///
/// Watches objects of the kind ServiceRollout (`serin crd`) and takes each service from the version that runs to spec.candidate. The state is in
/// their status: killed at any moment and started again, here or elsewhere, it resumes. One replica leads, the others stand by (Lease-based
/// leader election). Stopped, it leaves all weights as they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct OperatorArgs {
    /// Reconcile the ServiceRollouts of this namespace only
    #[arg(long, value_name = "NAMESPACE", env = "SERIN_NAMESPACE")]
    namespace: Option<String>,

    /// The lease of the leader election
    #[arg(long, value_name = "NAME", default_value = "serin-operator", env = "SERIN_LEASE")]
    lease: String,

    /// The namespace of the lease; by default that of the operator's pod
    #[arg(long, value_name = "NAMESPACE", env = "SERIN_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,

    /// The operator's name, such as that of its pod
    #[arg(long, value_name = "NAME", default_value = "serin", env = "SERIN_IDENTITY")]
    identity: String,

    /// Address of /healthz, /readyz and /metrics
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9290", env = "SERIN_LISTEN")]
    listen: SocketAddr,
}

const EXAMPLE: &str = "\
Example:
  serin crd | kubectl apply -f -
  serin operator --namespace shop

Logs in as kubectl does, or in a pod by its service account.

Exit codes:
  0 stopped, 1 the operator can't start or continue (API server, address), 2 invalid command line.";

impl OperatorArgs {
    pub(super) async fn execute(self) -> CliResult {
        // Fails if a provider is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let no_cluster = |error| CliError::failed(format!("no cluster: {error}"));
        let config = Config::infer().await.map_err(no_cluster)?;
        let own = config.default_namespace.clone();
        let (metrics, readiness) = (Arc::new(OperatorMetrics::default()), Readiness::default());
        let client = connect(config, metrics.clone()).map_err(CliError::failed)?;
        let listener = listen(self.listen).await?;
        let mut stop = StopSignals::new()?;
        let options = OperatorOptions {
            namespace: self.namespace,
            lease_namespace: self.lease_namespace.unwrap_or(own),
            lease: self.lease,
            // An operator restarted under the same name is another one.
            identity: format!("{}-{:x}", self.identity, Timestamp::now().as_millisecond()),
        };
        let work = operate(client.clone(), options.clone(), metrics.clone(), readiness.clone());
        tokio::select! {
            reason = work => return Err(CliError::failed(reason)),
            never = serve(listener, routes(metrics, readiness)) => match never {},
            () = stop.recv() => {}
        }
        options.release_lease(client).await;
        Ok(ExitStatus::Success)
    }
}

/// `/healthz`, `/readyz` and `/metrics`.
fn routes(metrics: Arc<OperatorMetrics>, readiness: Readiness) -> Router {
    let ready = async move || match readiness.check() {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
    };
    let page = async move || match metrics.page() {
        Ok(page) => Ok(([(CONTENT_TYPE, operator::CONTENT_TYPE)], page)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    };
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(page))
}
