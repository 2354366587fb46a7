//! The proxies that split the traffic.

use super::envoy::{self, EnvoyProxies};
use super::gateway_api::GatewayApiProxies;
use super::istio::IstioProxies;
use crate::config::prometheus::PrometheusConnection;
use crate::config::source::SourceConfig;

/// The proxies that split, and whatever tells them how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxies {
    /// Envoys that take their configuration from serin: `spec.envoy`.
    Envoy(EnvoyProxies),
    /// Those of Istio, by objects in Kubernetes: `spec.istio`.
    Istio(IstioProxies),
    /// Those behind a route of the Gateway API: `spec.gatewayApi`.
    GatewayApi(GatewayApiProxies),
}

impl Proxies {
    /// The Prometheus that evidence of them comes from, if it comes from one, and where the rollout names it.
    pub(super) fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        match self {
            Self::Envoy(EnvoyProxies { source: SourceConfig::Prometheus(settings), .. }) => {
                Some((envoy::PROMETHEUS.to_owned(), &settings.connection))
            }
            Self::Envoy(_) => None,
            Self::Istio(istio) => istio.prometheus(),
            Self::GatewayApi(gateway_api) => gateway_api.prometheus(),
        }
    }
}
