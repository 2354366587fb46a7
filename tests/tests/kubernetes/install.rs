//! The manifests that install the operator, on a real API server, and the rights that they grant.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;
use serde_json::Value;
use serin_tests::kube::{ApiServer, client, manifests};
use serin_tests::serin;

#[tokio::test(flavor = "multi_thread")]
async fn every_manifest_is_applied_without_loss() {
    let Some(server) = ApiServer::start().await else { return };
    let installed = server.install().await;
    let expected = manifests::all();
    assert_eq!(installed.len(), expected.len());
    for (stored, manifest) in installed.iter().zip(&expected) {
        // The server silently drops an unknown field.
        assert!(contains(stored, manifest), "{manifest}\nis stored as\n{stored}");
    }
}

/// Whether the first value contains all of the second.
fn contains(all: &Value, part: &Value) -> bool {
    match (all, part) {
        (Value::Object(all), Value::Object(part)) => {
            part.iter().all(|(name, part)| all.get(name).is_some_and(|value| contains(value, part)))
        }
        (Value::Array(all), Value::Array(part)) => {
            all.len() == part.len() && all.iter().zip(part).all(|(all, part)| contains(all, part))
        }
        // A type may have a float for an integer in the file.
        (Value::Number(all), Value::Number(part)) => all.as_f64() == part.as_f64(),
        (all, part) => all == part,
    }
}

#[tokio::test]
async fn the_operator_runs_with_least_privilege() {
    let deployment = of_kind("Deployment");
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["readOnlyRootFilesystem"], true);
    assert_eq!(context["allowPrivilegeEscalation"], false);
    assert_eq!(context["capabilities"]["drop"], serde_json::json!(["ALL"]));
    // The arguments are valid for the binary, which then prints its help.
    let arguments = container["args"].as_array().expect("arguments").iter();
    let arguments = arguments.map(|argument| argument.as_str().expect("text"));
    let help = serin().args(arguments).arg("--help").output().await.expect("serin runs");
    assert!(help.status.success(), "{}", String::from_utf8_lossy(&help.stderr));
    for probe in ["livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["port"], container["ports"][0]["name"]);
    }
    // All selectors match these pods.
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let selectors = [
        ("Deployment", "/spec/selector/matchLabels"),
        ("PodDisruptionBudget", "/spec/selector/matchLabels"),
        ("NetworkPolicy", "/spec/podSelector/matchLabels"),
        ("Service", "/spec/selector"),
    ];
    for (kind, selector) in selectors {
        let object = of_kind(kind);
        let selector = object.pointer(selector).expect(kind);
        assert!(selector.as_object().is_some_and(|labels| !labels.is_empty()), "{kind}");
        assert!(contains(labels, selector), "{kind}");
    }
}

#[test]
fn the_image_is_built_by_the_tests_compiler() {
    let toolchain = include_str!("../../../rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = \""));
    let channel = channel.and_then(|rest| rest.strip_suffix('"')).expect("a channel");
    let image = format!("FROM rust:{channel}-slim-bookworm AS build\n");
    assert!(include_str!("../../../envoy/kubernetes/Dockerfile").contains(&image), "{image}");
}

fn of_kind(kind: &str) -> Value {
    let mut all = manifests::all().into_iter().filter(|object| object["kind"] == kind);
    let object = all.next().expect(kind);
    assert!(all.next().is_none(), "{kind}");
    object
}

/// Group, resource, name and verbs, in a user's namespace.
const ALLOWED: [(&str, &str, &[&str]); 13] = [
    ("serin.dev", "servicerollouts", &["get", "list", "watch", "patch"]),
    ("serin.dev", "servicerollouts/status", &["update"]),
    ("networking.istio.io", "virtualservices", &["get", "list", "watch", "patch"]),
    ("networking.istio.io", "destinationrules", &["get", "list", "watch"]),
    ("extensions.istio.io", "wasmplugins", &["get", "list", "watch", "patch"]),
    ("gateway.networking.k8s.io", "httproutes", &["get", "list", "watch", "patch"]),
    ("gateway.networking.k8s.io", "grpcroutes", &["get", "list", "watch", "patch"]),
    ("", "pods", &["get", "list", "watch"]),
    ("", "services", &["get", "list", "watch"]),
    ("apps", "deployments", &["get"]),
    ("apps", "deployments/scale", &["get", "patch"]),
    ("autoscaling", "horizontalpodautoscalers", &["list"]),
    ("events.k8s.io", "events", &["create", "patch"]),
];

const FORBIDDEN: [(&str, &str, &[&str]); 13] = [
    ("serin.dev", "servicerollouts", &["create", "delete"]),
    ("networking.istio.io", "virtualservices", &["create", "update", "delete"]),
    ("networking.istio.io", "destinationrules", &["patch", "delete"]),
    ("extensions.istio.io", "wasmplugins", &["create", "delete"]),
    ("gateway.networking.k8s.io", "httproutes", &["create", "update", "delete"]),
    ("gateway.networking.k8s.io", "httproutes/status", &["patch", "update"]),
    ("", "pods", &["create", "patch", "delete"]),
    ("", "pods/exec", &["create"]),
    ("", "secrets", &["get", "list"]),
    ("", "configmaps", &["get", "list"]),
    ("apps", "deployments", &["list", "watch", "patch", "update", "delete"]),
    ("autoscaling", "horizontalpodautoscalers", &["create", "patch", "update", "delete"]),
    ("coordination.k8s.io", "leases", &["get", "create", "patch", "update"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_account_has_exactly_its_rights() {
    let Some(server) = ApiServer::start().await else { return };
    server.install().await;
    let operator = client(server.login("serin-system", "serin-operator").await).await;
    let reviews: Api<SelfSubjectAccessReview> = Api::all(operator);
    let may = async |namespace: &str, group: &str, resource: &str, name: &str, verb: &str| {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = ResourceAttributes {
            namespace: Some(namespace.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(name.to_owned()),
            verb: Some(verb.to_owned()),
            ..Default::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..Default::default()
        };
        let review = SelfSubjectAccessReview { spec, ..Default::default() };
        let answer = reviews.create(&PostParams::default(), &review).await;
        answer.expect("a response").status.expect("a response").allowed
    };
    for (expected, table) in [(true, &ALLOWED[..]), (false, &FORBIDDEN[..])] {
        for (group, resource, verbs) in table {
            for verb in *verbs {
                let allowed = may("shop", group, resource, "any", verb).await;
                assert_eq!(allowed, expected, "{verb} {resource}.{group}");
            }
        }
    }
    // Its own lease, and no other.
    for (name, expected) in [("serin-operator", true), ("another", false)] {
        for verb in ["get", "patch", "update"] {
            let allowed = may("serin-system", "coordination.k8s.io", "leases", name, verb).await;
            assert_eq!(allowed, expected, "{verb} the lease {name}");
        }
    }
    assert!(may("serin-system", "coordination.k8s.io", "leases", "", "create").await);
}
