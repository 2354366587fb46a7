//! `spec.gatewayApi`: proxies behind a route of the Gateway API.

use schemars::JsonSchema;
use serde::Deserialize;

use super::drift::DriftPolicy;
use super::error::SpecError;
use super::pods::{Pods, PodsSpec};
use super::value::object_name;
use crate::config::mesh::{Backend, Versions};

/// The path of the proxies.
pub(super) const PROXIES: &str = "spec.gatewayApi.proxies";

/// Proxies behind a route of the Gateway API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayApiProxies {
    /// The route's kind.
    pub kind: RouteKind,
    /// The route's name.
    pub route: String,
    /// The backends of the versions.
    pub versions: Versions<Backend>,
    /// The pods whose proxies run the filter.
    pub pods: Pods,
    /// The reaction to drift.
    pub drift: DriftPolicy,
}

/// A kind of route with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum RouteKind {
    /// HTTP requests.
    #[serde(rename = "HTTPRoute")]
    Http,
    /// gRPC calls.
    #[serde(rename = "GRPCRoute")]
    Grpc,
}

/// Proxies behind a route of the Gateway API.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GatewayApiSpec {
    /// Route is the route whose weights change.
    route: RouteSpec,
    /// Proxies selects the pods of the gateways, whose proxies run the filter.
    proxies: PodsSpec,
    /// Drift is the reaction to weights that another client changed. Default: repair.
    #[serde(default)]
    drift: DriftPolicy,
}

/// A route.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RouteSpec {
    /// Kind is HTTPRoute or GRPCRoute. Default: HTTPRoute.
    kind: Option<RouteKind>,
    /// The route's name.
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
