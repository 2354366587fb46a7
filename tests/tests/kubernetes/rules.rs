//! The validation rules of ServiceRollout: an API server rejects an invalid object, and names the
//! field.

use kube::Error;
use kube::api::{Patch, PatchParams};
use serde_json::Value;
use serin_tests::kube::{ApiServer, manifests, objects};

use crate::tutorial::file;
use crate::world::name;

/// The tutorial's file, the pointer to a field of `spec`, its invalid value (null: the field is
/// missing), and the path in the server's error.
const INVALID: [(&str, &str, &str, &str); 24] = [
    ("istio-filter.yaml", "/istio", "null", "spec"),
    ("istio-filter.yaml", "/candidate", "\"v3\"", "spec.candidate"),
    ("istio-filter.yaml", "/versions/1/name", "\"v1\"", "spec.versions"),
    ("istio-filter.yaml", "/versions/1/destination", "null", "spec.versions"),
    (
        "istio-filter.yaml",
        "/versions/1/backend",
        r#"{"name":"reviews","port":80}"#,
        "spec.versions",
    ),
    ("istio-filter.yaml", "/versions/1/deployment", "\"reviews-v2\"", "spec.versions"),
    ("istio-filter.yaml", "/scale", "true", "spec.versions"),
    ("istio-filter.yaml", "/istio/port", "null", "spec.istio.port"),
    ("istio-filter.yaml", "/istio/virtualService", "\"reviews\"", "spec.istio.virtualService"),
    ("istio-filter.yaml", "/istio/drift", "\"respect\"", "spec.istio.drift"),
    ("istio-filter.yaml", "/istio/mode", "\"both\"", "spec.istio.mode"),
    ("istio-filter.yaml", "/istio/proxies/matchLabels", "{}", "spec.istio.proxies.matchLabels"),
    ("istio-filter.yaml", "/compatibility", "\"breaking\"", "spec.strategy"),
    ("istio-filter.yaml", "/strategy/canary", "null", "spec.strategy"),
    ("istio-filter.yaml", "/strategy/blueGreen", "{}", "spec.strategy"),
    ("istio-filter.yaml", "/strategy", r#"{"blueGreen":{}}"#, "spec.override"),
    (
        "istio-filter.yaml",
        "/strategy",
        r#"{"trafficShifting":{"steps":[]}}"#,
        "spec.strategy.trafficShifting.steps",
    ),
    (
        "istio-filter.yaml",
        "/strategy",
        r#"{"trafficShifting":{"steps":[{"weight":"1%"},{"weight":"99.9 %"}]}}"#,
        "spec.strategy.trafficShifting.steps",
    ),
    ("istio-filter.yaml", "/strategy/canary/weight", "\"ten\"", "spec.strategy.canary.weight"),
    ("istio-mesh.yaml", "/istio/virtualService", "null", "spec.istio.virtualService"),
    ("istio-mesh.yaml", "/istio/plugin", "\"serin\"", "spec.istio.plugin"),
    ("gateway-api.yaml", "/versions/0/backend", "null", "spec.versions"),
    (
        "gateway-api.yaml",
        "/istio",
        r#"{"mode":"filter","proxies":{"matchLabels":{"a":"b"}}}"#,
        "spec",
    ),
    (
        "gateway-api.yaml",
        "/gatewayApi/proxies",
        r#"{"matchLabels":{"a":"b"},"port":1,"prometheus":{"url":"http://prometheus"}}"#,
        "spec.gatewayApi.proxies",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_object_is_refused_with_the_path_of_its_field() {
    let Some(server) = ApiServer::start().await else { return };
    server.install().await;
    server.namespace("bookinfo").await;
    for rollout in ["istio-filter.yaml", "istio-mesh.yaml", "gateway-api.yaml", "rolling.yaml"] {
        let object = manifests::documents(&file(rollout)).remove(0);
        apply(&server, &object).await.unwrap_or_else(|error| panic!("{rollout}: {error}"));
    }
    let mut wrong = Vec::new();
    for (rollout, field, value, path) in INVALID {
        let mut object = manifests::documents(&file(rollout)).remove(0);
        set(&mut object["spec"], field, serde_json::from_str(value).expect("JSON"));
        let result = apply(&server, &object).await;
        let named = match &result {
            Err(Error::Api(status)) => {
                let causes = status.details.iter().flat_map(|details| &details.causes);
                causes.into_iter().any(|cause| cause.field == path)
            }
            _ => false,
        };
        if !named {
            wrong.push(format!("{rollout} with {field} {value}: {result:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The last weight can be written in several ways, and a reverted candidate is the baseline.
#[tokio::test(flavor = "multi_thread")]
async fn no_rule_refuses_a_valid_object() {
    let Some(server) = ApiServer::start().await else { return };
    server.install().await;
    server.namespace("bookinfo").await;
    let valid = [
        (
            "/strategy",
            r#"{"trafficShifting":{"steps":[{"weight":"0.0001%"},{"weight":"100.0 %"}]}}"#,
        ),
        ("/strategy", r#"{"trafficShifting":{"steps":[{"weight":"1e2%"}]}}"#),
        ("/candidate", "\"v1\""),
    ];
    for (field, value) in valid {
        let mut object = manifests::documents(&file("istio-filter.yaml")).remove(0);
        set(&mut object["spec"], field, serde_json::from_str(value).expect("JSON"));
        apply(&server, &object).await.unwrap_or_else(|error| panic!("{value}: {error}"));
    }
}

/// As `kubectl apply --server-side` does, without storing it.
async fn apply(server: &ApiServer, object: &Value) -> Result<(), Error> {
    let params =
        PatchParams { dry_run: true, ..PatchParams::apply("serin-tests").validation_strict() };
    objects(&server.admin(), object)
        .patch(name(object), &params, &Patch::Apply(object))
        .await
        .map(|_| ())
}

fn set(spec: &mut Value, field: &str, value: Value) {
    let (parent, name) = field.rsplit_once('/').expect("a pointer");
    let parent = spec.pointer_mut(parent).expect("the field's parent");
    match (value, parent.as_object_mut()) {
        (Value::Null, Some(parent)) => drop(parent.remove(name).expect("the field exists")),
        (value, _) => parent[name] = value,
    }
}
