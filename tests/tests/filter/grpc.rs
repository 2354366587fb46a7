//! Outcomes of gRPC calls: the status is in the trailers or in a trailers-only response.

use serde_json::json;
use serin_tests::{Fault, Protocol};

use crate::world::{World, all, only_shop};

/// v2 responds with each code in trailers and as trailers-only. The filter counts `failed`
/// failures.
async fn assert_codes(failures: serde_json::Value, codes: &[u8], failed: u64) {
    let world = World::new(only_shop(json!({"buckets": all("v2"), "failures": failures}))).await;
    for code in codes {
        for fault in [Fault::grpc_trailers(1.0, *code), Fault::grpc_errors(1.0, *code)] {
            world.v2.set_faults([fault]);
            let answer = world.call(Protocol::Grpc).send().await.expect("a response");
            assert_eq!(answer.grpc_status, Some(u16::from(*code)));
        }
    }
    let calls = 2 * codes.len() as u64;
    let served = [("v2 chosen random", calls), ("v2 requests", calls), ("v2 responses 2xx", calls)];
    world.assert_counts(&[&served[..], &[("v2 failures grpc", failed)]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn server_errors_in_trailers_are_failures() {
    // 2, 4, 13, 14 and 15 are failures by default.
    assert_codes(json!({}), &(0..=16).collect::<Vec<_>>(), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_codes_are_failures() {
    assert_codes(json!({"grpc": [8]}), &[8, 14, 16], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_status_of_another_content_type_is_ignored() {
    let world = World::new(only_shop(json!({"buckets": all("v2")}))).await;
    world.v2.set_faults([Fault::grpc_errors(1.0, 14)]);
    let call = world.call(Protocol::Http2).header("content-type", "application/json");
    call.send().await.expect("a response");
    world
        .assert_counts(&[("v2 chosen random", 1), ("v2 requests", 1), ("v2 responses 2xx", 1)])
        .await;
}
