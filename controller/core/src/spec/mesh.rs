//! Proxies of a mesh, which are told how to split by objects in Kubernetes.
//!
//! All objects named here are in the namespace of the rollout: whoever may make a rollout there may have them changed, and no others.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;

use super::prometheus::PrometheusSpec;
use super::{SpecError, at};
use crate::config::mesh::{Backend, Destination, RouteWeights, Versions};
use crate::config::prometheus::{PrometheusConnection, PrometheusSettings};
use crate::rollout::plan::Step;

/// Where a rollout on Istio has its proxies.
const ISTIO: &str = "spec.istio.proxies";

/// Where one on the Gateway API has them.
const GATEWAY_API: &str = "spec.gatewayApi.proxies";

/// Where Istio's proxies show their statistics.
const ISTIO_STATISTICS: u16 = 15_090;

/// Proxies of Istio.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IstioProxies {
    /// Who splits, and by which object it is told.
    pub splitter: Splitter,
    /// The proxies that run the filter.
    pub pods: Pods,
}

/// Who splits, and by which object it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Splitter {
    /// The filter, by the WasmPlugin of this name.
    Filter {
        /// Its name.
        plugin: String,
    },
    /// Istio, by the weights of the VirtualService of this name; the filter only observes.
    Mesh {
        /// Its name.
        virtual_service: String,
        /// The versions in it.
        versions: Versions<Destination>,
        /// What is done about weights that somebody else has changed.
        drift: DriftPolicy,
    },
}

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

/// Which pods run the filter, and where the statistics of their proxies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pods {
    /// Their namespace; the rollout's if absent.
    pub namespace: Option<String>,
    /// Labels that all of them have; at least one.
    pub labels: BTreeMap<String, String>,
    /// Where statistics are read.
    pub statistics: StatisticsSource,
}

/// Where the statistics of proxies are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatisticsSource {
    /// From each of them, at `/stats/prometheus` on this port.
    Port(u16),
    /// From a Prometheus that scrapes them.
    Prometheus(PrometheusSettings),
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

/// What is done about weights of a rollout under way that somebody else has changed. It is told in either case, and a rollback writes its
/// weights in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DriftPolicy {
    /// The weights are written again.
    #[default]
    Repair,
    /// The rollout waits until they are what it wrote.
    Respect,
}

/// Istio, as the user writes it.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct IstioSpec {
    /// Who splits. With filter, serin's filter chooses, users stay with their version, and weights are as fine as 0.0001%; the WasmPlugin has to
    /// carry the filter and routes have to match its header. With mesh, Istio chooses by the weights of a VirtualService, in whole percent, and
    /// the filter only observes.
    mode: SplitMode,
    /// The WasmPlugin that gives the proxies the filter and, with mode filter, is told the split. Default: serin.
    plugin: Option<String>,
    /// The VirtualService whose weights change; with mode mesh.
    virtual_service: Option<String>,
    /// The port at which clients call the service.
    port: Option<u16>,
    /// The pods whose proxies run the filter: those that call the service, gateways among them.
    proxies: PodsSpec,
    /// What is done about weights that somebody else has changed; with mode mesh. Default: repair.
    drift: Option<DriftPolicy>,
}

/// Who splits.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, JsonSchema)]
#[serde(rename_all = "camelCase")]
enum SplitMode {
    /// serin's filter.
    Filter,
    /// Istio.
    Mesh,
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

/// Pods.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodsSpec {
    /// Their namespace; the rollout's if absent.
    namespace: Option<String>,
    /// Labels that all of them have.
    match_labels: BTreeMap<String, String>,
    /// The port at which their proxies serve /stats/prometheus. Default: 15090, Istio's.
    port: Option<u16>,
    /// A Prometheus that scrapes the proxies, to be asked in their place. Its instances have to tell them from its other targets.
    prometheus: Option<PrometheusSpec>,
}

impl IstioSpec {
    pub(super) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Who splits, in the filter's words.
    pub(super) fn split(&self) -> wire::Split {
        match self.mode {
            SplitMode::Filter => wire::Split::Filter,
            SplitMode::Mesh => wire::Split::Mesh,
        }
    }

    pub(super) fn parse(self, versions: Versions<Destination>) -> Result<IstioProxies, SpecError> {
        let pods = self.proxies.parse(ISTIO)?;
        let splitter = match (self.mode, self.virtual_service) {
            (SplitMode::Filter, Some(_)) => {
                return at(
                    "spec.istio.virtualService",
                    "with mode filter no VirtualService is changed; its routes match the filter's header",
                );
            }
            (SplitMode::Filter, None) if self.drift.is_some() => {
                return at("spec.istio.drift", "with mode filter there are no weights in routes");
            }
            (SplitMode::Filter, None) => {
                let plugin = self.plugin.unwrap_or_else(|| "serin".to_owned());
                Splitter::Filter { plugin: name("spec.istio.plugin", plugin)? }
            }
            (SplitMode::Mesh, Some(_)) if self.plugin.is_some() => {
                return at("spec.istio.plugin", "with mode mesh no WasmPlugin is changed");
            }
            (SplitMode::Mesh, Some(object)) => Splitter::Mesh {
                virtual_service: name("spec.istio.virtualService", object)?,
                versions,
                drift: self.drift.unwrap_or_default(),
            },
            (SplitMode::Mesh, None) => {
                return at("spec.istio.virtualService", "missing; mode mesh changes its weights");
            }
        };
        Ok(IstioProxies { splitter, pods })
    }
}

impl IstioProxies {
    /// The Prometheus that is asked, if one is, and where it is named.
    pub(super) fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        self.pods.prometheus(ISTIO)
    }

    /// Whether Istio can be told the weights of all steps.
    pub(super) fn can_carry(&self, steps: &[Step]) -> Result<(), SpecError> {
        let Splitter::Mesh { .. } = self.splitter else { return Ok(()) };
        for step in steps {
            if let Err(error) = RouteWeights::percent(step.weight()) {
                return at("spec.strategy", error.to_string());
            }
        }
        Ok(())
    }
}

impl GatewayApiSpec {
    pub(super) fn parse(self, versions: Versions<Backend>) -> Result<GatewayApiProxies, SpecError> {
        Ok(GatewayApiProxies {
            kind: self.route.kind.unwrap_or(RouteKind::Http),
            route: name("spec.gatewayApi.route.name", self.route.name)?,
            versions,
            pods: self.proxies.parse(GATEWAY_API)?,
            drift: self.drift,
        })
    }
}

impl GatewayApiProxies {
    /// The Prometheus that is asked, if one is, and where it is named.
    pub(super) fn prometheus(&self) -> Option<(String, &PrometheusConnection)> {
        self.pods.prometheus(GATEWAY_API)
    }
}

impl Pods {
    fn prometheus(&self, path: &str) -> Option<(String, &PrometheusConnection)> {
        match &self.statistics {
            StatisticsSource::Port(_) => None,
            StatisticsSource::Prometheus(settings) => {
                Some((format!("{path}.prometheus"), &settings.connection))
            }
        }
    }
}

impl PodsSpec {
    fn parse(self, path: &str) -> Result<Pods, SpecError> {
        if self.match_labels.is_empty() {
            return at(
                format!("{path}.matchLabels"),
                "empty; at least one label is needed that tells the proxies' pods from all others",
            );
        }
        let statistics = match (self.port, self.prometheus) {
            (port, None) => StatisticsSource::Port(port.unwrap_or(ISTIO_STATISTICS)),
            (None, Some(prometheus)) => {
                let path = format!("{path}.prometheus");
                let settings = prometheus.parse(&path)?;
                if settings.instances.is_empty() {
                    return at(
                        format!("{path}.instances"),
                        "empty; at least one label is needed that tells these proxies from its other targets",
                    );
                }
                StatisticsSource::Prometheus(settings)
            }
            (Some(_), Some(_)) => return at(path, "more than one of: port, prometheus"),
        };
        Ok(Pods { namespace: self.namespace, labels: self.match_labels, statistics })
    }
}

fn name(path: &str, name: String) -> Result<String, SpecError> {
    match name.is_empty() {
        true => at(path, "empty; an object's name is needed"),
        false => Ok(name),
    }
}

#[cfg(test)]
pub(super) mod tests;
