//! Sticky keys, and random assignment of requests without a key.

use serde_json::{Value, json};
use serin_tests::{LoadPlan, Protocol};

use crate::world::{World, identities, only_shop, version_of};

/// Users of each version, and their calls over three protocols.
const USERS: usize = 10;
const CALLS: u64 = 30;

fn served(reason: &str) -> Vec<(String, u64)> {
    ["v1", "v2"]
        .into_iter()
        .flat_map(|version| {
            [format!("chosen {reason}"), "requests".to_owned(), "responses 2xx".to_owned()]
                .map(|stat| (format!("{version} {stat}"), CALLS))
        })
        .collect()
}

async fn assert_served(world: &World, reason: &str) {
    let expected = served(reason);
    let expected: Vec<_> = expected.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    world.assert_counts(&expected).await;
}

async fn shop_with(sticky: Value) -> World {
    World::new(only_shop(json!({"sticky": sticky}))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_identifies_the_user() {
    let world = shop_with(json!([{"header": "x-user-id"}])).await;
    for (user, version) in identities(USERS) {
        world.assert_version(version, |call| call.header("x-user-id", &user)).await;
    }
    assert_served(&world, "header").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cookie_identifies_the_user() {
    let world = shop_with(json!([{"cookie": "sid"}])).await;
    for (user, version) in identities(USERS) {
        let cookies = format!("a=1; sid={user}; b=2");
        world.assert_version(version, |call| call.header("cookie", &cookies)).await;
    }
    assert_served(&world, "cookie").await;
}

/// HTTP/2 clients may send one header per cookie (RFC 9113, 8.2.3). HTTP/1 clients must not
/// (RFC 6265, 5.4), and some do.
#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_cookie_headers_identifies_the_user() {
    let world = shop_with(json!([{"cookie": "sid"}])).await;
    for (user, version) in identities(USERS) {
        let sid = format!("sid={user}");
        for protocol in Protocol::ALL {
            let call = world.call(protocol).header("cookie", "a=1").header("cookie", &sid);
            let answer = call.header("cookie", "b=2").send().await.expect("a response");
            assert_eq!(answer.version.as_deref(), Some(version), "{protocol:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issued_identity_cookie_identifies_the_user() {
    let cookie = json!({"identityCookie": {"name": "uid", "maxAgeSeconds": 60, "secure": true}});
    let world = shop_with(json!([cookie])).await;
    let mut requests = [0, 0];
    for _ in 0..40 {
        let first = world.get(|call| call).await;
        let issued = first.header("set-cookie").expect("an identity").to_owned();
        let (cookie, attributes) = issued.split_once("; ").expect("attributes");
        assert_eq!(attributes, "Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure");
        let identity = cookie.strip_prefix("uid=").expect("the cookie's name");
        assert_eq!(first.version.as_deref(), Some(version_of(identity.as_bytes())));
        requests[usize::from(first.version.as_deref() == Some("v2"))] += 1;

        let second = world.get(|call| call.header("cookie", cookie)).await;
        assert_eq!(second.version, first.version);
        assert_eq!(second.header("set-cookie"), None, "the filter issues an identity once");
    }
    // All forty identities select one version with a probability of 10^-12.
    assert!(!requests.contains(&0), "{requests:?}");
    let chosen = |version: &'static str| world.count(version);
    assert_eq!(
        chosen("v1 chosen identity-cookie").await + chosen("v2 chosen identity-cookie").await,
        80
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_address_identifies_the_user() {
    let world = shop_with(json!(["sourceAddress"])).await;
    let mut requests = [0, 0];
    for last in 2..12 {
        let version = version_of(format!("127.0.0.{last}").as_bytes());
        requests[usize::from(version == "v2")] += 3;
        world.assert_version(version, |call| call.from([127, 0, 0, last])).await;
    }
    world
        .assert_counts(&[
            ("v1 chosen source-address", requests[0]),
            ("v1 requests", requests[0]),
            ("v1 responses 2xx", requests[0]),
            ("v2 chosen source-address", requests[1]),
            ("v2 requests", requests[1]),
            ("v2 responses 2xx", requests[1]),
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_sticky_key_of_the_request_applies() {
    let world = shop_with(json!([{"header": "x-user-id"}, {"cookie": "sid"}])).await;
    let users: Vec<_> = identities(1).collect();
    let [(a, of_a), (b, of_b)] = &users[..] else { panic!("one of each version") };
    let cookie = format!("sid={b}");
    world.assert_version(of_a, |call| call.header("x-user-id", a).header("cookie", &cookie)).await;
    world.assert_version(of_b, |call| call.header("x-user-id", "").header("cookie", &cookie)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_key_is_assigned_at_random() {
    let world = World::new(only_shop(json!({}))).await;
    let report = world.load(400, |plan| LoadPlan { users: None, ..plan }).await;
    let v2 = report.tally(Some("v2")).requests;
    // A result out of range has a probability of 10^-9.
    assert!((140..260).contains(&v2), "{v2} of 400");
    assert_eq!(world.count("v2 chosen random").await, v2 as u64);
    assert_eq!(world.count("v1 chosen random").await, 400 - v2 as u64);
}
