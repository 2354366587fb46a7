//! serin's filter for Envoy and Istio, a WebAssembly module on the proxy-wasm ABI.
//!
//! For each request, the filter selects a version of the service ([`select`]) and sets a request
//! header that the routes match. At the end of the stream it classifies the outcome as the caller
//! saw it ([`outcome`], [`rpc`]) and counts it for the version that served ([`meter`]). The [`tripwire`]
//! stops requests to a version that fails hard. The controller replaces the [`config`]uration
//! while the proxy runs; the filter keeps no per-user state.
//!
//! These modules make no host calls. `host`, `root`, `stream` and `worker` connect them to the
//! proxy and exist only in the WebAssembly build. The controller shares the configuration's
//! [`config::wire`] format, the statistic names ([`stat`]) and the [`histogram`] boundaries.

pub mod aa_test;
pub mod authority;
pub mod blame;
pub mod bucket;
pub mod config;
pub mod histogram;
pub mod in_flight;
pub mod meter;
pub mod names;
pub mod outcome;
pub mod redirect;
pub mod request;
pub mod rpc;
pub mod select;
pub mod stat;
pub mod table;
pub mod tally;
pub mod trace;
pub mod tripwire;
pub mod trust;
pub mod tunnel;

#[cfg(target_os = "wasi")]
mod host;
#[cfg(target_os = "wasi")]
mod root;
#[cfg(target_os = "wasi")]
mod stream;
#[cfg(target_os = "wasi")]
mod worker;

/// Request header with the name of the chosen version, matched by routes.
pub const VERSION_HEADER: &str = "x-serin-version";

/// Request header with the cluster of the chosen version, for a route with `cluster_header`.
pub const CLUSTER_HEADER: &str = "x-serin-cluster";
