//! serin's controller: takes a service from one version to the next in steps, and back by itself when the new version is worse.
//!
//! What it decides is in [`serin_core`], without I/O. Here is what connects that to proxies, clusters and people:
//!
//! - [`engine`]: drives one rollout; the only start and resume.
//! - [`sources`]: evidence, read from Envoy's admin interface, from pages for Prometheus, or from a Prometheus.
//! - [`routers`]: splits, carried to proxies by a file, by xDS, or by objects of a mesh.
//! - [`kubernetes`]: a cluster: its objects, patches, the lease, events, the definition of the kind.
//! - [`storage`]: what must not be lost: SQLite, or the status of an object.
//! - [`server`]: `serin serve`: many rollouts, led over HTTP.
//! - [`operator`]: `serin operator`: rollouts as objects in a cluster.
//! - [`xds`]: the filter's configuration for many proxies, over gRPC.
//! - [`webhooks`]: calls hooks.
//! - [`doctor`]: checks a running setup.
//! - [`telemetry`]: metrics of servers and operators.
//! - [`record`]: what the judge saw, as a file that can be judged again.
//! - [`cli`]: the command line.

pub mod cli;
pub mod doctor;
pub mod engine;
mod http;
pub mod kubernetes;
pub mod operator;
pub mod record;
pub mod routers;
pub mod server;
pub mod sources;
pub mod storage;
pub mod telemetry;
pub mod webhooks;
pub mod xds;
