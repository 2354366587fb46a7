//! A server and a simulator, and clients of both.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::{Value, json};
use serin_tests::{Server, http, until};
use tempfile::TempDir;

use crate::shape::{Shape, group_name, service_name};

/// The limit for the start of all rollouts until each is live at all of its proxies.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Number of rollouts that are applied concurrently.
const AT_ONCE: usize = 16;

/// A fleet. Drop ends its processes.
pub(crate) struct Fleet {
    pub(crate) shape: Shape,
    pub(crate) server: Server,
    simulator: Child,
    /// Weights of the steps, in percent: one for each push of a rollout, and a last one.
    steps: Vec<u32>,
    _directory: TempDir,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        // A failure means that the process has ended.
        let _ = self.simulator.kill();
        let _ = self.simulator.wait();
    }
}

impl Fleet {
    /// Starts a fleet with a rollout for each group, live at its first step.
    pub(crate) async fn start(shape: Shape, statistics: &Value, pushes: u32) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let captured = directory.path().join("statistics.json");
        let mut file = std::fs::File::create(&captured).expect("a file");
        write!(file, "{statistics}").expect("a file");
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("proxies").arg("--statistics").arg(&captured).stdin(Stdio::null());
        shape.hand_on(&mut command);
        let simulator = command.spawn().expect("the simulator starts");

        let filter = concat!(env!("CARGO_MANIFEST_DIR"), "/../envoy/filter.json");
        let xds = shape.xds().to_string();
        let arguments = ["--xds-listen", &xds, "--xds-filter", filter];
        let server = Server::started_with(directory.path(), &arguments).await;
        let steps = steps(pushes.div_ceil(shape.groups));
        let fleet = Self { shape, server, simulator, steps, _directory: directory };
        until(TIMEOUT, "the simulator responds", async || http::get(shape.control(), "/0").await)
            .await;
        fleet.apply_all().await;
        fleet.until_live().await;
        fleet
    }

    async fn apply_all(&self) {
        let groups: Vec<_> = (0..self.shape.groups).collect();
        for groups in groups.chunks(AT_ONCE) {
            futures_util::future::join_all(groups.iter().map(|group| self.apply(*group))).await;
        }
    }

    /// A rollout starts when its proxies are connected and respond in time, which may take long on
    /// a busy machine.
    async fn apply(&self, group: u32) {
        let rollout = self.rollout(group);
        until(TIMEOUT, "the rollout starts", || self.post("/v1/rollouts", rollout.clone())).await;
    }

    async fn until_live(&self) {
        until(TIMEOUT, "every rollout is live", async || {
            let rollouts = self.rollouts().await;
            let live = rollouts.iter().filter(|it| it["status"]["live"] == true).count();
            if live == self.shape.groups as usize { Ok(()) } else { Err((rollouts.len(), live)) }
        })
        .await;
    }

    /// The active rollouts.
    pub(crate) async fn rollouts(&self) -> Vec<Value> {
        let answer = http::get(self.server.address(), "/v1/rollouts").await.expect("a response");
        let mut all: Vec<Value> = serde_json::from_slice(answer.body()).expect("a list");
        all.retain(|rollout| rollout["phase"] == "running");
        all
    }

    /// Advances the rollout with this number.
    pub(crate) async fn advance(&self, rollout: &Value) {
        let command = json!({ "by": "bench-fleet", "step": rollout["status"]["step"] });
        let path = format!("/v1/rollouts/{}/advance", rollout["id"]);
        self.post(&path, command.to_string()).await.expect("the server accepts the command");
    }

    /// The page of serin's metrics.
    pub(crate) async fn metrics(&self) -> String {
        let page = http::get(self.server.address(), "/metrics").await.expect("a page");
        String::from_utf8(page.into_body().to_vec()).expect("text")
    }

    /// The newest generation that the proxies of a group have acknowledged.
    pub(crate) async fn acknowledged(&self, group: u32) -> Value {
        let answer =
            http::get(self.shape.control(), &format!("/{group}")).await.expect("a response");
        serde_json::from_slice(answer.body()).expect("JSON")
    }

    async fn post(&self, path: &str, body: String) -> Result<(), String> {
        let kind = if path == "/v1/rollouts" { "application/yaml" } else { "application/json" };
        let request = Request::post(format!("http://{}{path}", self.server.address()))
            .header("content-type", kind)
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let answer = http::send(request).await?;
        match answer.status().is_success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(answer.body()).into_owned()),
        }
    }

    fn rollout(&self, group: u32) -> String {
        let step = |percent| {
            format!("        - {{ weight: {percent}%, bake: {{ time: 1h, requests: 1 }} }}\n")
        };
        let steps: String = self.steps.iter().map(step).collect();
        let admins =
            self.shape.members(group).map(|proxy| format!("'{}'", self.shape.admin(proxy)));
        let (service, group) = (service_name(group), group_name(group));
        format!(
            "apiVersion: serin.dev/v1alpha1
kind: ServiceRollout
metadata: {{ name: {service}-v2 }}
spec:
  service: {service}
  sticky: [{{ header: x-user-id }}]
  versions:
    - {{ name: v1, cluster: shop-v1 }}
    - {{ name: v2, cluster: shop-v2 }}
  baseline: v1
  candidate: v2
  strategy:
    trafficShifting:
      steps:
{steps}  analysis: {{ interval: 1s }}
  envoy:
    xds: {{ group: {group} }}
    proxies: {{ addresses: [{}] }}
",
            admins.collect::<Vec<_>>().join(", ")
        )
    }
}

/// The usual weights, or enough for this number of advances.
fn steps(advances: u32) -> Vec<u32> {
    match advances {
        ..=4 => vec![1, 5, 25, 50, 100],
        more => (1..=more).chain([100]).collect(),
    }
}
