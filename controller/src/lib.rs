//! serin's controller: takes a service from one version to the next in steps, and back by itself when the new version is worse.
//!
//! - [`rollout`]: what shall happen (specification, plan) and the state machine that makes it happen. Pure.
//! - [`judge`]: whether the candidate is worse, by sequential tests. Pure.
//! - [`sli`]: evidence, from the statistics that the filters report.
//! - [`route`]: splits, carried to the proxies.
//! - [`engine`]: connects the state machine to a proxy and to the clock.
//! - [`hook`]: calls webhooks and commands.
//! - [`counts`]: what the judge saw, as a file that can be judged again.
//! - [`simulate`]: all of this in virtual time against made traffic, with the rules of others beside it.
//! - [`runner`]: many rollouts, kept in a store.
//! - [`api`]: the same over HTTP.
//! - [`metrics`]: what a server of rollouts tells Prometheus.
//! - [`store`]: what must not be lost.
//! - [`xds`]: the filter's configuration for many proxies, over gRPC.
//! - [`doctor`]: what a running set-up lacks.
//! - [`operator`]: rollouts as objects in a Kubernetes cluster.
//! - [`cli`]: the command line.

pub mod api;
pub mod cli;
pub mod counts;
pub mod doctor;
pub mod engine;
pub mod hook;
mod http;
pub mod judge;
pub mod metrics;
pub mod operator;
pub mod rollout;
pub mod route;
pub mod runner;
pub mod simulate;
pub mod sli;
pub mod store;
pub mod xds;
