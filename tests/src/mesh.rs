//! A test double of a mesh: one proxy, a real Envoy, that does what the mesh's objects on a real API server say.
//!
//! It stands for istiod, and for what implements the Gateway API, as far as a rollout can tell: it watches Services, VirtualServices,
//! DestinationRules, HTTPRoutes, GRPCRoutes and WasmPlugins, makes clusters and routes of them under the names that Istio gives, loads the shipped
//! module where a plugin asks for it, serves statistics where Istio's proxies do, and says in a route's status what it thinks of it.
//! So a rollout through Kubernetes objects moves real traffic. It shares no code with serin's routers: what one of the two misreads, the other
//! does not.
//!
//! What the double does not know it does not pass over: an object with a field that it would have to obey and can't is left out as a whole,
//! and [`Mesh::refused`] says why. It knows no TLS, no ports of listeners (one takes the requests for all), no policies of DestinationRules
//! and no grants across namespaces.

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

/// A proxy, before it runs.
#[derive(Clone, Debug)]
pub struct Proxy {
    namespace: String,
    labels: BTreeMap<String, String>,
    gateway: Option<String>,
}

impl Proxy {
    /// The sidecar of a caller with these labels: it takes what its application sends out.
    pub fn sidecar(namespace: &str, labels: &[(&str, &str)]) -> Self {
        Self { namespace: namespace.to_owned(), labels: owned(labels), gateway: None }
    }

    /// The namespace of its pod.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// A gateway: an Istio Gateway or one of the Gateway API of this name, in this namespace.
    pub fn gateway(namespace: &str, name: &str, labels: &[(&str, &str)]) -> Self {
        Self { gateway: Some(name.to_owned()), ..Self::sidecar(namespace, labels) }
    }
}

/// What stands for a pod of a service: Services and subsets select it by its labels, and reach it here.
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

/// A mesh with one proxy. Its Envoy is killed when it is dropped; its pod stays on the server.
#[derive(Debug)]
pub struct Mesh {
    /// Stopped first, so that nothing is written for an Envoy that is gone.
    _tasks: JoinSet<()>,
    _process: Process,
    directory: TempDir,
    pod: pod::Pod,
    shared: Arc<Shared>,
}

/// What the tasks of a mesh and the test have in common.
#[derive(Debug)]
struct Shared {
    proxy: Proxy,
    workloads: Mutex<Vec<Workload>>,
    refused: Mutex<BTreeMap<String, String>>,
    /// Something has to be looked at again.
    changed: Notify,
}

impl Mesh {
    /// Starts the proxy and enters it as a pod; from then on it follows the objects that this client can read. What it has not read yet
    /// it does not do: wait for what the traffic shows.
    ///
    /// # Panics
    /// When the module or Envoy is missing, Envoy does not come up, or the server refuses the pod.
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
        // Connections that are kept open would otherwise go on with the filters that they began with for ten minutes; Istio gives them 45 s.
        // As in Istio, a draining connection closes with its next response.
        let options = ["--drain-time-s", "2", "--drain-strategy", "immediate"];
        let process = Process::start(directory.path(), 2, &options, pod.admin()).await;
        pod.enter(client, &shared.proxy).await;
        let mut tasks = JoinSet::new();
        let objects = watch::Objects::watch(client, &shared, &mut tasks);
        tasks.spawn(render::follow(client.clone(), objects, shared.clone(), frame, files));
        Self { _tasks: tasks, _process: process, directory, pod, shared }
    }

    /// Where requests go in: a sidecar's port for what its application sends, or a gateway's.
    pub fn listener(&self) -> SocketAddr {
        self.pod.listener()
    }

    /// Where the statistics are, under `/stats/prometheus` and nowhere else: port 15090 of the pod's address, as in Istio.
    pub fn statistics(&self) -> SocketAddr {
        self.pod.statistics()
    }

    /// The name of the proxy's pod. It has the proxy's labels, its address in the status, and is ready.
    pub fn pod(&self) -> &str {
        self.pod.name()
    }

    /// Other pods take the place of those that there are.
    pub fn set_workloads(&self, workloads: Vec<Workload>) {
        *lock(&self.shared.workloads) = workloads;
        self.shared.changed.notify_one();
    }

    /// Objects that the double can't obey, such as `VirtualService bookinfo/reviews`, with the reason.
    pub fn refused(&self) -> BTreeMap<String, String> {
        lock(&self.shared.refused).clone()
    }

    /// Everything that Envoy has logged.
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

/// Whether all that is asked for is there, as label selectors ask.
fn selects(wanted: &BTreeMap<String, String>, labels: &BTreeMap<String, String>) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}
