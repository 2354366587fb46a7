//! Services, their subsets, and the pods behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kube::api::DynamicObject;
use serde::Deserialize;
use serde_json::Value;

use super::object::Object;
use super::{Workload, http, name, selects};

/// The fields of a Service that a proxy needs.
#[derive(Debug, Deserialize)]
struct ServiceSpec {
    #[serde(default)]
    ports: Vec<ServicePort>,
    #[serde(default)]
    selector: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct ServicePort {
    port: u16,
}

/// The subsets of a DestinationRule. Its traffic policies do not affect routing.
#[derive(Debug, Deserialize)]
struct DestinationRuleSpec {
    host: String,
    #[serde(default)]
    subsets: Vec<Subset>,
}

#[derive(Debug, Clone, Deserialize)]
struct Subset {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// All Services, with their subsets and endpoints.
#[derive(Debug, Default)]
pub(super) struct Registry {
    /// By full name.
    services: BTreeMap<String, Service>,
}

/// A Service with its subsets.
#[derive(Debug)]
pub(super) struct Service {
    namespace: String,
    ports: Vec<u16>,
    selector: BTreeMap<String, String>,
    subsets: Vec<Subset>,
}

impl Registry {
    /// Adds a Service.
    ///
    /// # Errors
    /// The object can't be read.
    pub(super) fn enter_service(&mut self, object: &Arc<DynamicObject>) -> Result<(), String> {
        let object: Object<ServiceSpec> = Object::read(object)?;
        let service = Service {
            ports: object.spec.ports.into_iter().map(|port| port.port).collect(),
            selector: object.spec.selector,
            subsets: Vec::new(),
            namespace: object.namespace.clone(),
        };
        self.services.insert(name::service(&object.name, &object.namespace), service);
        Ok(())
    }

    /// Adds subsets to a Service. Subsets of an unknown Service are ignored.
    ///
    /// # Errors
    /// The object can't be read.
    pub(super) fn enter_subsets(&mut self, object: &Arc<DynamicObject>) -> Result<(), String> {
        let object: Object<DestinationRuleSpec> = Object::read(object)?;
        let host = name::host(&object.spec.host, &object.namespace);
        if let Some(service) = self.services.get_mut(&host) {
            // As in Istio, the older rule takes precedence; and Envoy rejects duplicate names.
            let known: Vec<_> = service.subsets.iter().map(|subset| subset.name.clone()).collect();
            let new = object.spec.subsets.into_iter().filter(|new| !known.contains(&new.name));
            service.subsets.extend(new);
        }
        Ok(())
    }

    /// The full names of all Services.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Whether a Service with this full name has this port.
    pub(super) fn serves(&self, host: &str, port: u16) -> bool {
        self.services.get(host).is_some_and(|service| service.ports.contains(&port))
    }

    /// The default port of a host: its only port, or else 80.
    pub(super) fn port(&self, host: &str) -> u16 {
        match self.services.get(host).map(|service| service.ports.as_slice()) {
            Some([only]) => *only,
            _ => 80,
        }
    }

    /// One cluster for each port of each Service, and for each subset of it.
    pub(super) fn clusters(&self, workloads: &[Workload]) -> Vec<Value> {
        let of_service = |(host, service): (&String, &Service)| {
            let all = (None, service.endpoints(workloads, &BTreeMap::new()));
            let subset = |subset: &Subset| {
                (Some(subset.name.clone()), service.endpoints(workloads, &subset.labels))
            };
            let groups: Vec<_> =
                std::iter::once(all).chain(service.subsets.iter().map(subset)).collect();
            let host = host.clone();
            let of_port = move |port: &u16| {
                let cluster = |(subset, endpoints): &(Option<String>, Vec<SocketAddr>)| {
                    let name = name::cluster(*port, subset.as_deref(), &host);
                    http::resource("config.cluster.v3.Cluster", http::cluster(&name, endpoints))
                };
                groups.iter().map(cluster).collect::<Vec<_>>()
            };
            service.ports.iter().flat_map(of_port).collect::<Vec<_>>()
        };
        self.services.iter().flat_map(of_service).collect()
    }
}

impl Service {
    /// The pods that match both the Service's selector and these labels. A Service without a
    /// selector has no pods.
    fn endpoints(
        &self,
        workloads: &[Workload],
        labels: &BTreeMap<String, String>,
    ) -> Vec<SocketAddr> {
        let ours = |workload: &&Workload| {
            workload.namespace == self.namespace
                && !self.selector.is_empty()
                && selects(&self.selector, &workload.labels)
                && selects(labels, &workload.labels)
        };
        workloads.iter().filter(ours).map(|workload| workload.address).collect()
    }
}
