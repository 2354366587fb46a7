//! What Envoy answers by itself, before a version has seen it, is no version's doing.

use serde_json::json;
use serin_tests::Protocol;

use crate::world::{World, all, only_shop};

/// A route that leads to no cluster: nothing is counted but that v2 had been chosen.
#[tokio::test(flavor = "multi_thread")]
async fn direct_response() {
    const ROUTES: &str = "                      routes:\n";
    let direct = format!(
        "{ROUTES}                        - match: {{ prefix: /direct }}\n                          direct_response: {{ status: 503 }}\n"
    );
    let world = World::with(only_shop(json!({"buckets": all("v2")})), |setup| {
        setup.replace(ROUTES, &direct)
    })
    .await;
    for protocol in Protocol::ALL {
        let answer = world.call(protocol).path("/direct").send().await.expect("an answer");
        assert_eq!(
            (answer.version, answer.status),
            (None, if protocol == Protocol::Grpc { 200 } else { 503 })
        );
    }
    world.assert_counts(&[("v2 chosen random", 3)]).await;
}

/// A filter behind serin refuses, when the cluster is known: told apart from what that cluster's version answers.
#[tokio::test(flavor = "multi_thread")]
async fn rate_limit() {
    const ROUTER: &str = "                  - name: envoy.filters.http.router\n";
    let limit = r#"                  - name: envoy.filters.http.local_ratelimit
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit
                      stat_prefix: limit
                      token_bucket: { max_tokens: 1, tokens_per_fill: 1, fill_interval: 3600s }
                      filter_enabled: { default_value: { numerator: 100 } }
                      filter_enforced: { default_value: { numerator: 100 } }
"#;
    let fields = json!({"buckets": all("v2"), "failures": {"status": ["4xx", "5xx"]}});
    let world =
        World::with(only_shop(fields), |setup| setup.replace(ROUTER, &format!("{limit}{ROUTER}")))
            .await;
    let first = world.get(|call| call).await;
    assert_eq!((first.version.as_deref(), first.status), (Some("v2"), 200));
    for protocol in Protocol::ALL {
        let answer = world.call(protocol).send().await.expect("an answer");
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
