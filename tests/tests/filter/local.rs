//! Responses that Envoy sends without an upstream count for no version.

use serde_json::json;
use serin_tests::Protocol;

use crate::scripted::with_rate_limit;
use crate::world::{World, all, only_shop};

/// The filter counts only the choice of v2.
#[tokio::test(flavor = "multi_thread")]
async fn a_direct_response_counts_for_no_version() {
    const ROUTES: &str = "                      routes:\n";
    let direct = format!(
        "{ROUTES}                        - match: {{ prefix: /direct }}\n                          direct_response: {{ status: 503 }}\n"
    );
    let world = World::with(only_shop(json!({"buckets": all("v2")})), |setup| {
        setup.replace(ROUTES, &direct)
    })
    .await;
    for protocol in Protocol::ALL {
        let answer = world.call(protocol).path("/direct").send().await.expect("a response");
        assert_eq!(
            (answer.version, answer.status),
            (None, if protocol == Protocol::Grpc { 200 } else { 503 })
        );
    }
    world.assert_counts(&[("v2 chosen random", 3)]).await;
}

/// A later filter rejects the request when its cluster is already known.
#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limited_request_is_a_local_reply() {
    let fields = json!({"buckets": all("v2"), "failures": {"status": ["4xx", "5xx"]}});
    let world =
        World::with(only_shop(fields), |setup| with_rate_limit(setup, "3600s", false)).await;
    let first = world.get(|call| call).await;
    assert_eq!((first.version.as_deref(), first.status), (Some("v2"), 200));
    for protocol in Protocol::ALL {
        let answer = world.call(protocol).send().await.expect("a response");
        assert_eq!(answer.version, None, "{protocol:?}");
    }
    world
        .assert_counts(&[
            ("v2 chosen random", 4),
            ("v2 requests", 1),
            ("v2 responses 2xx", 1),
            ("v2 local_replies", 3),
        ])
        .await;
}
