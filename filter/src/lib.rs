//! serin's filter for Envoy and Istio, a WebAssembly module on the proxy-wasm ABI.
//!
//! For each request it selects the version of the service that shall answer ([`select`]), tells the routes by a request header,
//! and at the end of the stream classifies what the caller saw ([`outcome`]) and adds it to what it measures of the version that
//! served ([`meter`]). A version that fails hard it cuts off by itself ([`tripwire`]). Everything it decides comes from one
//! [`config`]uration, which the controller replaces while the proxy runs; it holds no state that a user could lose.
//!
//! The modules named above are pure and know no proxy; `host`, `root` and `stream` connect them to one and exist only in the
//! WebAssembly build. The controller uses this crate too: the configuration's [`config::wire`] form, the names of the
//! statistics ([`stat`]) and the boundaries of the latency [`histogram`] have one definition.

pub mod authority;
pub mod blame;
pub mod bucket;
pub mod config;
pub mod histogram;
pub mod in_flight;
pub mod meter;
pub mod names;
pub mod outcome;
pub mod request;
pub mod rule;
pub mod select;
pub mod stat;
pub mod table;
pub mod tally;
pub mod trace;
pub mod tripwire;
pub mod trust;
pub mod watch;

#[cfg(target_os = "wasi")]
mod host;
#[cfg(target_os = "wasi")]
mod root;
#[cfg(target_os = "wasi")]
mod stream;
#[cfg(target_os = "wasi")]
mod worker;

/// The request header that carries the chosen version's name to the proxy's routes.
pub const VERSION_HEADER: &str = "x-serin-version";

/// The request header that carries the chosen version's cluster to a route with `cluster_header`.
pub const CLUSTER_HEADER: &str = "x-serin-cluster";
