//! What serin's end-to-end suites stand on: the shipped files in a real Envoy, upstreams that misbehave on demand, and load
//! whose every request is accounted for.
//!
//! A rollout is judged by what callers see, so the suites need a world in which that is known exactly: which version
//! answered, since when it was at fault, and what became of each request. Nothing here is mocked; a precondition that does not
//! hold (no Envoy, no module, a changed sample) panics and says what to do, because a suite that skips proves nothing. The one exception is
//! a Kubernetes API server (feature `kubernetes`), which takes longer to build than all else: without one its suite is skipped, and says so.

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
