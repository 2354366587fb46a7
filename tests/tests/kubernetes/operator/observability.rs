//! The operator's reports of a missing right or API server: no mesh and no traffic.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::ClusterRole;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::PostParams;
use rustix::process::Signal;
use serde_json::{Value, json};
use serin_tests::kube::{ApiServer, objects};
use serin_tests::{http, ports, serin, until};
use tempfile::TempDir;
use tokio::process::Child;

use super::objects::by_weights;
use super::world::{SOON, condition};
use crate::mesh::world::{virtual_service, weights};
use crate::world::{read, world};

/// The operator is not ready once the API server has been away for 15 s.
const AWAY: Duration = Duration::from_secs(15);

/// An API server and one operator, with the rights of the manifests.
struct World {
    server: ApiServer,
    directory: TempDir,
    health: SocketAddr,
    _operator: Child,
}

impl World {
    /// `None` without an API server. `remove` takes verbs of a resource away first.
    async fn without(resource: &str, removed: &[&str]) -> Option<Self> {
        let server = world().await?;
        server.install().await;
        server.namespace("bookinfo").await;
        remove_right(&server, resource, removed).await;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path();
        let login = server.login("serin-system", "serin-operator").await;
        let login = serde_json::to_string(&login).expect("a kubeconfig");
        std::fs::write(path.join("kubeconfig"), login).expect("a file");
        let log = std::fs::File::create(path.join("log")).expect("a log");
        let health = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let mut command = serin();
        command.args(["operator", "--lease-namespace", "serin-system", "--log-format", "json"]);
        command.args(["--listen", &health.to_string()]);
        command.env("KUBECONFIG", path.join("kubeconfig"));
        let operator = command.stdin(Stdio::null()).stderr(log).spawn().expect("serin starts");
        Some(Self { server, directory, health, _operator: operator })
    }

    /// The lines of the log.
    fn log(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.directory.path().join("log")).expect("a log");
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    async fn get(&self, path: &str) -> Result<(u16, String), String> {
        let answer = http::get(self.health, path).await?;
        let body = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().as_u16(), body))
    }

    /// Waits for a log line about `reviews`, a counted error and an Event, all with this reason.
    async fn until_reported(&self, reason: &str) {
        until(SOON, &format!("a log line has {reason}"), async || {
            let log = self.log();
            let has_reason = |line: &Value| {
                line["reason"] == reason
                    && line["rollout"] == "reviews"
                    && line["namespace"] == "bookinfo"
                    && ["WARN", "ERROR"].map(Value::from).contains(&line["level"])
            };
            if log.iter().any(has_reason) { Ok(()) } else { Err(log) }
        })
        .await;
        self.until_counted(&format!("serin_operator_errors_total{{reason=\"{reason}\"}}")).await;
        until(SOON, &format!("an Event has {reason}"), async || {
            let events = self.events().await;
            let has_reason = |event: &Value| {
                event["reason"] == reason
                    && event["type"] == "Warning"
                    && event["regarding"]["kind"] == "ServiceRollout"
                    && event["reportingController"] == "serin.dev/operator"
            };
            if events.iter().any(has_reason) { Ok(()) } else { Err(events) }
        })
        .await;
    }

    /// Waits until the series of this name and labels is above zero.
    async fn until_counted(&self, series: &str) {
        until(SOON, series, async || {
            let (status, page) = self.get("/metrics").await?;
            let mut values = page.lines().filter_map(|line| line.strip_prefix(series));
            let value = values.next().and_then(|value| value.trim().parse::<f64>().ok());
            match value.is_some_and(|value| value > 0.0) {
                true => Ok(()),
                false => Err(format!("{status}: {page}")),
            }
        })
        .await;
    }

    async fn events(&self) -> Vec<Value> {
        let metadata = json!({ "namespace": "bookinfo" });
        let event =
            json!({ "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata });
        let api = objects(&self.server.admin(), &event);
        let events = api.list(&Default::default()).await.expect("events").items;
        events.iter().map(|event| json!(event)).collect()
    }

    async fn until_degraded(&self, object: &Value, reason: &str) -> Value {
        until(SOON, &format!("Degraded has {reason}"), async || {
            let now = read(&self.server.admin(), object).await;
            match condition(&now, "Degraded") == ["True", reason] {
                true => Ok(now),
                false => Err((now["status"].clone(), self.log())),
            }
        })
        .await
    }

    /// Waits until /readyz answers with this status; returns the body.
    async fn until_readiness(&self, expected: u16) -> String {
        until(SOON, &format!("/readyz responds {expected}"), async || {
            let (status, body) = self.get("/readyz").await?;
            if status == expected { Ok(body) } else { Err((status, body).1) }
        })
        .await
    }
}

/// Takes verbs of a resource away from the operator's role.
async fn remove_right(server: &ApiServer, resource: &str, removed: &[&str]) {
    let roles: Api<ClusterRole> = Api::all(server.admin());
    let mut role = roles.get("serin-operator").await.expect("a role");
    for rule in role.rules.iter_mut().flatten() {
        if rule.resources.iter().flatten().any(|known| known == resource) {
            rule.verbs.retain(|verb| !removed.contains(&&**verb));
        }
    }
    role.rules.iter_mut().for_each(|rules| rules.retain(|rule| !rule.verbs.is_empty()));
    roles
        .replace("serin-operator", &PostParams::default(), &role)
        .await
        .expect("the server accepts the role");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_patch_finalizers_the_operator_reports_forbidden() {
    let Some(world) = World::without("servicerollouts", &["patch"]).await else { return };
    let object = world.server.create(&by_weights("v2")).await;
    let object = world.until_degraded(&object, "Forbidden").await;
    assert_eq!(object["metadata"]["finalizers"], Value::Null);
    world.until_reported("Forbidden").await;
    let refused = "verb=\"patch\",resource=\"servicerollouts\",code=\"403\"";
    world.until_counted(&format!("serin_operator_api_requests_total{{{refused}}}")).await;
    world.until_counted("serin_operator_reconciles_total").await;
    world.until_counted("serin_operator_leader").await;
    world.until_counted("serin_rollouts{phase=\"Pending\"}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_right_to_write_status_the_operator_reports_status_write_failed() {
    let removed = ["patch", "update"];
    let Some(world) = World::without("servicerollouts/status", &removed).await else { return };
    let object = world.server.create(&by_weights("v2")).await;
    world.until_reported("StatusWriteFailed").await;
    let refused = "verb=\"update\",resource=\"servicerollouts/status\",code=\"403\"";
    world.until_counted(&format!("serin_operator_api_requests_total{{{refused}}}")).await;
    let object = read(&world.server.admin(), &object).await;
    assert_eq!(object["status"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_rights_on_routes_the_operator_reports_forbidden() {
    let removed = ["get", "list", "watch", "patch"];
    let Some(world) = World::without("virtualservices", &removed).await else { return };
    world.server.create(&virtual_service(json!([{ "route": weights(100, 0) }]))).await;
    let object = world.server.create(&by_weights("v2")).await;
    world.until_degraded(&object, "Forbidden").await;
    world.until_reported("Forbidden").await;
    let refused = "verb=\"get\",resource=\"virtualservices\",code=\"403\"";
    world.until_counted(&format!("serin_operator_api_requests_total{{{refused}}}")).await;
    // The same error is one Event; its second publication starts a series.
    let events = world.events().await;
    let forbidden = events.iter().filter(|event| event["reason"] == "Forbidden").count();
    assert_eq!(forbidden, 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_is_ready_while_the_api_server_answers() {
    let Some(world) = World::without("", &[]).await else { return };
    world.until_readiness(200).await;
    let frozen = tokio::time::Instant::now();
    world.server.signal(Signal::STOP);
    let reason = world.until_readiness(503).await;
    assert!(frozen.elapsed() + Duration::from_secs(5) > AWAY, "{:?}", frozen.elapsed());
    assert!(reason.contains("API server"), "{reason}");
    // The process is alive: a restart would not help.
    assert_eq!(world.get("/healthz").await.expect("a response").0, 200);
    world.server.signal(Signal::CONT);
    world.until_readiness(200).await;

    let kinds: Api<CustomResourceDefinition> = Api::all(world.server.admin());
    let name = "servicerollouts.serin.dev";
    kinds.delete(name, &Default::default()).await.expect("the object is deleted");
    let reason = world.until_readiness(503).await;
    assert!(reason.contains("ServiceRollout"), "{reason}");
}
