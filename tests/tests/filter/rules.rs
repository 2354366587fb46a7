//! Rules: exceptions from the split.

use hyper::Method;
use serde_json::{Value, json};

use crate::world::{World, all, only_shop};

async fn shop(rules: Value) -> World {
    World::new(only_shop(json!({"rules": rules, "buckets": all("v1")}))).await
}

/// Counts of three calls that a rule pins to v2.
const PINNED: [(&str, u64); 2] = [("v2 chosen rule", 3), ("v2 pinned", 3)];

/// Counts of calls that no rule matches.
fn split(calls: u64) -> [(&'static str, u64); 3] {
    [("v1 chosen random", calls), ("v1 requests", calls), ("v1 responses 2xx", calls)]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_matches_a_header() {
    let when = json!({"header": {"name": "x-beta", "value": "yes"}});
    let world = shop(json!([{"when": when, "then": {"version": "v2"}}])).await;
    world.assert_version("v2", |call| call.header("x-beta", "yes")).await;
    world.assert_version("v1", |call| call.header("x-beta", "no")).await;
    world.assert_counts(&[&PINNED[..], &split(3)[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_matches_a_cookie() {
    let when = json!({"cookie": {"name": "staff"}});
    let world = shop(json!([{"when": when, "then": {"version": "v2"}}])).await;
    world.assert_version("v2", |call| call.header("cookie", "a=1; staff=anyone")).await;
    world.assert_version("v1", |call| call.header("cookie", "a=1; xstaff=anyone")).await;
    world.assert_counts(&[&PINNED[..], &split(3)[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_matches_a_path_prefix() {
    let when = json!({"pathPrefix": "/beta/"});
    let world = shop(json!([{"when": when, "then": {"version": "v2"}}])).await;
    world.assert_version("v2", |call| call.path("/beta/x?y")).await;
    world.assert_version("v1", |call| call.path("/betas")).await;
    world.assert_counts(&[&PINNED[..], &split(3)[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_matches_a_method() {
    let when = json!({"method": "PUT"});
    let world = shop(json!([{"when": when, "then": {"version": "v2"}}])).await;
    world.assert_version("v2", |call| call.method(Method::PUT)).await;
    world.assert_version("v1", |call| call.method(Method::POST)).await;
    world.assert_counts(&[&PINNED[..], &split(3)[..]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_rule_with_all_conditions_met_applies() {
    let world = shop(json!([
        {"when": {"pathPrefix": "/beta/", "method": "PUT"}, "then": {"version": "v1"}},
        {"when": {"pathPrefix": "/beta/"}, "then": {"version": "v2"}},
    ]))
    .await;
    world.assert_version("v1", |call| call.path("/beta/").method(Method::PUT)).await;
    world.assert_version("v2", |call| call.path("/beta/").method(Method::GET)).await;
    world.assert_counts(&[&PINNED[..], &[("v1 chosen rule", 3), ("v1 pinned", 3)]].concat()).await;
}

/// The routes decide, and the filter counts only the bypass.
#[tokio::test(flavor = "multi_thread")]
async fn a_rule_bypasses_the_filter() {
    let rules = json!([{"when": {"pathPrefix": "/health"}, "then": "bypass"}]);
    let world = World::new(only_shop(json!({"rules": rules, "buckets": all("v2")}))).await;
    let call = |call: serin_tests::Call| call.path("/health").header("x-serin-version", "v2");
    world.assert_version("v1", call).await;
    assert!(!world.v1.last_headers().contains_key("x-serin-version"));
    world.assert_counts(&[("bypassed", 3)]).await;
}
