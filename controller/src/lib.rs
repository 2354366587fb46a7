//! serin's controller: moves a service from one version to the next in steps, and rolls it back
//! when the new version is worse.
//!
//! [`serin_core`] decides, without I/O. This crate connects it to proxies, clusters and people:
//!
//! - [`engine`]: drives one rollout; the only start and resume.
//! - [`sources`]: evidence from Envoy's admin interface, its page for Prometheus, or a Prometheus.
//! - [`routers`]: apply splits by a file, by xDS, or by objects of a mesh.
//! - [`kubernetes`]: objects, patches, lease, Events and CRD of a cluster.
//! - [`storage`]: state that survives a crash, in SQLite or in the status of an object.
//! - [`server`]: `serin serve`: many rollouts, controlled over HTTP.
//! - [`operator`]: `serin operator`: rollouts as objects of a cluster.
//! - [`xds`]: serves the filter's configuration over gRPC.
//! - [`webhooks`]: calls hooks.
//! - [`doctor`]: checks a running setup.
//! - [`telemetry`]: logs, spans and metrics.
//! - [`record`]: the counts that the judge read, in a file for `serin judge`.
//! - [`cli`]: the command line.

pub mod cli;
pub mod doctor;
pub mod engine;
mod files;
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
