//! The bootstraps that `serin init envoy` prints, in a real Envoy.

use std::path::Path;
use std::time::Duration;

use serin_tests::{
    Envoy, RolloutProcess, Server, Setup, Spec, Upstream, ports, serin, text, until,
};

const SECOND: Duration = Duration::from_secs(1);

const TIMEOUT: Duration = Duration::from_secs(60);

struct World {
    v1: Upstream,
    v2: Upstream,
    admin: u16,
    listener: u16,
}

impl World {
    async fn new() -> Self {
        let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
        Self { v1, v2, admin: ports::free(), listener: ports::free() }
    }

    /// The output of `serin init envoy` for these addresses.
    async fn printed(&self, arguments: &[&str]) -> String {
        let mut command = serin();
        command.args(["init", "envoy"]).args(arguments);
        command.arg(format!("--admin=127.0.0.1:{}", self.admin));
        command.arg(format!("--listen=127.0.0.1:{}", self.listener));
        command.arg(format!("--upstream=v1={}", self.v1.address()));
        command.arg(format!("--upstream=v2={}", self.v2.address()));
        let output = command.output().await.expect("serin runs");
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    }

    async fn envoy(&self, bootstrap: String) -> Envoy {
        let setup = Setup::new(self.v1.address(), self.v2.address()).workers(1);
        Envoy::start(&setup.bootstrap(bootstrap, self.admin, self.listener)).await
    }
}

fn steps(spec: Spec) -> Spec {
    spec.step("50%", 30 * SECOND, 10).step("100%", SECOND, 10)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_finds_the_envoy_of_the_bootstrap_for_a_file() {
    let world = World::new().await;
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/rollout.yaml");
    let sample = sample.to_str().expect("a path in UTF-8");
    let envoy = world.envoy(world.printed(&[sample]).await).await;
    let rollout = RolloutProcess::start(&envoy, &steps(Spec::new(&envoy)), &[]);
    rollout.until_live(1).await;
    assert_eq!(envoy.weight_of_v2(), 500_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_finds_the_envoy_of_the_bootstrap_for_xds() {
    let world = World::new().await;
    let xds = format!("127.0.0.1:{}", ports::free());
    let directory = tempfile::tempdir().expect("a directory");
    let server = format!("--xds-server={xds}");
    let printed = world.printed(&["--mode=xds", &server, "--group=west", "--node=west-7"]).await;
    let envoy = world.envoy(printed).await;
    let filter = envoy.filter_file().display().to_string();
    let arguments = ["--xds-listen", &xds, "--xds-filter", &filter];
    let server = Server::started_with(directory.path(), &arguments).await;
    server.apply(&steps(Spec::new(&envoy).xds("west"))).await;
    until(TIMEOUT, "step 1 live", async || {
        let status = server.status("shop").await["status"].take();
        if status["step"] == 1 && status["live"] == true { Ok(()) } else { Err(status) }
    })
    .await;
}

/// Envoy starts with the printed configuration of the filter.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_is_that_of_the_sample() {
    let output = serin().args(["init", "filter"]).output().await.expect("serin runs");
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../envoy/filter.json");
    assert_eq!(text(&output.stdout), std::fs::read_to_string(sample).expect("the sample"));
}
