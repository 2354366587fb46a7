//! The versions of a service, and where each is reached: a cluster of Envoy, or what a mesh calls it.

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::names::VersionName;

use super::error::{SpecError, at};
use crate::config::mesh::{Backend, Destination, Versions};

/// A version and where it runs.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VersionSpec {
    /// Value of the version header and label of its statistics.
    name: VersionName,
    /// The Envoy cluster that serves it. In a mesh it is made of the destination or the backend, as Istio does it, unless it is given.
    cluster: Option<String>,
    /// Where a VirtualService sends its requests, in the words of the VirtualService; with spec.istio.
    destination: Option<DestinationSpec>,
    /// The Service that serves it, in the words of a route's backendRefs; with spec.gatewayApi.
    backend: Option<BackendSpec>,
    /// The Deployment that runs it, in this namespace; with spec.istio or spec.gatewayApi. If the versions have one, the candidate gets a greater
    /// share only once its Deployment has as many ready replicas as that takes, by those of the baseline's; a rollback waits for none.
    deployment: Option<String>,
}

/// Istio's destination.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DestinationSpec {
    /// A service's name. Without dots it is one of this namespace.
    host: String,
    /// Which of its instances: a name that a DestinationRule explains. All if absent.
    subset: Option<String>,
    /// Its port, if the VirtualService names one there.
    port: Option<PortSpec>,
}

/// Istio's way to write a port.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PortSpec {
    /// The number.
    number: u16,
}

/// A Service behind a route.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackendSpec {
    /// The Service's name.
    name: String,
    /// Its namespace; the route's if absent.
    namespace: Option<String>,
    /// Its port.
    port: u16,
}

/// A version's name and cluster, and its target in a mesh.
pub(super) struct VersionTarget<T> {
    wire: wire::Version,
    target: T,
}

/// Checks all versions by what `reached` says of each, and picks the two of the rollout.
pub(super) fn pair<T: Clone>(
    versions: &[VersionSpec],
    baseline: &VersionName,
    candidate: &VersionName,
    reached: impl Fn(&VersionSpec, &str) -> Result<(String, T), SpecError>,
) -> Result<Versions<VersionTarget<T>>, SpecError> {
    let mut checked: Vec<(&VersionName, String, T)> = Vec::with_capacity(versions.len());
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let (cluster, target) = reached(version, &path)?;
        if checked.iter().any(|(name, ..)| **name == version.name) {
            return at(format!("{path}.name"), format!("\"{}\" is there twice", version.name));
        }
        if cluster.is_empty() {
            return at(format!("{path}.cluster"), "empty");
        }
        if checked.iter().any(|(_, other, _)| *other == cluster) {
            let message = format!("{cluster:?} already serves another version");
            return at(format!("{path}.cluster"), message);
        }
        checked.push((&version.name, cluster, target));
    }
    let known = || versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |path: &str, wanted: &VersionName| match checked
        .iter()
        .find(|(name, ..)| *name == wanted)
    {
        Some((name, cluster, target)) => Ok(VersionTarget {
            wire: wire::Version { name: (*name).clone(), cluster: cluster.clone() },
            target: target.clone(),
        }),
        None => at(path, format!("\"{wanted}\" is none of spec.versions ({})", known())),
    };
    let pair = Versions {
        baseline: find("spec.baseline", baseline)?,
        candidate: find("spec.candidate", candidate)?,
    };
    match baseline == candidate {
        true => at("spec.candidate", format!("\"{candidate}\" is the baseline too")),
        false => Ok(pair),
    }
}

impl<T> Versions<VersionTarget<T>> {
    /// What the filter is given of both, the baseline first, and their targets.
    pub(super) fn split_targets(self) -> (Vec<wire::Version>, Versions<T>) {
        let Versions { baseline, candidate } = self;
        let targets = Versions { baseline: baseline.target, candidate: candidate.target };
        (vec![baseline.wire, candidate.wire], targets)
    }
}

impl VersionSpec {
    pub(super) fn name(&self) -> &VersionName {
        &self.name
    }

    pub(super) fn deployment(&self) -> Option<&str> {
        self.deployment.as_deref()
    }

    /// Its cluster, where nothing else tells where it is.
    pub(super) fn in_envoy(&self, path: &str) -> Result<(String, ()), SpecError> {
        self.without_destination(path)?;
        self.without_backend(path)?;
        if self.deployment.is_some() {
            let message =
                "is for spec.istio and spec.gatewayApi: here nobody asks a cluster for replicas";
            return at(format!("{path}.deployment"), message);
        }
        match &self.cluster {
            Some(cluster) => Ok((cluster.clone(), ())),
            None => at(format!("{path}.cluster"), "missing; the Envoy cluster that serves it"),
        }
    }

    /// Its destination in Istio, and its cluster: the one that Istio makes of it, if clients call it at this port.
    pub(super) fn in_istio(
        &self,
        path: &str,
        port: Option<u16>,
        namespace: &str,
    ) -> Result<(String, Destination), SpecError> {
        self.without_backend(path)?;
        let Some(DestinationSpec { host, subset, port: own }) = &self.destination else {
            return at(
                format!("{path}.destination"),
                "missing; spec.istio needs it, such as { host: shop, subset: v2 }",
            );
        };
        if host.is_empty() {
            return at(format!("{path}.destination.host"), "empty; a service's name is needed");
        }
        let own = own.as_ref().map(|port| port.number);
        let target = Destination { host: host.clone(), subset: subset.clone(), port: own };
        let cluster = match (&self.cluster, own.or(port)) {
            (Some(cluster), _) => cluster.clone(),
            (None, Some(port)) => {
                outbound(port, subset.as_deref().unwrap_or(""), &full_name(host, namespace))
            }
            (None, None) => {
                return at(
                    "spec.istio.port",
                    "missing; the port at which clients call the service is a part of its cluster's name",
                );
            }
        };
        Ok((cluster, target))
    }

    /// Its backend behind a route, and its cluster: the one that Istio makes of a Service.
    pub(super) fn in_gateway_api(
        &self,
        path: &str,
        namespace: &str,
    ) -> Result<(String, Backend), SpecError> {
        self.without_destination(path)?;
        let Some(BackendSpec { name, namespace: own, port }) = &self.backend else {
            return at(
                format!("{path}.backend"),
                "missing; spec.gatewayApi needs it, such as { name: shop-v2, port: 80 }",
            );
        };
        if name.is_empty() {
            return at(format!("{path}.backend.name"), "empty; a Service's name is needed");
        }
        let target = Backend { name: name.clone(), namespace: own.clone(), port: Some(*port) };
        let within = own.as_deref().unwrap_or(namespace);
        let istio = || outbound(*port, "", &format!("{name}.{within}.svc.{DOMAIN}"));
        Ok((self.cluster.clone().unwrap_or_else(istio), target))
    }

    fn without_destination(&self, path: &str) -> Result<(), SpecError> {
        match self.destination {
            None => Ok(()),
            Some(_) => at(format!("{path}.destination"), "is for spec.istio, which is not there"),
        }
    }

    fn without_backend(&self, path: &str) -> Result<(), SpecError> {
        match self.backend {
            None => Ok(()),
            Some(_) => at(format!("{path}.backend"), "is for spec.gatewayApi, which is not there"),
        }
    }
}

/// What the names of Services end with. Where another one is used, hosts are written out, or clusters named.
const DOMAIN: &str = "cluster.local";

/// A host as Istio completes it.
fn full_name(host: &str, namespace: &str) -> String {
    match host.contains('.') {
        true => host.to_owned(),
        false => format!("{host}.{namespace}.svc.{DOMAIN}"),
    }
}

/// The name of the cluster that Istio makes.
fn outbound(port: u16, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}
