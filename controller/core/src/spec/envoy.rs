//! The proxies: where they take the filter's configuration from, and where evidence of them comes from.

use std::path::PathBuf;

use serde::Deserialize;

use super::prometheus::PrometheusSpec;
use super::{SpecError, at};
use crate::config::discovery::{Whereabouts, host_and_port};
use crate::config::sink::Place;
use crate::config::source::Origin;

/// Where a Prometheus is named.
pub(super) const PROMETHEUS: &str = "spec.envoy.prometheus";

/// The proxies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envoy {
    /// Where evidence of them comes from.
    pub evidence: Origin,
    /// Where they take the filter's configuration from.
    pub place: Place,
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
    pub(super) fn checked(self) -> Result<Envoy, SpecError> {
        let place = match (self.filter_config, self.xds) {
            (Some(path), None) if path.as_os_str().is_empty() => {
                return at("spec.envoy.filterConfig", "empty; the path of a file is needed");
            }
            (None, Some(XdsSpec { group })) if group.is_empty() => {
                return at(
                    "spec.envoy.xds.group",
                    "empty; the node.cluster of the proxies is needed",
                );
            }
            (Some(path), None) => Place::File(path),
            (None, Some(XdsSpec { group })) => Place::Group(group),
            _ => return at("spec.envoy", "exactly one of filterConfig and xds is needed"),
        };
        let evidence = match (self.admin, self.proxies, self.prometheus) {
            (Some(address), None, None) => Origin::Admin(Whereabouts::Lone(admin(address)?)),
            (None, Some(proxies), None) => Origin::Admin(proxies.checked()?),
            (None, None, Some(prometheus)) => Origin::Prometheus(prometheus.checked(PROMETHEUS)?),
            (None, None, None) => {
                return at(
                    "spec.envoy",
                    "evidence is needed from one of: admin, proxies, prometheus",
                );
            }
            _ => return at("spec.envoy", "more than one of: admin, proxies, prometheus"),
        };
        Ok(Envoy { evidence, place })
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
    fn checked(self) -> Result<Whereabouts, SpecError> {
        match (self.addresses, self.dns, self.file) {
            (Some(addresses), None, None) => listed(addresses),
            (None, Some(name), None) => match host_and_port(&name) {
                Some((host, port)) => Ok(Whereabouts::Dns { host: host.to_owned(), port }),
                None => at(
                    "spec.envoy.proxies.dns",
                    format!("{name:?} is not a name with a port, such as edge.example.com:9901"),
                ),
            },
            (None, None, Some(path)) if path.as_os_str().is_empty() => {
                at("spec.envoy.proxies.file", "empty; the path of a file is needed")
            }
            (None, None, Some(path)) => Ok(Whereabouts::File(path)),
            (None, None, None) => {
                at("spec.envoy.proxies", "one of these is needed: addresses, dns, file")
            }
            _ => at("spec.envoy.proxies", "more than one of: addresses, dns, file"),
        }
    }
}

fn listed(addresses: Vec<String>) -> Result<Whereabouts, SpecError> {
    const PATH: &str = "spec.envoy.proxies.addresses";
    if addresses.is_empty() {
        return at(PATH, "empty; at least one proxy is needed");
    }
    for (index, address) in addresses.iter().enumerate() {
        if host_and_port(address).is_none() {
            return at(
                format!("{PATH}[{index}]"),
                format!("{address:?} is not an address such as 10.0.0.7:9901"),
            );
        }
        if addresses.iter().take(index).any(|other| other == address) {
            return at(format!("{PATH}[{index}]"), format!("{address:?} is there twice"));
        }
    }
    Ok(Whereabouts::Addresses(addresses))
}

#[cfg(test)]
mod tests;
