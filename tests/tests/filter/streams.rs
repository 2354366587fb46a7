//! Retries, upgrades and overdue requests.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use serin_filter::histogram::{self, BOUNDARIES_US};
use serin_filter::stat::Stat;
use serin_tests::{Fault, LoadPlan, Protocol, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{DEADLINE, World, all, only_shop};

fn all_on_v2() -> Value {
    only_shop(json!({"buckets": all("v2"), "overdueMs": 300}))
}

const V2_ROUTE: &str = "route: { cluster: shop-v2, timeout: 15s }";

fn retried() -> String {
    V2_ROUTE.replace(" }", ", retry_policy: { retry_on: 5xx, num_retries: 2 } }")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retried_request_counts_once_by_its_last_attempt() {
    let world = World::with(all_on_v2(), |setup| setup.replace(V2_ROUTE, &retried())).await;
    for protocol in Protocol::ALL {
        world.v2.set_faults([Fault::errors(1.0).times(1)]);
        let answer = world.call(protocol).send().await.expect("a response");
        assert_eq!(answer.status, 200);
    }
    assert_eq!(world.v2.stats().requests, 6, "two attempts each");
    world.v2.set_faults([Fault::errors(1.0)]);
    assert_eq!(world.get(|call| call).await.status, 500);
    assert_eq!(world.v2.stats().requests, 9, "three attempts of the last");
    world
        .assert_counts(&[
            ("v2 chosen random", 4),
            ("v2 requests", 4),
            ("v2 responses 2xx", 3),
            ("v2 responses 5xx", 1),
            ("v2 failures status", 1),
        ])
        .await;
}

/// The cumulative latency count of v2 for this bucket.
async fn latency_count(world: &World, bucket: usize) -> u64 {
    let name = |name: &str| name.parse().expect("a service");
    let stat = Stat::LatencyBucket(bucket).name(&name("shop"), &"v2".parse().expect("a version"));
    world.envoy.until_flushed().await.get(&format!("wasmcustom.{stat}")).copied().unwrap_or(0)
}

/// The client determines the duration of an upgraded connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_latency_of_an_upgrade_is_its_time_to_first_byte() {
    let world = World::with(all_on_v2(), |setup| {
        setup.replace(
            "codec_type: AUTO",
            "codec_type: AUTO\n                upgrade_configs: [{ upgrade_type: websocket }]",
        )
    })
    .await;
    let begin = Instant::now();
    let mut stream = TcpStream::connect(world.envoy.listener()).await.expect("a connection");
    let request =
        b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    stream.write_all(request).await.expect("an open connection");
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a response"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    let first_byte = begin.elapsed();
    stream.write_all(b"echo").await.expect("an open connection");
    stream.read_exact(&mut [0; 4]).await.expect("the echo");

    // The connection lasts longer than the bound of this bucket and than `overdueMs`.
    let bucket = histogram::bucket(first_byte.as_micros() as u64);
    let limit = Duration::from_micros(BOUNDARIES_US[bucket].into());
    until(Duration::from_secs(60), "the connection lasts", async || {
        let lasts = begin.elapsed();
        if lasts > 2 * limit.max(Duration::from_millis(400)) { Ok(()) } else { Err(lasts) }
    })
    .await;
    world.assert_counts(&[("v2 chosen random", 1)]).await;
    drop(stream);
    until(DEADLINE, "the request is counted", async || match latency_count(&world, bucket).await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(world.count("v2 requests").await, 1);
    assert_eq!(world.count("v2 responses 1xx").await, 1);
    assert_eq!(world.count("v2 overdue").await, 0, "the response was immediate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_request_is_overdue_before_it_ends() {
    let world = World::new(all_on_v2()).await;
    world.v2.set_faults([Fault::hangs(1.0)]);
    let load = serin_tests::Load::start(LoadPlan {
        users: None,
        max_duration: Duration::from_millis(50),
        ..LoadPlan::new(world.envoy.listener(), 100)
    });
    until(DEADLINE, "five requests hang", async || match world.v2.stats().in_flight {
        5 => Ok(()),
        other => Err(other),
    })
    .await;
    world.assert_counts(&[("v2 chosen random", 5), ("v2 overdue", 5)]).await;
    assert_eq!(world.v2.stats().in_flight, 5);
    drop(load);
}
