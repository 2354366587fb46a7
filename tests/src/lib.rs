//! The harness of serin's end-to-end suites: the shipped files in a real Envoy, upstreams with
//! configurable faults, and load that records every request.
//!
//! The suites judge a rollout by its callers' responses, so the harness records exactly which
//! version responded, since when it had a fault, and how each request ended. Nothing here is
//! mocked. A missing precondition (no Envoy, no module, a changed sample) panics with an
//! instruction, because a skipped suite proves nothing. The exception is a Kubernetes API server
//! (feature `kubernetes`), which takes long to build: without it the suite is skipped with a note.

pub mod call;
#[cfg(feature = "istio")]
pub mod cluster;
pub mod deployer;
pub mod envoy;
pub mod figures;
pub mod gate;
pub mod http;
#[cfg(feature = "kubernetes")]
pub mod kube;
pub mod load;
#[cfg(feature = "kubernetes")]
pub mod mesh;
pub mod ports;
pub mod prometheus;
pub mod rollout;
pub mod scripted_body;
pub mod server;
pub mod until;
pub mod upstream;
pub mod usage;
pub mod xds;

pub use call::{Answer, Call};
pub use deployer::Deployer;
pub use envoy::{Envoy, Setup};
pub use gate::TcpRelay;
pub use load::{Load, LoadPlan, Outcome, Protocol, Record, Report, Tally};
#[cfg(feature = "kubernetes")]
pub use mesh::{Mesh, Proxy, Workload};
pub use prometheus::Prometheus;
pub use rollout::{RolloutProcess, RolloutResult, Spec, serin};
pub use server::{Server, text};
pub use until::until;
pub use upstream::{Fault, Upstream, UpstreamStats};
