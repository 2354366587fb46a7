//! The behaviour and the reported status of a gateway, and of a sidecar, under the Gateway API.

use kube::api::DeleteParams;
use serde_json::{Value, json};
use serin_tests::kube::objects;
use serin_tests::{Call, Protocol, Proxy};

use super::world::{Bookinfo, service, sidecar};

fn backends(v1: u32, v2: u32) -> Value {
    let backend = |version, weight| json!({ "name": format!("reviews-{version}"), "port": 9080, "weight": weight });
    json!([backend("v1", v1), backend("v2", v2)])
}

fn route(kind: &str, parent: Value, rules: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": { "name": "reviews", "namespace": "bookinfo" },
        "spec": { "parentRefs": [parent], "hostnames": ["reviews"], "rules": rules },
    })
}

/// The status and reason of a condition of the present generation.
fn condition(object: &Value, kind: &str) -> Option<(String, String)> {
    let conditions = object.pointer("/status/parents/0/conditions")?.as_array()?.iter();
    let mut of_kind = conditions.filter(|condition| condition["type"] == kind);
    let condition = of_kind.next()?;
    let text = |field: &str| condition[field].as_str().map(str::to_owned);
    let present = condition["observedGeneration"] == object["metadata"]["generation"];
    present.then_some((text("status")?, text("reason")?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_follows_weights_and_reports_it() {
    let proxy = Proxy::gateway("gateways", "public", &[("istio", "ingressgateway")]);
    let Some(server) = Bookinfo::new(proxy).await else { return };
    let world = server;
    world.until_answered(|call| call, 404, None).await;
    let parent = json!({ "name": "public", "namespace": "gateways" });
    let rules = json!([
        { "backendRefs": backends(9, 1) },
        // The most specific match applies, in any order.
        {
            "matches": [{
                "path": { "type": "PathPrefix", "value": "/" },
                "headers": [{ "name": "x-serin-version", "value": "v2" }],
            }],
            "backendRefs": backends(0, 1),
        },
        {
            "matches": [{ "path": { "type": "PathPrefix", "value": "/old" } }],
            "backendRefs": backends(1, 0),
        },
    ]);
    let object = world.server.create(&route("HTTPRoute", parent, rules)).await;
    world.until_split(1..=25).await;
    world.until_answered(|call| call.header("x-serin-version", "v2"), 200, Some("v2")).await;
    let old =
        |path: &'static str| move |call: Call| call.header("x-serin-version", "v2").path(path);
    world.until_answered(old("/old/1"), 200, Some("v1")).await;
    world.until_answered(old("/older"), 200, Some("v2")).await;
    let good = |object: &Value| {
        let said = ["Accepted", "ResolvedRefs"].map(|kind| condition(object, kind));
        said.into_iter().all(|said| said.is_some_and(|(status, _)| status == "True")).then_some(())
    };
    world.until_said(&object, good).await;
    world.change(&object, json!({ "rules": [{ "backendRefs": backends(0, 1) }] })).await;
    world.until_split(100..=100).await;
    world.until_said(&object, good).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_backend_is_reported_and_its_share_fails() {
    let Some(world) = Bookinfo::new(sidecar()).await else { return };
    let gone = service("reviews-v2", json!({}));
    objects(&world.server.admin(), &gone)
        .delete("reviews-v2", &DeleteParams::default())
        .await
        .expect("the Service can be deleted");
    // A parent that is a Service belongs to the mesh.
    let parent = json!({ "group": "", "kind": "Service", "name": "reviews" });
    let rules = json!([{ "backendRefs": backends(0, 1) }]);
    let mut object = route("HTTPRoute", parent, rules);
    object["spec"].as_object_mut().expect("a specification").remove("hostnames");
    let object = world.server.create(&object).await;
    world.until_answered(|call| call, 500, None).await;
    let refused = ("False".to_owned(), "BackendNotFound".to_owned());
    let resolved = |object: &Value| condition(object, "ResolvedRefs");
    world.until_said(&object, |now| (resolved(now)? == refused).then_some(())).await;

    let selector = json!({ "app": "reviews", "version": "v2" });
    world.server.create(&service("reviews-v2", selector)).await;
    world.until_answered(|call| call, 200, Some("v2")).await;
    let good = ("True".to_owned(), "ResolvedRefs".to_owned());
    world.until_said(&object, |now| (resolved(now)? == good).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_methods_are_routed() {
    let Some(world) = Bookinfo::new(Proxy::gateway("gateways", "public", &[])).await else {
        return;
    };
    let parent = json!({ "name": "public", "namespace": "gateways" });
    let rules = json!([
        {
            "matches": [{ "method": { "service": "books.Reviews", "method": "Rate" } }],
            "backendRefs": backends(0, 1),
        },
        { "matches": [{ "method": { "service": "books.Reviews" } }], "backendRefs": backends(1, 0) },
    ]);
    world.server.create(&route("GRPCRoute", parent, rules)).await;
    let rate = |call: Call| call.path("/books.Reviews/Rate");
    world.until_answered(rate, 200, Some("v2")).await;
    let answer = rate(world.call(Protocol::Grpc)).send().await.expect("a response");
    assert_eq!((answer.version.as_deref(), answer.grpc_status), (Some("v2"), Some(0)));
    world.until_answered(|call| call.path("/books.Reviews/List"), 200, Some("v1")).await;
    world.until_answered(|call| call.path("/books.Authors/List"), 404, None).await;
}
