//! `serin operator`: carries out the ServiceRollouts of a cluster.

use std::net::SocketAddr;

use axum::Router;
use axum::routing::get;
use clap::Args;
use jiff::Timestamp;
use kube::{Client, Config};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{ExitStatus, fail};
use crate::operator::{OperatorOptions, operate};

/// Carry out the ServiceRollouts of a Kubernetes cluster
///
/// Watches objects of the kind ServiceRollout (`serin crd`) and takes each service from the version that runs to spec.candidate. What has to be kept is in
/// their status: stopped at any moment and started again, here or elsewhere, it goes on where it was. Of several operators one works, the others
/// wait for its lease. Stopped, it leaves all weights as they are.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLE, after_long_help = EXAMPLE)]
pub(super) struct OperatorArgs {
    /// Look after the ServiceRollouts of this namespace only
    #[arg(long, value_name = "NAMESPACE", env = "SERIN_NAMESPACE")]
    namespace: Option<String>,

    /// The lease by which one of several operators leads
    #[arg(long, value_name = "NAME", default_value = "serin-operator", env = "SERIN_LEASE")]
    lease: String,

    /// The namespace of the lease. That of the operator's own pod unless given
    #[arg(long, value_name = "NAMESPACE", env = "SERIN_LEASE_NAMESPACE")]
    lease_namespace: Option<String>,

    /// What the operator is called, such as the name of its pod
    #[arg(long, value_name = "NAME", default_value = "serin", env = "SERIN_IDENTITY")]
    identity: String,

    /// Address at which /healthz and /readyz answer
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:9290", env = "SERIN_LISTEN")]
    listen: SocketAddr,
}

const EXAMPLE: &str = "\
Example:
  serin crd | kubectl apply -f -
  serin operator --namespace shop

Logs in as kubectl does, or in a pod by its service account.

Exit codes:
  0 stopped, 1 could not begin (the API server, the address) or go on, 2 the command line is not valid.";

impl OperatorArgs {
    pub(super) async fn execute(self) -> ExitStatus {
        // Whoever comes later finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = match Config::infer().await {
            Ok(config) => config,
            Err(error) => return fail(ExitStatus::Failed, format_args!("no cluster: {error}")),
        };
        let own = config.default_namespace.clone();
        let client = match Client::try_from(config) {
            Ok(client) => client,
            Err(error) => return fail(ExitStatus::Failed, error),
        };
        let listener = match TcpListener::bind(self.listen).await {
            Ok(listener) => listener,
            Err(error) => {
                return fail(ExitStatus::Failed, format_args!("--listen {}: {error}", self.listen));
            }
        };
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
        else {
            return fail(ExitStatus::Failed, "no signal handler");
        };
        let options = OperatorOptions {
            namespace: self.namespace,
            lease_namespace: self.lease_namespace.unwrap_or(own),
            lease: self.lease,
            // One that is started anew under the same name is another one.
            identity: format!("{}-{:x}", self.identity, Timestamp::now().as_millisecond()),
        };
        let alive = || get(async || "ok\n");
        let health = Router::new().route("/healthz", alive()).route("/readyz", alive());
        tokio::select! {
            why = operate(client.clone(), options.clone()) => return fail(ExitStatus::Failed, why),
            Err(error) = axum::serve(listener, health) => return fail(ExitStatus::Failed, error),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        options.release_lease(client).await;
        ExitStatus::Success
    }
}
