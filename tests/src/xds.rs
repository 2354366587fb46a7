//! A fleet of Envoys that `serin serve` configures by xDS.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::{Envoy, Load, LoadPlan, Server, Setup, Spec, Upstream, ports, until};

/// The group in the shipped bootstrap.
pub const GROUP: &str = "edge";

/// The timeout of every wait.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How an Envoy subscribes.
#[derive(Clone, Copy, Debug)]
pub enum DiscoveryMode {
    /// On a stream for the filter's configuration only, as in the sample.
    Ecds,
    /// On the ADS stream, as the sample's comments describe.
    Ads,
}

impl DiscoveryMode {
    /// Changes an Envoy's bootstrap to this subscription.
    ///
    /// # Panics
    /// The sample has changed.
    pub fn adapt(self, setup: Setup) -> Setup {
        match self {
            Self::Ecds => setup,
            Self::Ads => {
                let source = std::fs::read_to_string(bootstrap()).expect("the sample");
                let begin = source.find("api_config_source: ").expect("the source");
                let source = source[begin..].lines().next().expect("a line");
                let what = source.strip_prefix("api_config_source: ").expect("the source");
                let resources = format!("\ndynamic_resources: {{ ads_config: {what} }}\n");
                setup
                    .replace(source, "ads: {}")
                    .replace("\nstatic_resources:", &(resources + "\nstatic_resources:"))
            }
        }
    }
}

/// The shipped bootstrap for xDS.
pub fn bootstrap() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/bootstrap-xds.yaml"))
}

/// Envoys in front of two versions, and the server that configures them; half of them use ADS.
#[derive(Debug)]
pub struct XdsFleet {
    /// The baseline.
    pub v1: Upstream,
    /// The candidate.
    pub v2: Upstream,
    /// The Envoys, `edge-0` and so on.
    pub envoys: Vec<Envoy>,
    server: Option<Server>,
    xds: SocketAddr,
    directory: TempDir,
}

impl XdsFleet {
    /// Starts this number of Envoys, at least one.
    ///
    /// # Panics
    /// An Envoy or the server does not start.
    pub async fn new(envoys: usize) -> Self {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let xds = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let directory = tempfile::tempdir().expect("a directory");
        let mut fleet = Self { v1, v2, envoys: vec![], server: None, xds, directory };
        // The first Envoy starts before the server; its directory has the filter's file.
        fleet.add().await;
        fleet.serve().await;
        while fleet.envoys.len() < envoys {
            fleet.add().await;
        }
        fleet
    }

    async fn add(&mut self) {
        let number = self.envoys.len();
        let way = if number.is_multiple_of(2) { DiscoveryMode::Ecds } else { DiscoveryMode::Ads };
        let setup = Setup::new(self.v1.address(), self.v2.address()).xds(self.xds).workers(1);
        let setup = way.adapt(setup.replace("id: edge-1", &format!("id: edge-{number}")));
        self.envoys.push(Envoy::start(&setup).await);
    }

    /// Each proxy has the module in its own directory.
    fn filter_file(&self) -> String {
        let shipped = std::fs::read_to_string(self.envoys[0].filter_file()).expect("the file");
        let module = self.envoys[0].module().display().to_string();
        let file = self.directory.path().join("filter.json");
        std::fs::write(&file, shipped.replace(&module, "serin.wasm")).expect("a file");
        file.display().to_string()
    }

    /// Starts or restarts the server.
    pub async fn serve(&mut self) {
        let (listen, filter) = (self.xds.to_string(), self.filter_file());
        let arguments = ["--xds-listen", &listen, "--xds-filter", &filter];
        self.server = Some(Server::started_with(self.directory.path(), &arguments).await);
    }

    /// The server.
    ///
    /// # Panics
    /// The server is stopped.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a running server")
    }

    /// Kills the server.
    ///
    /// # Panics
    /// The server is stopped already.
    pub async fn kill_server(&mut self) {
        self.server.take().expect("a running server").kill().await;
    }

    /// Sends this number of requests per second to each Envoy.
    pub fn load(&self, rate: u32) -> Vec<Load> {
        let plan = |envoy: &Envoy| LoadPlan::new(envoy.listener(), rate);
        self.envoys.iter().map(|envoy| Load::start(plan(envoy))).collect()
    }

    /// A rollout from v1 to v2 on all Envoys, polled every 500 ms, without a tripwire and without
    /// steps.
    pub fn spec(&self) -> Spec {
        let admins: Vec<_> = self.envoys.iter().map(|e| format!("'{}'", e.admin())).collect();
        let proxies = format!("proxies: {{ addresses: [{}] }}", admins.join(", "));
        let spec = Spec::new(&self.envoys[0]).xds(GROUP).evidence(proxies);
        spec.interval(Duration::from_millis(500)).without_tripwire()
    }

    /// Waits for a blocker whose message contains all of these words.
    pub async fn until_blocked(&self, words: &[&str]) {
        until(TIMEOUT, &format!("{words:?}"), async || {
            let status = self.server().status("shop").await;
            let blocker = status["status"]["blocker"].as_str().unwrap_or_default();
            let said = words.iter().all(|word| blocker.contains(word));
            if said { Ok(()) } else { Err(blocker.to_owned()) }
        })
        .await;
    }

    /// Waits until the step with this number, from 1, is live.
    pub async fn until_live(&self, step: u32) {
        until(TIMEOUT, &format!("step {step} live"), async || {
            let status = self.server().status("shop").await["status"].take();
            let live = status["step"] == step && status["live"] == true;
            if live { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Waits until every Envoy runs this generation.
    pub async fn assert_all_run(&self, generation: &Value) {
        for envoy in &self.envoys {
            until(TIMEOUT, "the last generation", async || {
                let running = envoy.stat("wasmcustom.serin.generation").await;
                if running == generation.as_u64() { Ok(()) } else { Err(running) }
            })
            .await;
        }
    }
}
