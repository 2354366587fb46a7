//! Overrides of the version by trusted requests.

use serde_json::{Value, json};
use serin_tests::{Call, Protocol};

use crate::world::{World, all, only_shop, version_of};

const TOKEN: &str = "a-secret-of-the-tests";
const TRUSTED: [u8; 4] = [127, 0, 0, 2];

async fn shop(trust: Value) -> World {
    let overrides = json!({"header": "x-version", "cookie": "version"});
    let fields = json!({"buckets": all("v1"), "trust": trust, "override": overrides});
    World::new(only_shop(fields)).await
}

fn ignored(calls: u64) -> [(&'static str, u64); 3] {
    [("v1 chosen random", calls), ("v1 requests", calls), ("v1 responses 2xx", calls)]
}

fn applied(calls: u64) -> [(&'static str, u64); 2] {
    [("v2 chosen override", calls), ("v2 pinned", calls)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_authorizes_an_override() {
    let world = shop(json!({"token": TOKEN})).await;
    let value = format!("v2:{TOKEN}");
    world.assert_version("v2", |call| call.header("x-version", &value)).await;
    let cookie = format!("a=1; version={value}");
    world.assert_version("v2", |call| call.header("cookie", &cookie)).await;
    for bad in ["v2", "v2:", "v2:a-secret-of-the-test", "v2:a-secret-of-the-tests-", "v3", ":"] {
        world.assert_version("v1", |call| call.header("x-version", bad)).await;
    }
    world.assert_counts(&[&applied(6)[..], &ignored(18)[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_source_authorizes_an_override() {
    let world = shop(json!({"sources": ["127.0.0.2/31"]})).await;
    world.assert_version("v2", |call| call.header("x-version", "v2").from(TRUSTED)).await;
    world.assert_version("v2", |call| call.header("cookie", "version=v2").from(TRUSTED)).await;
    world.assert_version("v1", |call| call.header("x-version", "v2")).await;
    world.assert_version("v1", |call| call.header("x-version", "v9").from(TRUSTED)).await;
    world.assert_counts(&[&applied(6)[..], &ignored(6)[..]].concat()).await;
}

/// The header may contain a secret, which upstreams could log.
#[tokio::test(flavor = "multi_thread")]
async fn the_override_header_does_not_reach_the_upstream() {
    let world = shop(json!({"token": TOKEN})).await;
    for value in [&format!("v2:{TOKEN}"), "v2:wrong"] {
        let once = world.get(|call| call.header("x-version", value)).await;
        let twice =
            world.get(|call| call.header("x-version", value).header("x-version", "v2")).await;
        for answer in [once, twice] {
            let headers = world.upstream_of(&answer).last_headers();
            assert!(!headers.contains_key("x-version"), "{value}: {headers:?}");
        }
    }
}

/// The cookie may contain the same secret. Other cookies reach the upstream.
#[tokio::test(flavor = "multi_thread")]
async fn the_override_cookie_does_not_reach_the_upstream() {
    let world = shop(json!({"token": TOKEN})).await;
    let value = format!("version=v2:{TOKEN}");
    for (cookies, expected) in [
        (format!("a=1; {value}; b=2"), Some("a=1; b=2")),
        (format!("a=1;{value};b=2"), Some("a=1;b=2")),
        (format!("{value};{value}"), None),
        ("version=wrong; a=1".to_owned(), Some("a=1")),
        ("a=1;b=2".to_owned(), Some("a=1;b=2")),
    ] {
        for protocol in Protocol::ALL {
            let call = world.call(protocol).header("cookie", &cookies);
            let answer = call.send().await.expect("a response");
            let headers = world.upstream_of(&answer).last_headers();
            let seen = headers.get("cookie").map(|value| value.to_str().expect("text"));
            assert_eq!(seen, expected, "{protocol:?}: {cookies}");
        }
    }
}

/// A client can name any address in X-Forwarded-For.
#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_address_is_not_the_source() {
    let forwarded = |call: Call| call.header("x-forwarded-for", "127.0.0.2");
    let twice = |call: Call| forwarded(call).header("x-forwarded-for", "127.0.0.2, 127.0.0.2");
    let trust = json!({"sources": ["127.0.0.2/32"]});
    let world = shop(trust.clone()).await;
    world.assert_version("v1", |call| forwarded(call.header("x-version", "v2"))).await;
    world.assert_version("v1", |call| twice(call.header("x-version", "v2"))).await;
    world.assert_version("v2", |call| call.header("x-version", "v2").from(TRUSTED)).await;

    let fields = json!({"trust": trust, "correlation": ["tracestate"], "sticky": []});
    let world = World::new(only_shop(fields)).await;
    world.get(|call| forwarded(call.header("tracestate", "serin=1"))).await;
    world.get(|call| call.header("tracestate", "serin=1").from(TRUSTED)).await;
    assert_eq!(world.count("v2 chosen tracestate").await, 1);

    let world = World::new(only_shop(json!({"sticky": ["sourceAddress"]}))).await;
    let version = version_of(b"127.0.0.1");
    for address in (0..20).map(|n| format!("192.0.2.{n}")) {
        let answer = world.get(|call| call.header("x-forwarded-for", &address)).await;
        assert_eq!(answer.version.as_deref(), Some(version), "{address}");
    }
}
