//! A mesh with two versions of `reviews`, and an operator.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::config::Kubeconfig;
use kube::core::DynamicObject;
use serde_json::{Value, json};
use serin_tests::kube::relay::{ApiRelay, HeldWrite};
use serin_tests::kube::{ApiServer, client, objects};
use serin_tests::{Load, LoadPlan, Proxy, serin, until};
use tempfile::TempDir;
use tokio::process::Child;

use super::objects::{by_weights, cluster, observed, plugin};
use crate::mesh::world::{Bookinfo, only, sidecar, subsets, virtual_service, weights};
use crate::world::{merge, name, read};

/// Timeout of a rollout of a few short steps, on a busy machine.
pub(crate) const ROLLOUT: Duration = Duration::from_secs(180);

/// Timeout of an immediate effect, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A mesh, and operators with the rights of the manifests.
pub(crate) struct World {
    pub(crate) bookinfo: Bookinfo,
    login: Kubeconfig,
    directory: TempDir,
}

impl World {
    /// With a VirtualService that splits, and all traffic at v1.
    pub(crate) async fn weighted() -> Option<(Self, Value)> {
        let world = Self::new(sidecar()).await?;
        world.server().create(&plugin(observed(cluster))).await;
        let routes = virtual_service(json!([{ "route": weights(100, 0) }]));
        let routes = world.server().create(&routes).await;
        world.bookinfo.until_split(0..=0).await;
        Some((world, routes))
    }

    /// With a plugin that splits, and the user's routes.
    pub(crate) async fn filtered() -> Option<(Self, Value, Value)> {
        let world = Self::new(sidecar()).await?;
        let sink = world.server().create(&plugin(json!([]))).await;
        let chosen = json!([{ "headers": { "x-serin-version": { "exact": "v2" } } }]);
        let routes = virtual_service(json!([
            { "match": chosen, "route": only("v2") },
            { "route": only("v1") },
        ]));
        let routes = world.server().create(&routes).await;
        world.bookinfo.until_split(0..=0).await;
        Some((world, sink, routes))
    }

    /// With the subsets v1 and v2. `None` without an API server.
    pub(crate) async fn new(proxy: Proxy) -> Option<Self> {
        let world = Self::bare(proxy).await?;
        world.server().create(&subsets()).await;
        Some(world)
    }

    /// The same, and a ServiceRollout that waits for approval at its first step.
    pub(crate) async fn waiting() -> Option<(Self, Value, Value)> {
        Self::waiting_with(json!({})).await
    }

    /// The same with these fields in its `spec.istio`.
    pub(crate) async fn waiting_with(fields: Value) -> Option<(Self, Value, Value)> {
        let (world, routes) = Self::weighted().await?;
        let mut object = by_weights("v2");
        object["spec"]["strategy"]["trafficShifting"]["steps"][0]["approval"] = true.into();
        let fields = fields.as_object().expect("fields").clone();
        object["spec"]["istio"].as_object_mut().expect("fields").extend(fields);
        let object = world.server().create(&object).await;
        Some((world, routes, object))
    }

    /// With the Services, and no object of a mesh.
    pub(crate) async fn bare(proxy: Proxy) -> Option<Self> {
        let bookinfo = Bookinfo::new(proxy).await?;
        bookinfo.server.install().await;
        let directory = tempfile::tempdir().expect("a directory");
        let login = bookinfo.server.login("serin-system", "serin-operator").await;
        Some(Self { bookinfo, login, directory })
    }

    pub(crate) fn server(&self) -> &ApiServer {
        &self.bookinfo.server
    }

    pub(crate) fn admin(&self) -> Client {
        self.server().admin()
    }

    /// Another operator.
    pub(crate) fn operator(&self, name: &str) -> Child {
        self.operator_with(name, &self.login)
    }

    /// The relay between operators and the server, with the operators' rights.
    pub(crate) async fn relay(&self, hold: Option<HeldWrite>) -> ApiRelay {
        ApiRelay::start(client(self.login.clone()).await, hold)
    }

    /// Another operator with these credentials.
    pub(crate) fn operator_with(&self, name: &str, login: &Kubeconfig) -> Child {
        let kubeconfig = self.directory.path().join(name).with_extension("kubeconfig");
        let login = serde_json::to_string(login).expect("a kubeconfig");
        std::fs::write(&kubeconfig, login).expect("a file");
        let log = self.directory.path().join(name).with_extension("log");
        let log = std::fs::File::create(log).expect("a log");
        let mut command = serin();
        command.arg("operator").args(["--identity", name, "--listen", "127.0.0.1:0"]);
        command.args(["--lease-namespace", "serin-system"]);
        command.env("KUBECONFIG", kubeconfig);
        command.stdin(Stdio::null()).stderr(log).spawn().expect("serin starts")
    }

    /// The operators' logs.
    pub(crate) fn said(&self) -> String {
        let files = std::fs::read_dir(self.directory.path()).expect("a directory");
        let paths = files.map(|file| file.expect("a file").path());
        let logs =
            paths.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        let read = |path: &Path| std::fs::read_to_string(path).expect("a log");
        logs.map(|path| read(&path)).collect()
    }

    /// Load of this number of requests per second.
    pub(crate) fn load(&self, rate: u32) -> Load {
        let mut plan = LoadPlan::new(self.bookinfo.mesh.listener(), rate);
        plan.host = Some("reviews");
        Load::start(plan)
    }

    /// Waits until the object matches; returns it.
    pub(crate) async fn until(
        &self,
        deadline: Duration,
        what: &str,
        object: &Value,
        like: impl Fn(&Value) -> bool,
    ) -> Value {
        until(deadline, what, async || {
            let now = read(&self.admin(), object).await;
            match like(&now) {
                true => Ok(now),
                false => {
                    let mut status = now["status"].clone();
                    status["checkpoint"].take();
                    Err(format!("{status}; said: {}", self.said()))
                }
            }
        })
        .await
    }

    /// The weights in the routes of an object: those of v1 and v2.
    pub(crate) async fn weights(&self, object: &Value) -> [u64; 2] {
        weights_in(&read(&self.admin(), object).await)
    }

    /// Waits until these are the weights in the routes of an object.
    pub(crate) async fn until_weights(&self, object: &Value, wanted: [u64; 2]) {
        until(SOON, &format!("the weights are {wanted:?}"), async || {
            let weights = self.weights(object).await;
            if weights == wanted { Ok(()) } else { Err((weights, self.said())) }
        })
        .await;
    }

    /// Changes the weights in the VirtualService by hand.
    pub(crate) async fn set_weights(&self, routes: &Value, [v1, v2]: [u32; 2]) {
        self.change(routes, json!({ "spec": { "http": [{ "route": weights(v1, v2) }] } })).await;
    }

    /// Merges a change into an object.
    pub(crate) async fn change(&self, object: &Value, change: Value) {
        merge(&self.admin(), object, change).await;
    }

    /// Deletes an object.
    pub(crate) async fn delete(&self, object: &Value) {
        let api = objects(&self.admin(), object);
        api.delete(name(object), &Default::default()).await.expect("the object is deleted");
    }

    /// Waits until an object is gone.
    pub(crate) async fn until_gone(&self, object: &Value) {
        let api = objects(&self.admin(), object);
        until(ROLLOUT, "the object is gone", async || match api.get_opt(name(object)).await {
            Ok(None) => Ok(()),
            other => Err(format!("{other:?}; said: {}", self.said())),
        })
        .await;
    }

    /// Writes a command, as a person does.
    pub(crate) async fn order(&self, object: &Value, command: &str) {
        self.change(object, json!({"metadata": {"annotations": {"serin.dev/command": command}}}))
            .await;
    }

    /// Waits until there are Events about an object with all these reasons.
    pub(crate) async fn until_told(&self, object: &Value, wanted: &[&str]) {
        until(SOON, &format!("Events have {wanted:?}"), async || {
            let reasons = self.reasons(object).await;
            let told = |wanted: &&str| reasons.iter().any(|reason| reason == wanted);
            if wanted.iter().all(told) { Ok(()) } else { Err(reasons) }
        })
        .await;
    }

    /// The reasons of all Events about an object, in order of time.
    pub(crate) async fn reasons(&self, object: &Value) -> Vec<String> {
        let event = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": object["metadata"],
        });
        let api: Api<DynamicObject> = objects(&self.admin(), &event);
        let mut events = api.list(&ListParams::default()).await.expect("events").items;
        events.retain(|event| event.data["regarding"]["name"] == object["metadata"]["name"]);
        events.sort_by_key(|event| event.data["eventTime"].as_str().map(str::to_owned));
        let reason = |event: &DynamicObject| event.data["reason"].as_str().map(str::to_owned);
        events.iter().filter_map(reason).collect()
    }
}

/// The weights of v1 and v2 in an object's routes.
pub(crate) fn weights_in(object: &Value) -> [u64; 2] {
    let entries = ["/spec/http/0/route", "/spec/rules/0/backendRefs"];
    let entries = entries.iter().find_map(|path| object.pointer(path)).expect("routes");
    [0, 1].map(|index| entries[index]["weight"].as_u64().expect("a weight"))
}

/// Whether the status has this phase.
pub(crate) fn phase(phase: &'static str) -> impl Fn(&Value) -> bool {
    move |object| object["status"]["phase"] == phase
}

/// Status and reason of a condition.
pub(crate) fn condition(object: &Value, kind: &str) -> [String; 2] {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|condition| condition["type"] == kind);
    ["status", "reason"].map(|field| {
        found.map_or(String::new(), |c| c[field].as_str().unwrap_or_default().to_owned())
    })
}

/// Whether the split of a step is live.
pub(crate) fn live(object: &Value) -> bool {
    condition(object, "Progressing") == ["True", "StepLive"]
}

/// Whether v2 has been promoted.
pub(crate) fn promoted(object: &Value) -> bool {
    object["status"]["stable"] == "v2"
}

/// Whether Degraded is true for this reason.
pub(crate) fn degraded(reason: &'static str) -> impl Fn(&Value) -> bool {
    move |object| condition(object, "Degraded") == ["True", reason]
}

/// When the status of a rollout under way was written.
pub(crate) fn wall(status: &Value) -> Timestamp {
    let text = status["checkpoint"]["wall"].as_str().expect("a rollout is under way");
    text.parse().expect("a time")
}

/// Kills an operator, as a failing machine does.
pub(crate) async fn kill(mut operator: Child) {
    operator.kill().await.expect("a child can be killed");
}
