//! The pod of a proxy: an object on the server, and a loopback address at which Istio's ports are
//! free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, Pod as PodObject, PodCondition, PodIP, PodSpec, PodStatus,
};
use kube::api::{ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use super::Proxy;

const LISTENER: u16 = 15001;
const ADMIN: u16 = 15000;
const STATISTICS: u16 = 15090;

/// A loopback address and the name of the pod that owns it.
#[derive(Debug)]
pub(super) struct Pod {
    address: Ipv4Addr,
    name: String,
}

impl Pod {
    /// # Panics
    /// No address is free.
    pub(super) fn new() -> Self {
        let random =
            || Ipv4Addr::new(127, fastrand::u8(1..), fastrand::u8(..), fastrand::u8(1..255));
        let free = |address: &Ipv4Addr| {
            let listen = |port| TcpListener::bind((*address, port)).is_ok();
            [LISTENER, ADMIN, STATISTICS].into_iter().all(listen)
        };
        let address = (0..100).map(|_| random()).find(free).expect("a free address");
        let [_, b, c, d] = address.octets();
        Self { address, name: format!("proxy-{b}-{c}-{d}") }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn listener(&self) -> SocketAddr {
        (self.address, LISTENER).into()
    }

    pub(super) fn admin(&self) -> SocketAddr {
        (self.address, ADMIN).into()
    }

    pub(super) fn statistics(&self) -> SocketAddr {
        (self.address, STATISTICS).into()
    }

    /// Creates the object and writes the status that a kubelet would write.
    ///
    /// # Panics
    /// The server rejects a write.
    pub(super) async fn enter(&self, client: &Client, proxy: &Proxy) {
        let pods: Api<PodObject> = Api::namespaced(client.clone(), &proxy.namespace);
        let made = pods.create(&PostParams::default(), &self.object(proxy)).await;
        made.expect("the server accepts the pod");
        let status = Patch::Merge(json!({ "status": self.status() }));
        let said = pods.patch_status(&self.name, &PatchParams::default(), &status).await;
        said.expect("the server accepts the pod's status");
    }

    fn object(&self, proxy: &Proxy) -> PodObject {
        let container = Container {
            name: "istio-proxy".to_owned(),
            image: Some("istio/proxyv2".to_owned()),
            ports: Some(vec![ContainerPort {
                name: Some("http-envoy-prom".to_owned()),
                container_port: STATISTICS.into(),
                ..Default::default()
            }]),
            ..Default::default()
        };
        PodObject {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(proxy.labels.clone()),
                ..Default::default()
            },
            spec: Some(PodSpec { containers: vec![container], ..Default::default() }),
            status: None,
        }
    }

    fn status(&self) -> PodStatus {
        let ready = PodCondition {
            type_: "Ready".to_owned(),
            status: "True".to_owned(),
            ..Default::default()
        };
        PodStatus {
            phase: Some("Running".to_owned()),
            conditions: Some(vec![ready]),
            pod_ip: Some(self.address.to_string()),
            pod_ips: Some(vec![PodIP { ip: self.address.to_string() }]),
            ..Default::default()
        }
    }
}
