//! Rollouts of a fleet that `serin serve` gives its configuration to: ten Envoys, half of them over ADS.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use serin_tests::{Envoy, Fault, Load, Plan, Server, Setup, Spec, Upstream, ports, until};
use tempfile::TempDir;

use crate::world::{GROUP, Way};

const ENVOYS: usize = 10;

/// Requests per second at each Envoy.
const RATE: u32 = 30;

const PATIENCE: Duration = Duration::from_secs(60);

const SECOND: Duration = Duration::from_secs(1);

struct Fleet {
    v2: Upstream,
    v1: Upstream,
    envoys: Vec<Envoy>,
    server: Option<Server>,
    xds: SocketAddr,
    directory: TempDir,
}

impl Fleet {
    async fn new() -> Self {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        let xds = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let directory = tempfile::tempdir().expect("a directory");
        let mut fleet = Self { v2, v1, envoys: vec![], server: None, xds, directory };
        // The first one begins while there is no server; its directory has the filter's file.
        fleet.add().await;
        fleet.serve().await;
        while fleet.envoys.len() < ENVOYS {
            fleet.add().await;
        }
        fleet
    }

    async fn add(&mut self) {
        let number = self.envoys.len();
        let way = if number.is_multiple_of(2) { Way::Own } else { Way::Aggregated };
        let setup = Setup::new(self.v1.address(), self.v2.address()).xds(self.xds).workers(1);
        let setup = way.adapt(setup.replace("id: edge-1", &format!("id: edge-{number}")));
        self.envoys.push(Envoy::start(&setup).await);
    }

    /// Each proxy has the module in a directory of its own.
    fn filter_file(&self) -> String {
        let shipped = std::fs::read_to_string(self.envoys[0].filter_file()).expect("the file");
        let module = self.envoys[0].module().display().to_string();
        let file = self.directory.path().join("filter.json");
        std::fs::write(&file, shipped.replace(&module, "serin.wasm")).expect("a file");
        file.display().to_string()
    }

    async fn serve(&mut self) {
        let (listen, filter) = (self.xds.to_string(), self.filter_file());
        let arguments = ["--xds-listen", &listen, "--xds-filter", &filter];
        self.server = Some(Server::started_with(self.directory.path(), &arguments).await);
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("it serves")
    }

    async fn kill_server(&mut self) {
        self.server.take().expect("it serves").kill().await;
    }

    fn load(&self) -> Vec<Load> {
        let plan = |envoy: &Envoy| Plan::new(envoy.listener(), RATE);
        self.envoys.iter().map(|envoy| Load::start(plan(envoy))).collect()
    }

    fn spec(&self) -> Spec {
        let admins: Vec<_> = self.envoys.iter().map(|e| format!("'{}'", e.admin())).collect();
        let proxies = format!("proxies: {{ addresses: [{}] }}", admins.join(", "));
        let spec = Spec::new(&self.envoys[0]).xds(GROUP).evidence(proxies);
        spec.interval(Duration::from_millis(500)).without_tripwire()
    }

    /// Waits for something that keeps the rollout from going on, in whose words all of these are.
    async fn until_blocked(&self, words: &[&str]) {
        until(PATIENCE, &format!("{words:?}"), async || {
            let status = self.server().status("shop").await;
            let obstacle = status["status"]["obstacle"].as_str().unwrap_or_default();
            let said = words.iter().all(|word| obstacle.contains(word));
            if said { Ok(()) } else { Err(obstacle.to_owned()) }
        })
        .await;
    }

    async fn until_live(&self, step: u32) {
        until(PATIENCE, &format!("step {step} live"), async || {
            let status = self.server().status("shop").await["status"].take();
            let live = status["step"] == step && status["live"] == true;
            if live { Ok(()) } else { Err(status) }
        })
        .await;
    }

    /// Every Envoy runs this generation.
    async fn assert_all_run(&self, generation: &Value) {
        for envoy in &self.envoys {
            until(PATIENCE, "the last generation", async || {
                let running = envoy.stat("wasmcustom.serin.generation").await;
                if running == generation.as_u64() { Ok(()) } else { Err(running) }
            })
            .await;
        }
    }
}

fn end(events: &[Value]) -> &Value {
    events.iter().find(|event| event["event"] == "ended").expect("an end")
}

/// The server is killed in mid-step and stays away for half a minute, and one Envoy is killed and started anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_candidate_is_promoted_whatever_ends_in_between() {
    let mut fleet = Fleet::new().await;
    let loads = fleet.load();
    let spec = fleet.spec().step("20%", 4 * SECOND, 50).step("50%", 4 * SECOND, 50);
    fleet.server().apply(&spec.step("100%", 2 * SECOND, 50)).await;
    fleet.until_live(1).await;
    fleet.kill_server().await;
    tokio::time::sleep(30 * SECOND).await;
    fleet.serve().await;
    fleet.until_live(2).await;
    fleet.envoys[3].kill().await;
    fleet.envoys[3].restart().await;
    let (code, events) = fleet.server().watch("shop").await;
    assert_eq!((code, &end(&events)["confirmed"]), (Some(0), &true.into()), "{events:?}");
    fleet.assert_all_run(&end(&events)["generation"]).await;
    for (number, load) in loads.into_iter().enumerate() {
        let failures = load.stop().await.total().failures;
        // What was under way in the one that was killed is lost, and what came while it was away.
        assert!(failures == 0 || number == 3, "edge-{number}: {failures}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_cannot_load_its_configuration_is_quoted_and_waited_for() {
    let fleet = Fleet::new().await;
    let loads = fleet.load();
    let spec = fleet.spec().step("20%", 2 * SECOND, 50).step("100%", SECOND, 50);
    let broken = &fleet.envoys[7];
    let (module, elsewhere) = (broken.module(), broken.dir().join("elsewhere.wasm"));
    fleet.server().apply(&spec).await;
    fleet.until_live(1).await;
    std::fs::rename(&module, &elsewhere).expect("the module is there");
    let (admin, all) = (broken.admin().to_string(), format!("of {ENVOYS} proxies some refused"));
    fleet
        .until_blocked(&[&all, "keep the split before it", &admin, "edge-7: ", "serin.wasm"])
        .await;
    std::fs::rename(&elsewhere, &module).expect("it was there");
    let (code, events) = fleet.server().watch("shop").await;
    assert_eq!((code, &end(&events)["confirmed"]), (Some(0), &true.into()), "{events:?}");
    fleet.assert_all_run(&end(&events)["generation"]).await;
    for load in loads {
        assert_eq!(load.stop().await.total().failures, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_candidate_is_taken_back_everywhere() {
    let fleet = Fleet::new().await;
    let loads = fleet.load();
    let spec = fleet.spec().step("20%", 60 * SECOND, 50).step("100%", SECOND, 50);
    fleet.server().apply(&spec).await;
    fleet.until_live(1).await;
    fleet.v2.set_faults([Fault::errors(0.5)]);
    let (code, events) = fleet.server().watch("shop").await;
    assert_eq!((code, &end(&events)["confirmed"]), (Some(3), &true.into()), "{events:?}");
    fleet.assert_all_run(&end(&events)["generation"]).await;
    for load in loads {
        assert_eq!(load.stop().await.tally(Some("v1")).failures, 0);
    }
}
