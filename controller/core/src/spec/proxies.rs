//! The proxies that split the traffic.

use super::envoy::{self, EnvoyProxies};
use super::gateway_api::{self, GatewayApiProxies};
use super::istio::{self, IstioProxies};
use crate::config::prometheus::PrometheusConnection;
use crate::config::source::SourceConfig;

/// The proxies that split, and the way to configure them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proxies {
    /// `spec.envoy`: Envoys configured by serin.
    Envoy(EnvoyProxies),
    /// `spec.istio`: proxies of Istio, configured by Kubernetes objects.
    Istio(IstioProxies),
    /// `spec.gatewayApi`: proxies behind a route of the Gateway API.
    GatewayApi(GatewayApiProxies),
}

impl Proxies {
    /// The path and the connection of the Prometheus that observes the proxies, if one does.
    pub(super) fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        match self {
            Self::Envoy(EnvoyProxies { source: SourceConfig::Prometheus(settings), .. }) => {
                Some((envoy::PROMETHEUS.to_owned(), &settings.connection))
            }
            Self::Envoy(_) => None,
            Self::Istio(istio) => istio.pods.prometheus(istio::PROXIES),
            Self::GatewayApi(gateway_api) => gateway_api.pods.prometheus(gateway_api::PROXIES),
        }
    }
}
