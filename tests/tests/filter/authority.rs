//! Which requests are whose.

use serde_json::json;
use serin_tests::Call;

use crate::world::{World, all, counts, shop};

#[tokio::test(flavor = "multi_thread")]
async fn the_most_exact_pattern_decides() {
    let service = |name: &str, authorities: &[&str]| {
        shop(json!({"name": name, "authorities": authorities, "buckets": all("v2")}))
    };
    let services = json!([
        service("name", &["shop.example"]),
        service("port", &["shop.example:8080"]),
        service("below", &["*.example"]),
        service("deeper", &["*.eu.example"]),
        service("port-below", &["*.example:9000"]),
    ]);
    let world = World::new(services).await;
    for (authority, name) in [
        ("shop.example", Some("name")),
        ("SHOP.example:81", Some("name")),
        ("shop.example:8080", Some("port")),
        ("other.example", Some("below")),
        ("other.example:81", Some("below")),
        ("other.example:9000", Some("port-below")),
        ("a.eu.example", Some("deeper")),
        ("example", None),
        ("shop.example.org", None),
    ] {
        let before = world.envoy.until_flushed().await;
        let expected = if name.is_some() { "v2" } else { "v1" };
        let call = |call: Call| call.authority(authority).header("x-user-id", "anyone");
        world.assert_version(expected, call).await;
        let after = world.envoy.until_flushed().await;
        let grown: Vec<_> = ["name", "port", "below", "deeper", "port-below"]
            .into_iter()
            .filter(|service| counts(&before, service) != counts(&after, service))
            .collect();
        assert_eq!(grown, name.into_iter().collect::<Vec<_>>(), "{authority}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_is_for_the_rest() {
    let services = json!([
        shop(json!({"buckets": all("v2")})),
        shop(json!({"name": "other", "authorities": ["other.example"], "buckets": all("v1")})),
    ]);
    let world = World::new(services).await;
    world.assert_version("v1", |call| call.authority("other.example")).await;
    world.assert_counts(&[]).await;
    world.assert_version("v2", |call| call.authority("anything")).await;
    world
        .assert_counts(&[("v2 chosen random", 3), ("v2 requests", 3), ("v2 responses 2xx", 3)])
        .await;
}
