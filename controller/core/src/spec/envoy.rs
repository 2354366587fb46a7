//! `spec.envoy`: proxies of plain Envoy, the sink of the filter's configuration and the source of
//! observations.

use std::path::PathBuf;

use serde::Deserialize;

use super::error::{SpecError, at};
use super::prometheus::PrometheusSpec;
use crate::config::discovery::{DiscoveryConfig, host_and_port};
use crate::config::sink::SinkLocation;
use crate::config::source::SourceConfig;

/// The path of the Prometheus.
pub(super) const PROMETHEUS: &str = "spec.envoy.prometheus";

/// Proxies of plain Envoy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvoyProxies {
    /// The source of observations.
    pub source: SourceConfig,
    /// The sink of the filter's configuration.
    pub sink: SinkLocation,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct EnvoySpec {
    admin: Option<String>,
    proxies: Option<ProxiesSpec>,
    prometheus: Option<PrometheusSpec>,
    filter_config: Option<PathBuf>,
    xds: Option<XdsSpec>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct XdsSpec {
    group: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ProxiesSpec {
    addresses: Option<Vec<String>>,
    dns: Option<String>,
    file: Option<PathBuf>,
}

impl EnvoySpec {
    pub(super) fn parse(self) -> Result<EnvoyProxies, SpecError> {
        let sink = match (self.filter_config, self.xds) {
            (Some(path), None) if path.as_os_str().is_empty() => {
                return at("spec.envoy.filterConfig", "empty; set the path of a file");
            }
            (None, Some(XdsSpec { group })) if group.is_empty() => {
                return at("spec.envoy.xds.group", "empty; set the node.cluster of the proxies");
            }
            (Some(path), None) => SinkLocation::File(path),
            (None, Some(XdsSpec { group })) => SinkLocation::Group(group),
            _ => return at("spec.envoy", "exactly one of filterConfig and xds is required"),
        };
        let source = match (self.admin, self.proxies, self.prometheus) {
            (Some(address), None, None) => {
                SourceConfig::Admin(DiscoveryConfig::Single(admin(address)?))
            }
            (None, Some(proxies), None) => SourceConfig::Admin(proxies.parse()?),
            (None, None, Some(prometheus)) => {
                SourceConfig::Prometheus(prometheus.parse(PROMETHEUS)?)
            }
            (None, None, None) => {
                return at("spec.envoy", "one of admin, proxies and prometheus is required");
            }
            _ => return at("spec.envoy", "set only one of admin, proxies and prometheus"),
        };
        Ok(EnvoyProxies { source, sink })
    }
}

fn admin(address: String) -> Result<String, SpecError> {
    let url = url::Url::parse(&address);
    match url.is_ok_and(|url| url.scheme() == "http" && url.has_host()) {
        true => Ok(address),
        false => at(
            "spec.envoy.admin",
            format!("{address:?} is not an address such as http://127.0.0.1:9901"),
        ),
    }
}

impl ProxiesSpec {
    fn parse(self) -> Result<DiscoveryConfig, SpecError> {
        match (self.addresses, self.dns, self.file) {
            (Some(addresses), None, None) => listed(addresses),
            (None, Some(name), None) => match host_and_port(&name) {
                Some((host, port)) => Ok(DiscoveryConfig::Dns { host: host.to_owned(), port }),
                None => at(
                    "spec.envoy.proxies.dns",
                    format!("{name:?} is not a host with a port such as edge.example.com:9901"),
                ),
            },
            (None, None, Some(path)) if path.as_os_str().is_empty() => {
                at("spec.envoy.proxies.file", "empty; set the path of a file")
            }
            (None, None, Some(path)) => Ok(DiscoveryConfig::File(path)),
            (None, None, None) => {
                at("spec.envoy.proxies", "one of addresses, dns and file is required")
            }
            _ => at("spec.envoy.proxies", "set only one of addresses, dns and file"),
        }
    }
}

fn listed(addresses: Vec<String>) -> Result<DiscoveryConfig, SpecError> {
    const PATH: &str = "spec.envoy.proxies.addresses";
    if addresses.is_empty() {
        return at(PATH, "empty; list at least one proxy");
    }
    for (index, address) in addresses.iter().enumerate() {
        if host_and_port(address).is_none() {
            return at(
                format!("{PATH}[{index}]"),
                format!("{address:?} is not an address such as 10.0.0.7:9901"),
            );
        }
        if addresses.iter().take(index).any(|other| other == address) {
            return at(format!("{PATH}[{index}]"), format!("duplicate address {address:?}"));
        }
    }
    Ok(DiscoveryConfig::Addresses(addresses))
}

#[cfg(test)]
mod tests;
