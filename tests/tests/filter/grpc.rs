//! What a gRPC call came to: the status is in the trailers, or in the headers of an answer that is nothing else.

use serde_json::json;
use serin_tests::{Fault, Protocol};

use crate::world::{World, all, only_shop};

/// A version that answers with each of these codes, once in trailers and once trailers-only.
async fn assert_codes(failures: serde_json::Value, codes: &[u8], blamed: u64) {
    let world = World::new(only_shop(json!({"buckets": all("v2"), "failures": failures}))).await;
    for code in codes {
        for fault in [Fault::grpc_trailers(1.0, *code), Fault::grpc_errors(1.0, *code)] {
            world.v2.set_faults([fault]);
            let answer = world.call(Protocol::Grpc).send().await.expect("an answer");
            assert_eq!(answer.grpc_status, Some(u16::from(*code)));
        }
    }
    let calls = 2 * codes.len() as u64;
    let served = [("v2 chosen random", calls), ("v2 requests", calls), ("v2 responses 2xx", calls)];
    world.assert_counts(&[&served[..], &[("v2 failures grpc", blamed)]].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_in_trailers_and_trailers_only() {
    // Of these 2, 4, 13, 14 and 15 blame the server.
    assert_codes(json!({}), &(0..=16).collect::<Vec<_>>(), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configured_code() {
    assert_codes(json!({"grpc": [8]}), &[8, 14, 16], 2).await;
}

/// gRPC-Web has its status in the body, which the filter does not read; and a header of that name means nothing over plain HTTP.
#[tokio::test(flavor = "multi_thread")]
async fn a_status_of_other_content_means_nothing() {
    let world = World::new(only_shop(json!({"buckets": all("v2")}))).await;
    world.v2.set_faults([Fault::grpc_errors(1.0, 14)]);
    let call = world.call(Protocol::Http2).header("content-type", "application/grpc-web");
    call.send().await.expect("an answer");
    world
        .assert_counts(&[("v2 chosen random", 1), ("v2 requests", 1), ("v2 responses 2xx", 1)])
        .await;
}
