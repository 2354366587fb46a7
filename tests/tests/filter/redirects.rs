//! Internal redirects: Envoy follows a redirect itself and recreates the stream. The caller sends
//! one request.

use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use serin_tests::{Answer, Protocol, Setup};

use crate::scripted::{self, Reply};
use crate::world::{World, all, only_shop, shop};

/// Redirects `/from` to `/to`, and answers `/to` with this status.
fn redirect(status: u16) -> impl Fn(&str, &Request<Incoming>) -> Reply {
    move |_, request| match request.uri().path() {
        "/from" => Reply::new(302, "text/plain").header("location", "http://shop.example/to"),
        "/other" => Reply::new(302, "text/plain").header("location", "http://other.example/to"),
        "/loop" => Reply::new(302, "text/plain").header("location", "http://shop.example/loop"),
        _ if status == 200 && request.headers().contains_key("te") => {
            Reply::new(200, "application/grpc").data([0; 5]).trailers(&[("grpc-status", "0")])
        }
        _ => Reply::new(status, "text/plain").data("hello\n"),
    }
}

fn follow(setup: Setup) -> Setup {
    const POLICY: &str = ", internal_redirect_policy: { max_internal_redirects: 3, \
        redirect_response_codes: [302], allow_cross_scheme_redirect: true } }";
    setup.replace("timeout: 15s }", &format!("timeout: 15s{POLICY}"))
}

async fn world(services: Value, status: u16) -> World {
    scripted::world(services, follow, redirect(status)).await
}

async fn call(world: &World, protocol: Protocol, path: &str) -> Answer {
    let call = world.call(protocol).authority("shop.example").path(path);
    call.send().await.expect("a response")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_request_counts_once_by_its_last_response() {
    for (status, class, failures) in [(200, "v2 responses 2xx", 0), (500, "v2 responses 5xx", 6)] {
        let world = world(only_shop(json!({"buckets": all("v2")})), status).await;
        for _ in 0..2 {
            for protocol in Protocol::ALL {
                assert_eq!(call(&world, protocol, "/from").await.status, status);
            }
        }
        let mut expected = vec![("v2 chosen random", 6), ("v2 requests", 6), (class, 6)];
        if failures > 0 {
            expected.push(("v2 failures status", failures));
        }
        world.assert_counts(&expected).await;
        world.assert_no_trap().await;
    }
}

/// The random choice and the issued identity of the first hop apply to the others.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_request_keeps_its_version_and_its_identity() {
    let cookie = json!({"identityCookie": {"name": "uid", "maxAgeSeconds": 60}});
    for (sticky, calls) in [(json!([]), 20), (json!([cookie]), 20)] {
        let issues = sticky != json!([]);
        let fields = json!({"sticky": sticky, "reveal": "x-served-by"});
        let world = world(only_shop(fields), 200).await;
        for _ in 0..calls {
            let answer = call(&world, Protocol::Http1, "/from").await;
            let version = answer.version.clone().expect("a version");
            if issues {
                let cookie = answer.header("set-cookie").expect("an identity");
                let identity = &cookie["uid=".len()..cookie.find(';').expect("attributes")];
                assert_eq!(version, crate::world::version_of(identity.as_bytes()));
                assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 1);
            }
        }
        let requests = world.count("v1 requests").await + world.count("v2 requests").await;
        let failed = world.count("v1 misrouted").await + world.count("v2 misrouted").await;
        assert_eq!((requests, failed), (calls, 0));
        let reason = if issues { "identity-cookie" } else { "random" };
        for version in ["v1", "v2"] {
            let chosen = world.count(&format!("{version} chosen {reason}")).await;
            assert_eq!(chosen, world.count(&format!("{version} requests")).await);
        }
    }
}

/// The upstream's response ends the request to the first service.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_to_another_service_counts_for_both() {
    let services = json!([
        shop(json!({"authorities": ["shop.example"], "buckets": all("v2")})),
        shop(json!({"name": "other", "authorities": ["other.example"], "buckets": all("v1")})),
    ]);
    let world = world(services, 200).await;
    assert_eq!(call(&world, Protocol::Http1, "/other").await.version.as_deref(), Some("v1"));
    let shop = [("v2 chosen random", 1), ("v2 requests", 1), ("v2 responses 3xx", 1)];
    world.assert_counts(&shop).await;
    let other = crate::world::counts(&world.envoy.until_flushed().await, "other");
    let expected = [("v1 chosen random", 1), ("v1 requests", 1), ("v1 responses 2xx", 1)];
    assert_eq!(other, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

/// Envoy sends the fourth redirect to the caller.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_beyond_the_limit_is_the_response() {
    let world = world(only_shop(json!({"buckets": all("v2")})), 200).await;
    assert_eq!(call(&world, Protocol::Http1, "/loop").await.status, 302);
    world
        .assert_counts(&[("v2 chosen random", 1), ("v2 requests", 1), ("v2 responses 3xx", 1)])
        .await;
}

/// Redirected requests and others at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_redirects_are_counted_once_each() {
    let world = world(only_shop(json!({})), 200).await;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..60 {
        let path = if n % 3 == 0 { "/to" } else { "/from" };
        let call = world.call(Protocol::Http2).authority("shop.example").path(path);
        calls.spawn(call.send());
    }
    calls.join_all().await;
    let requests = world.count("v1 requests").await + world.count("v2 requests").await;
    let misrouted = world.count("v1 misrouted").await + world.count("v2 misrouted").await;
    assert_eq!((requests, misrouted), (60, 0));
}

/// An earlier filter rejects the second hop.
#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_request_that_an_earlier_filter_rejects_counts_once() {
    let services = only_shop(json!({"buckets": all("v2")}));
    let change = |setup| scripted::with_rate_limit(follow(setup), "3s", true);
    let world = scripted::world(services, change, redirect(200)).await;
    assert_eq!(call(&world, Protocol::Http1, "/from").await.status, 429);
    let redirected = [("v2 chosen random", 1), ("v2 requests", 1), ("v2 responses 3xx", 1)];
    world.assert_counts(&redirected).await;
}
