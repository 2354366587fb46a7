//! The specification of a rollout: YAML in the shape of a Kubernetes resource.
//!
//! [`Spec::parse`] checks the whole document before the rollout starts. An error names the field.

mod analysis;
pub mod definition;
mod deployments;
mod document;
mod drift;
mod envoy;
mod error;
mod freeze;
mod gateway_api;
mod hooks;
mod istio;
pub mod manifest;
mod metrics;
mod pods;
mod prometheus;
mod proxies;
mod rolling;
mod routing;
mod secrets;
mod step;
mod strategy;
mod value;
mod versions;

pub use self::deployments::Deployments;
pub use self::document::{API_VERSION, KIND, Spec};
pub use self::drift::DriftPolicy;
pub use self::envoy::EnvoyProxies;
pub use self::error::SpecError;
pub use self::gateway_api::{GatewayApiProxies, RouteKind};
pub use self::istio::{IstioProxies, Splitter};
pub use self::pods::{Pods, StatisticsSource};
pub use self::proxies::Proxies;

/// The longest specification, in bytes.
pub const MAX_BYTES: u64 = 1 << 20;

#[cfg(test)]
mod tests;
