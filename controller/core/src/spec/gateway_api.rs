//! `spec.gatewayApi`: proxies behind a route of the Gateway API.

use schemars::JsonSchema;
use serde::Deserialize;

use super::drift::DriftPolicy;
use super::error::SpecError;
use super::pods::{Pods, PodsSpec};
use super::value::object_name;
use crate::config::mesh::{Backend, Versions};
use crate::config::prometheus::PrometheusConnection;

/// The path of the proxies.
const PROXIES: &str = "spec.gatewayApi.proxies";

/// Proxies behind a route of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayApiProxies {
    /// The route's kind.
    pub kind: RouteKind,
    /// Its name.
    pub route: String,
    /// The versions in it.
    pub versions: Versions<Backend>,
    /// The proxies that run the filter.
    pub pods: Pods,
    /// What is done about weights that somebody else has changed.
    pub drift: DriftPolicy,
}

/// A kind of route that has weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// Of HTTP requests.
    #[serde(rename = "HTTPRoute")]
    Http,
    /// Of gRPC calls.
    #[serde(rename = "GRPCRoute")]
    Grpc,
}

/// The Gateway API, as the user writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewayApiSpec {
    /// The route whose weights change.
    route: RouteSpec,
    /// The pods of the gateways, whose proxies run the filter.
    proxies: PodsSpec,
    /// What is done about weights that somebody else has changed. Default: repair.
    #[serde(default)]
    drift: DriftPolicy,
}

/// A route.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteSpec {
    /// Its kind. Default: HTTPRoute.
    kind: Option<RouteKind>,
    /// Its name.
    name: String,
}

impl GatewayApiSpec {
    pub(super) fn parse(self, versions: Versions<Backend>) -> Result<GatewayApiProxies, SpecError> {
        Ok(GatewayApiProxies {
            kind: self.route.kind.unwrap_or(RouteKind::Http),
            route: object_name("spec.gatewayApi.route.name", self.route.name)?,
            versions,
            pods: self.proxies.parse(PROXIES)?,
            drift: self.drift,
        })
    }
}

impl GatewayApiProxies {
    /// The Prometheus that is asked, if one is, and where it is named.
    pub(super) fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        self.pods.prometheus(PROXIES)
    }
}
