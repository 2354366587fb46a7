//! Correlation keys of requests without a sticky key.

use serde_json::json;
use serin_tests::{Call, Protocol};

use crate::world::{World, identities, only_shop, version_of};

fn trace(n: u64) -> (String, String) {
    let id = format!("{:032x}", n * 7 + 1);
    (format!("00-{id}-00f067aa0ba902b7-01"), id)
}

const TRUSTED: [u8; 4] = [127, 0, 0, 2];

fn shop(correlation: serde_json::Value) -> serde_json::Value {
    only_shop(json!({"correlation": correlation, "trust": {"sources": ["127.0.0.2/32"]}}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_id_selects_the_version() {
    let world = World::new(shop(json!(["traceId"]))).await;
    let mut requests = [0, 0];
    for n in 0..20 {
        let (parent, id) = trace(n);
        let version = version_of(id.as_bytes());
        requests[usize::from(version == "v2")] += 3;
        world.assert_version(version, |call| call.header("traceparent", &parent)).await;
    }
    assert!(!requests.contains(&0), "{requests:?}");
    assert_eq!(world.count("v1 chosen trace-id").await, requests[0]);
    assert_eq!(world.count("v2 chosen trace-id").await, requests[1]);
}

/// Envoy replaces an external client's request id unless configured to preserve it.
#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_selects_the_version() {
    let world = World::with(shop(json!(["requestId"])), |setup| {
        setup.replace(
            "codec_type: AUTO",
            "codec_type: AUTO\n                preserve_external_request_id: true",
        )
    })
    .await;
    for (id, version) in identities(5) {
        world.assert_version(version, |call| call.header("x-request-id", &id)).await;
    }
    assert_eq!(world.count("v1 chosen request-id").await, 15);
    assert_eq!(world.count("v2 chosen request-id").await, 15);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_generated_by_envoy_selects_the_version() {
    let world = World::new(shop(json!(["requestId"]))).await;
    let answer = world.get(|call| call).await;
    let seen = world.upstream_of(&answer).last_headers();
    let id = serin_filter::trace::normalize_request_id(seen["x-request-id"].as_bytes().to_vec());
    assert_eq!(answer.version.as_deref(), Some(version_of(&id)));
}

fn traced(call: Call, state: &str) -> Call {
    call.header("traceparent", trace(1).0).header("tracestate", state)
}

#[tokio::test(flavor = "multi_thread")]
async fn tracestate_is_accepted_from_trusted_sources_only() {
    let world = World::new(shop(json!(["tracestate", "traceId"]))).await;
    for (bucket, version) in [(7, "v2"), (499_999, "v2"), (500_000, "v1"), (999_999, "v1")] {
        let state = format!("serin={bucket},other=1");
        world.assert_version(version, |call| traced(call, &state).from(TRUSTED)).await;
        // From other sources, the trace id decides.
        let (_, id) = trace(1);
        world.assert_version(version_of(id.as_bytes()), |call| traced(call, &state)).await;
    }
    let reason = async |reason: &str| {
        world.count(&format!("v1 chosen {reason}")).await
            + world.count(&format!("v2 chosen {reason}")).await
    };
    assert_eq!((reason("tracestate").await, reason("trace-id").await), (12, 12));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bucket_is_propagated_in_tracestate() {
    let world = World::new(shop(json!(["tracestate", "traceId"]))).await;
    let upstream = |version: &str| if version == "v1" { &world.v1 } else { &world.v2 };
    for (user, version) in identities(1) {
        let bucket = serin_filter::bucket::Bucketing::new("filter").bucket(user.as_bytes());
        for protocol in Protocol::ALL {
            let call = traced(world.call(protocol), "serin=1,other=1").header("x-user-id", &user);
            call.send().await.expect("a response");
            let state = upstream(version).last_headers()["tracestate"].clone();
            assert_eq!(state, format!("serin={bucket},other=1"), "{protocol:?}");
        }
        // The filter adds no tracestate to a request without a trace.
        world.get(|call| call.header("x-user-id", &user)).await;
        assert!(!upstream(version).last_headers().contains_key("tracestate"));
    }
}

/// Several fields are one list (Trace Context, 3.3.1.1).
#[tokio::test(flavor = "multi_thread")]
async fn all_tracestate_lines_are_read_and_propagated() {
    let world = World::new(shop(json!(["tracestate", "traceId"]))).await;
    for (lines, version) in [
        (["serin=7,rojo=00f067", "congo=t61"], "v2"),
        (["rojo=00f067", "congo=t61 , serin=7"], "v2"),
        (["rojo=00f067,congo=t61", "serin=999999"], "v1"),
    ] {
        for protocol in Protocol::ALL {
            let call = traced(world.call(protocol), lines[0]).header("tracestate", lines[1]);
            let answer = call.from(TRUSTED).send().await.expect("a response");
            assert_eq!(answer.version.as_deref(), Some(version), "{protocol:?}: {lines:?}");
            let headers = world.upstream_of(&answer).last_headers();
            let states: Vec<_> = headers.get_all("tracestate").iter().collect();
            let bucket = if version == "v2" { 7 } else { 999_999 };
            assert_eq!(states, [&format!("serin={bucket},rojo=00f067,congo=t61")]);
        }
    }
    let reasons =
        (world.count("v2 chosen tracestate").await, world.count("v1 chosen tracestate").await);
    assert_eq!(reasons, (6, 3));
}

/// A second `traceparent` makes both invalid.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_traceparent_is_ignored() {
    let world = World::new(shop(json!(["traceId"]))).await;
    for protocol in Protocol::ALL {
        let call = world.call(protocol).header("traceparent", trace(1).0);
        call.header("traceparent", trace(2).0).send().await.expect("a response");
    }
    let random = world.count("v1 chosen random").await + world.count("v2 chosen random").await;
    assert_eq!(random, 3);
}
