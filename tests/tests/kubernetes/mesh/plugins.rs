//! The behaviour of a proxy under a WasmPlugin, with the shipped module.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::{Value, json};
use serin_tests::kube::objects;
use serin_tests::{Call, Proxy, http, until};

use super::world::{Bookinfo, only, sidecar, subsets, virtual_service, wasm_plugin};

const TIMEOUT: Duration = Duration::from_secs(30);

/// All users get one version.
fn configuration(generation: u64, version: &str) -> Value {
    let cluster = |version| format!("outbound|9080|{version}|reviews.bookinfo.svc.cluster.local");
    let version_of = |name| json!({ "name": name, "cluster": cluster(name) });
    json!({
        "schema": 1, "generation": generation, "services": [{
            "name": "reviews",
            "authorities": ["reviews"],
            "sticky": [{ "header": "x-user-id" }],
            "reveal": "x-served-by",
            "versions": [version_of("v1"), version_of("v2")],
            "buckets": [{ "version": version, "count": 1_000_000 }],
        }],
    })
}

fn plugin(labels: Value) -> Value {
    wasm_plugin(labels, configuration(1, "v1"))
}

/// Routes by the header that the filter writes.
fn by_header() -> Value {
    virtual_service(json!([
        { "match": [{ "headers": { "x-serin-version": { "exact": "v2" } } }], "route": only("v2") },
        { "route": only("v1") },
    ]))
}

/// The filter's version header in a request of a user.
async fn revealed(world: &Bookinfo) -> Result<Option<String>, String> {
    let answer = Call::new(world.mesh.listener(), serin_tests::Protocol::Http1)
        .authority("reviews")
        .header("x-user-id", "7")
        .send()
        .await?;
    Ok(answer.header("x-served-by").map(str::to_owned))
}

async fn until_revealed(world: &Bookinfo, version: Option<&str>) {
    until(TIMEOUT, &format!("{version:?} is revealed"), async || {
        let served = revealed(world).await?;
        let begins = served.as_deref().and_then(|served| served.get(..2));
        if begins == version { Ok(()) } else { Err(format!("{served:?}")) }
    })
    .await;
}

async fn statistics(world: &Bookinfo, path: &str) -> (u16, String) {
    let answer = http::get(world.mesh.statistics(), path).await.expect("a response");
    let status = answer.status().as_u16();
    (status, String::from_utf8(answer.into_body().to_vec()).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_appears_changes_and_disappears() {
    let Some(world) = Bookinfo::new(sidecar()).await else { return };
    world.server.create(&subsets()).await;
    world.server.create(&by_header()).await;
    until_revealed(&world, None).await;
    // The plugin is for other pods, and then for these.
    let object = world.server.create(&plugin(json!({ "app": "details" }))).await;
    world.until_answered(|call| call, 200, Some("v1")).await;
    assert_eq!(revealed(&world).await.expect("a response"), None);
    world.change(&object, json!({ "selector": { "matchLabels": { "app": "productpage" } } })).await;
    until_revealed(&world, Some("v1")).await;

    world.change(&object, json!({ "pluginConfig": configuration(2, "v2") })).await;
    until_revealed(&world, Some("v2")).await;
    world.until_answered(|call| call.header("x-user-id", "7"), 200, Some("v2")).await;

    // A configuration that the filter rejects leaves the previous one in force.
    let mut broken = configuration(3, "v1");
    broken["services"][0]["buckets"][0]["count"] = 7.into();
    world.change(&object, json!({ "pluginConfig": broken })).await;
    let log = until(TIMEOUT, "the rejection is logged", async || {
        let log = world.mesh.log();
        if log.contains("buckets") { Ok(log) } else { Err(log.len()) }
    });
    log.await;
    until_revealed(&world, Some("v2")).await;

    // As in Istio's proxies: only the filter's statistics, under their raw names.
    until(TIMEOUT, "the requests are counted", async || {
        let (status, page) = statistics(&world, "/stats/prometheus").await;
        let mut lines = page.lines();
        let counted = lines.any(|line| line.starts_with("serin_service") && line.contains("v2"));
        let generation = page.contains("serin_generation{} 2");
        if status == 200 && counted && generation { Ok(()) } else { Err(page) }
    })
    .await;
    assert_eq!(statistics(&world, "/config_dump").await.0, 404);

    objects(&world.server.admin(), &object)
        .delete("serin", &DeleteParams::default())
        .await
        .expect("the plugin can be deleted");
    until_revealed(&world, None).await;
    world.until_answered(|call| call.header("x-user-id", "7"), 200, Some("v1")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_attached_to_a_gateway() {
    let Some(world) = Bookinfo::new(Proxy::gateway("bookinfo", "public", &[])).await else {
        return;
    };
    world.server.create(&subsets()).await;
    let mut routes = by_header();
    routes["spec"]["gateways"] = json!(["public"]);
    world.server.create(&routes).await;
    let mut object = plugin(json!({}));
    let spec = object["spec"].as_object_mut().expect("a specification");
    spec.remove("selector");
    spec.remove("match");
    let target =
        json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public" });
    spec.insert("targetRefs".to_owned(), json!([target]));
    world.server.create(&object).await;
    until_revealed(&world, Some("v1")).await;
}
