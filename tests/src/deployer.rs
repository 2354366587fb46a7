//! A deployer of a service's instances: replaces them when serin calls its webhook, and updates
//! Envoy's endpoints (EDS).
//!
//! Each instance is an [`Upstream`]. To replace an instance, the deployer starts another one with
//! the other version, as a deployment does. It records every message, so that a test sees serin's
//! calls and their number.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use crate::envoy::files::write_endpoints;
use crate::{Envoy, Fault, Upstream};

/// From new endpoints to the end of new requests at the old ones.
const ENDPOINT_PROPAGATION: Duration = Duration::from_millis(300);

/// The longest time of a request.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// A deployer with its instances. Drop ends them.
#[derive(Debug, Clone)]
pub struct Deployer {
    address: SocketAddr,
    state: Arc<DeployerState>,
}

#[derive(Debug)]
struct DeployerState {
    /// Envoy's files with the endpoints of v1 and v2.
    files: [PathBuf; 2],
    state: Mutex<DeployedInstances>,
}

#[derive(Debug, Default)]
struct DeployedInstances {
    /// By name.
    running: BTreeMap<String, Instance>,
    /// All messages, unchanged.
    messages: Vec<Value>,
    /// Hook points at which the deployer fails.
    rejecting: BTreeSet<String>,
    /// The faults of v2.
    faults: Vec<Fault>,
}

#[derive(Debug, Clone)]
struct Instance {
    version: String,
    upstream: Arc<Upstream>,
    /// Whether the instance is an endpoint of Envoy.
    serves: bool,
}

impl Deployer {
    /// Runs v1 on instances of these names, behind this Envoy, which reads its endpoints from
    /// files.
    ///
    /// # Panics
    /// No port is free.
    pub async fn start(envoy: &Envoy, names: &[&str]) -> Self {
        let files = ["v1", "v2"].map(|version| envoy.endpoints_file(version));
        let state = Arc::new(DeployerState { files, state: Mutex::default() });
        for name in names {
            state.run(name, "v1").await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let routes = Router::new().fallback(post(answer)).with_state(state.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        Self { address, state }
    }

    /// The base URL of the webhooks.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Sets whether calls at this point fail.
    pub fn refuse(&self, point: &str, refuses: bool) {
        let refusing = &mut self.state.state().rejecting;
        if refuses {
            refusing.insert(point.to_owned())
        } else {
            refusing.remove(point)
        };
    }

    /// The faults of all instances of v2 that start from now on.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.state().faults = faults.into_iter().collect();
    }

    /// All messages.
    pub fn messages(&self) -> Vec<Value> {
        self.state.state().messages.clone()
    }

    /// A short form of the messages, such as `replace a v2`, without repetitions.
    pub fn work(&self) -> Vec<String> {
        let messages = self.messages().into_iter().map(|message| {
            let text = |field: &str| message[field].as_str().unwrap_or_default().to_owned();
            let instances = message["instances"].as_array().cloned().unwrap_or_default();
            let instances: Vec<_> = instances.iter().filter_map(Value::as_str).collect();
            format!("{} {} {}", text("point"), instances.join(","), text("version"))
        });
        let mut work: Vec<_> = messages.collect();
        work.dedup();
        work
    }

    /// The version of each instance, in order of instance names.
    pub fn versions(&self) -> Vec<String> {
        self.state.state().running.values().map(|instance| instance.version.clone()).collect()
    }
}

async fn answer(State(desk): State<Arc<DeployerState>>, body: Bytes) -> (StatusCode, &'static str) {
    let message: Value = serde_json::from_slice(&body).expect("serin sends JSON");
    let point = message["point"].as_str().unwrap_or_default().to_owned();
    desk.state().messages.push(message.clone());
    if desk.state().rejecting.contains(&point) {
        return (StatusCode::SERVICE_UNAVAILABLE, "not now");
    }
    let version = message["version"].as_str().unwrap_or_default().to_owned();
    let instances = message["instances"].as_array().cloned().unwrap_or_default();
    let names: Vec<String> =
        instances.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    for name in names {
        match point.as_str() {
            "drain" => desk.drain(&name).await,
            "replace" => desk.run(&name, &version).await,
            _ => {}
        }
    }
    (StatusCode::NO_CONTENT, "")
}

impl DeployerState {
    fn state(&self) -> MutexGuard<'_, DeployedInstances> {
        self.state.lock().expect("the lock is not poisoned")
    }

    /// Removes an instance from the endpoints, and waits for its last response.
    async fn drain(&self, name: &str) {
        let upstream = {
            let mut state = self.state();
            let instance = state.running.get_mut(name).expect("an instance");
            instance.serves = false;
            instance.upstream.clone()
        };
        self.write_all_endpoints();
        sleep(ENDPOINT_PROPAGATION).await;
        let deadline = Instant::now() + DRAIN_TIMEOUT;
        while upstream.stats().in_flight > 0 {
            assert!(Instant::now() < deadline, "{name} still has requests");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Replaces the instance, unless it runs this version.
    async fn run(&self, name: &str, version: &str) {
        let upstream = match self.state().running.get(name) {
            Some(instance) if instance.version == version => Some(instance.upstream.clone()),
            _ => None,
        };
        let upstream = match upstream {
            Some(upstream) => upstream,
            None => Arc::new(Upstream::start(version).await),
        };
        {
            let mut state = self.state();
            if version == "v2" {
                upstream.set_faults(state.faults.clone());
            }
            let instance = Instance { version: version.to_owned(), upstream, serves: true };
            state.running.insert(name.to_owned(), instance);
        }
        self.write_all_endpoints();
        sleep(ENDPOINT_PROPAGATION).await;
    }

    fn write_all_endpoints(&self) {
        let state = self.state();
        for (version, file) in ["v1", "v2"].iter().zip(&self.files) {
            let serving = state.running.values().filter(|i| i.serves && i.version == *version);
            let addresses: Vec<_> = serving.map(|i| i.upstream.address()).collect();
            write_endpoints(file, version, &addresses);
        }
    }
}
