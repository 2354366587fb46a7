//! A test double of a mesh: one proxy, a real Envoy, that follows the mesh's objects on a real API
//! server.
//!
//! It replaces istiod and an implementation of the Gateway API in every respect that a rollout can
//! observe. It watches Services, VirtualServices, DestinationRules, HTTPRoutes, GRPCRoutes and
//! WasmPlugins, renders them to clusters and routes under Istio's names, loads the shipped module
//! for a plugin, serves statistics where Istio's proxies do, and writes a route's status. So a
//! rollout through Kubernetes objects moves real traffic. The double shares no code with serin's
//! routers, so that the two do not share a misreading.
//!
//! The double ignores nothing silently: it rejects an object with an unsupported field as a whole,
//! and [`Mesh::refused`] has the reason. It does not support TLS, ports of listeners (one listener
//! takes all requests), policies of DestinationRules or grants across namespaces.

mod files;
mod gateway_api;
mod http;
mod istio;
mod name;
mod object;
mod plugin;
mod pod;
mod registry;
mod render;
mod resources;
mod status;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::Client;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::files::EnvoyFiles;
use self::render::{StaticConfig, View};
use crate::envoy::process::{self, Process};

/// A proxy before its start.
#[derive(Clone, Debug)]
pub struct Proxy {
    namespace: String,
    labels: BTreeMap<String, String>,
    gateway: Option<String>,
}

impl Proxy {
    /// The sidecar of a caller with these labels. It takes the outbound requests of its
    /// application.
    pub fn sidecar(namespace: &str, labels: &[(&str, &str)]) -> Self {
        Self { namespace: namespace.to_owned(), labels: owned(labels), gateway: None }
    }

    /// The namespace of its pod.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A gateway: an Istio Gateway or a Gateway of the Gateway API with this name, in this
    /// namespace.
    pub fn gateway(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Self {
        Self { gateway: Some(name.to_owned()), ..Self::sidecar(namespace, labels) }
    }
}

/// The replacement of a service's pod. Services and subsets select it by its labels, and reach it
/// at this address.
#[derive(Clone, Debug)]
pub struct Workload {
    namespace: String,
    labels: BTreeMap<String, String>,
    address: SocketAddr,
}

impl Workload {
    /// A workload at this address, independent of the port of its Service.
    pub fn new(namespace: &str, labels: &[(&str, &str)], address: SocketAddr) -> Self {
        Self { namespace: namespace.to_owned(), labels: owned(labels), address }
    }
}

/// A mesh with one proxy. Drop kills its Envoy; its pod stays on the server.
#[derive(Debug)]
pub struct Mesh {
    /// The first field: tasks stop before the Envoy that they write to.
    _tasks: JoinSet<()>,
    _process: Process,
    directory: TempDir,
    pod: pod::Pod,
    shared: Arc<Shared>,
}

/// State shared by a mesh's tasks and the test.
#[derive(Debug)]
struct Shared {
    proxy: Proxy,
    workloads: Mutex<Vec<Workload>>,
    refused: Mutex<BTreeMap<String, String>>,
    /// Notifies the tasks of a change.
    changed: Notify,
}

impl Mesh {
    /// Starts the proxy and creates its pod. The proxy then follows the objects that this client
    /// can read, with a delay: wait for the effect on traffic.
    ///
    /// # Panics
    /// The module or Envoy is missing, Envoy does not start, or the server rejects the pod.
    pub async fn start(client: &Client, proxy: Proxy, workloads: Vec<Workload>) -> Self {
        let directory = tempfile::Builder::new().prefix("serin-mesh-").tempdir();
        let directory = directory.expect("a directory");
        let pod = pod::Pod::new();
        let shared = Arc::new(Shared {
            proxy,
            workloads: Mutex::new(workloads),
            refused: Mutex::default(),
            changed: Notify::new(),
        });
        let frame = StaticConfig::new(directory.path(), pod.listener(), &shared.proxy);
        let nothing = frame.resources(&View::default());
        let files = EnvoyFiles::install(directory.path(), &pod, &shared.proxy, &nothing);
        // The default lets kept-alive connections use the previous filters for ten minutes; Istio
        // configures 45 s. As in Istio, a draining connection closes with its next response.
        let options = ["--drain-time-s", "2", "--drain-strategy", "immediate"];
        let process = Process::start(directory.path(), 2, &options, pod.admin()).await;
        pod.enter(client, &shared.proxy).await;
        let mut tasks = JoinSet::new();
        let objects = watch::Objects::watch(client, &shared, &mut tasks);
        tasks.spawn(render::follow(client.clone(), objects, shared.clone(), frame, files));
        Self { _tasks: tasks, _process: process, directory, pod, shared }
    }

    /// The address that takes requests: a sidecar's port for outbound requests, or a gateway's.
    pub fn listener(&self) -> SocketAddr {
        self.pod.listener()
    }

    /// The address of the statistics, with the single path `/stats/prometheus`: port 15090 of the
    /// pod's address, as in Istio.
    pub fn statistics(&self) -> SocketAddr {
        self.pod.statistics()
    }

    /// The name of the proxy's pod, which has the proxy's labels, its address in the status, and
    /// is ready.
    pub fn pod(&self) -> &str {
        self.pod.name()
    }

    /// Replaces the pods.
    pub fn set_workloads(&self, workloads: Vec<Workload>) {
        *lock(&self.shared.workloads) = workloads;
        self.shared.changed.notify_one();
    }

    /// Rejected objects, such as `VirtualService bookinfo/reviews`, with the reason.
    pub fn refused(&self) -> BTreeMap<String, String> {
        lock(&self.shared.refused).clone()
    }

    /// Envoy's log.
    pub fn log(&self) -> String {
        process::log(self.directory.path())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn owned(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Whether labels match a selector: each of its labels is present.
fn selects(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}
