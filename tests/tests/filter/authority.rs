//! Authorities of services.

use serde_json::json;
use serin_tests::{Call, Protocol};

use crate::world::{World, all, counts, shop};

#[tokio::test(flavor = "multi_thread")]
async fn the_most_specific_pattern_applies() {
    let service = |name: &str, authorities: &[&str]| {
        shop(json!({"name": name, "authorities": authorities, "buckets": all("v2")}))
    };
    let services = json!([
        service("name", &["shop.example"]),
        service("port", &["shop.example:8080"]),
        service("suffix", &["*.example"]),
        service("long-suffix", &["*.eu.example"]),
        service("port-suffix", &["*.example:9000"]),
    ]);
    let world = World::new(services).await;
    for (authority, name) in [
        ("shop.example", Some("name")),
        ("SHOP.example:81", Some("name")),
        ("shop.example:8080", Some("port")),
        ("other.example", Some("suffix")),
        ("other.example:81", Some("suffix")),
        ("other.example:9000", Some("port-suffix")),
        ("a.eu.example", Some("long-suffix")),
        ("shop.example.", Some("name")),
        ("shop.example.:81", Some("name")),
        ("shop.example:", Some("name")),
        ("shop.example.:8080", Some("port")),
        ("a.eu.example.", Some("long-suffix")),
        ("example", None),
        ("shop.example.org", None),
    ] {
        let before = world.envoy.until_flushed().await;
        let expected = if name.is_some() { "v2" } else { "v1" };
        let call = |call: Call| call.authority(authority).header("x-user-id", "user-1");
        world.assert_version(expected, call).await;
        let after = world.envoy.until_flushed().await;
        let changed: Vec<_> = ["name", "port", "suffix", "long-suffix", "port-suffix"]
            .into_iter()
            .filter(|service| counts(&before, service) != counts(&after, service))
            .collect();
        assert_eq!(changed, name.into_iter().collect::<Vec<_>>(), "{authority}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_wildcard_matches_all_other_authorities() {
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

/// By default Envoy's routes do not match a name with a trailing dot.
#[tokio::test(flavor = "multi_thread")]
async fn a_trailing_dot_without_a_route_counts_for_no_version() {
    let services = json!([shop(json!({"authorities": ["shop.example"], "buckets": all("v2")}))]);
    let world =
        World::with(services, |setup| setup.replace("domains: [\"*\"]", "domains: [shop.example]"))
            .await;
    for protocol in Protocol::ALL {
        let call = world.call(protocol).authority("shop.example.");
        assert_eq!(call.send().await.expect("a response").version, None);
    }
    world.assert_counts(&[("v2 chosen random", 3)]).await;
    world.assert_version("v2", |call| call.authority("shop.example")).await;
}
