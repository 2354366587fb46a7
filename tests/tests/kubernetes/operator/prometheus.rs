//! Rollouts observed through a real Prometheus, which scrapes the proxies at Istio's port. Without
//! a Prometheus these tests are skipped with a note; `make test-prometheus` fetches it.

use serde_json::{Value, json};
use serin_tests::Prometheus;

use super::objects::{by_filter, by_weights};
use super::rollouts::taken_back;
use super::world::{ROLLOUT, World};

/// A Prometheus that scrapes the mesh's proxy.
async fn scraping(world: &World) -> Option<Prometheus> {
    Prometheus::start(&[world.bookinfo.mesh.statistics()]).await
}

/// The same rollout with the Prometheus instead of pods.
fn asking(prometheus: &Prometheus, mut object: Value) -> Value {
    let url = format!("http://{}", prometheus.address());
    object["spec"]["istio"]["proxies"]["prometheus"] =
        json!({ "url": url, "instances": { "job": "envoy" } });
    object
}

async fn promoted(world: &World, object: &Value) {
    let load = world.load(150);
    let _operator = world.operator("a");
    let object = world.server().create(object).await;
    let stable = |object: &Value| object["status"]["stable"] == "v2";
    let object = world.until(ROLLOUT, "v2 is promoted", &object, stable).await;
    assert_eq!(object["status"]["history"][0]["verdict"], "Promoted");
    world.bookinfo.until_split(100..=100).await;
    load.stop().await.assert_none_failed();
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_promote() {
    let Some((world, _)) = World::weighted().await else { return };
    let Some(prometheus) = scraping(&world).await else { return };
    promoted(&world, &asking(&prometheus, by_weights("v2"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_filter_promotes() {
    let Some((world, ..)) = World::filtered().await else { return };
    let Some(prometheus) = scraping(&world).await else { return };
    promoted(&world, &asking(&prometheus, by_filter("v2"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn weights_roll_back_a_bad_candidate() {
    let Some((world, _)) = World::weighted().await else { return };
    let Some(prometheus) = scraping(&world).await else { return };
    let _load = world.load(150);
    taken_back(&world, &asking(&prometheus, by_weights("v2"))).await;
}
