//! `spec.versions`: the versions of a service and their destinations.

use schemars::JsonSchema;
use serde::Deserialize;
use serin_filter::config::wire;
use serin_filter::names::VersionName;

use super::error::{SpecError, at};
use crate::config::mesh::{Backend, Destination, Versions};

/// A version and its destination.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct VersionSpec {
    /// Name is the value of the version header and the label of the version's statistics.
    name: VersionName,
    /// Cluster is the Envoy cluster that serves the version. In a mesh the default is the cluster
    /// that Istio derives from the destination or the backend.
    cluster: Option<String>,
    /// Destination is the destination of the version in a VirtualService. Required with spec.istio.
    destination: Option<DestinationSpec>,
    /// Backend is the Service of the version in a route's backendRefs. Required with
    /// spec.gatewayApi.
    backend: Option<BackendSpec>,
    /// Deployment is the name of the version's Deployment, in this namespace. Only with spec.istio
    /// or spec.gatewayApi. With it, the candidate's share grows only once its Deployment has enough
    /// ready replicas, in proportion to the baseline's. A rollback does not wait.
    deployment: Option<String>,
}

/// A destination of Istio.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct DestinationSpec {
    /// Host is the name of the service. A name without dots is in this namespace.
    host: String,
    /// Subset is a subset that a DestinationRule defines. Default: all instances.
    subset: Option<String>,
    /// Port is the port of the destination, if the VirtualService sets one.
    port: Option<PortSpec>,
}

/// A port of Istio.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct PortSpec {
    /// Number is the port number.
    number: u16,
}

/// A Service behind a route.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BackendSpec {
    /// Name is the name of the Service.
    name: String,
    /// Namespace is the namespace of the Service. Default: the route's.
    namespace: Option<String>,
    /// Port is the port of the Service.
    port: u16,
}

/// Resolves all versions with `resolve`. Returns those of the rollout as the filter knows them, the
/// baseline first, and their targets in the mesh.
pub(super) fn pair<T: Clone>(
    versions: &[VersionSpec],
    baseline: &VersionName,
    candidate: &VersionName,
    resolve: impl Fn(&VersionSpec, &str) -> Result<(String, T), SpecError>,
) -> Result<(Vec<wire::Version>, Versions<T>), SpecError> {
    let mut checked: Vec<(wire::Version, T)> = Vec::with_capacity(versions.len());
    for (index, version) in versions.iter().enumerate() {
        let (name, path) = (&version.name, format!("spec.versions[{index}]"));
        let (cluster, target) = resolve(version, &path)?;
        if checked.iter().any(|(other, _)| other.name == *name) {
            return at(format!("{path}.name"), format!("duplicate version \"{name}\""));
        }
        if cluster.is_empty() {
            return at(format!("{path}.cluster"), "empty; name the Envoy cluster");
        }
        if checked.iter().any(|(other, _)| other.cluster == cluster) {
            let message =
                format!("{cluster:?} already serves another version; set a different cluster");
            return at(format!("{path}.cluster"), message);
        }
        checked.push((wire::Version { name: name.clone(), cluster }, target));
    }
    let known = || versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>().join(", ");
    let find = |path: &str, name: &VersionName| {
        let version = checked.iter().find(|(version, _)| version.name == *name).cloned();
        version.map_or_else(
            || at(path, format!("\"{name}\" is not in spec.versions ({})", known())),
            Ok,
        )
    };
    let (old, old_target) = find("spec.baseline", baseline)?;
    let (new, new_target) = find("spec.candidate", candidate)?;
    if baseline == candidate {
        let message = format!("\"{candidate}\" is also the baseline; name another version");
        return at("spec.candidate", message);
    }
    Ok((vec![old, new], Versions { baseline: old_target, candidate: new_target }))
}

impl VersionSpec {
    pub(super) fn name(&self) -> &VersionName {
        &self.name
    }

    pub(super) fn deployment(&self) -> Option<&str> {
        self.deployment.as_deref()
    }

    /// The cluster of the version on plain Envoy.
    pub(super) fn in_envoy(&self, path: &str) -> Result<(String, ()), SpecError> {
        self.without_destination(path)?;
        self.without_backend(path)?;
        if self.deployment.is_some() {
            let message = "requires spec.istio or spec.gatewayApi; remove it for spec.envoy";
            return at(format!("{path}.deployment"), message);
        }
        match &self.cluster {
            Some(cluster) => Ok((cluster.clone(), ())),
            None => at(
                format!("{path}.cluster"),
                "missing; name the Envoy cluster that serves the version",
            ),
        }
    }

    /// The cluster and the destination of the version in Istio. `port` is the port at which clients
    /// call the service.
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
                "missing; spec.istio requires it, such as { host: shop, subset: v2 }",
            );
        };
        if host.is_empty() {
            return at(format!("{path}.destination.host"), "empty; set the name of a service");
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
                    "missing; the name of an Istio cluster contains the port at which clients call the service",
                );
            }
        };
        Ok((cluster, target))
    }

    /// The cluster and the backend of the version behind a route. The cluster is the one that Istio
    /// derives from the Service.
    pub(super) fn in_gateway_api(
        &self,
        path: &str,
        namespace: &str,
    ) -> Result<(String, Backend), SpecError> {
        self.without_destination(path)?;
        let Some(BackendSpec { name, namespace: own, port }) = &self.backend else {
            return at(
                format!("{path}.backend"),
                "missing; spec.gatewayApi requires it, such as { name: shop-v2, port: 80 }",
            );
        };
        if name.is_empty() {
            return at(format!("{path}.backend.name"), "empty; set the name of a Service");
        }
        let target = Backend { name: name.clone(), namespace: own.clone(), port: Some(*port) };
        let within = own.as_deref().unwrap_or(namespace);
        let istio = || outbound(*port, "", &format!("{name}.{within}.svc.{DOMAIN}"));
        Ok((self.cluster.clone().unwrap_or_else(istio), target))
    }

    fn without_destination(&self, path: &str) -> Result<(), SpecError> {
        match self.destination {
            None => Ok(()),
            Some(_) => at(format!("{path}.destination"), "requires spec.istio, which is missing"),
        }
    }

    fn without_backend(&self, path: &str) -> Result<(), SpecError> {
        match self.backend {
            None => Ok(()),
            Some(_) => at(format!("{path}.backend"), "requires spec.gatewayApi, which is missing"),
        }
    }
}

/// The DNS suffix of Services. In clusters with another one, hosts are fully qualified or clusters
/// are set.
const DOMAIN: &str = "cluster.local";

/// The host name as Istio qualifies it.
fn full_name(host: &str, namespace: &str) -> String {
    match host.contains('.') {
        true => host.to_owned(),
        false => format!("{host}.{namespace}.svc.{DOMAIN}"),
    }
}

/// The name of Istio's cluster.
fn outbound(port: u16, subset: &str, host: &str) -> String {
    format!("outbound|{port}|{subset}|{host}")
}
