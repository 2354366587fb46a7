//! Retries, upgrades and overdue requests.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::{Value, json};
use serin_filter::histogram::{self, BOUNDARIES_US};
use serin_filter::stat::Stat;
use serin_tests::{Fault, LoadPlan, Protocol, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::scripted::{self, Reply, Step, post};
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
    // It is counted already, with the latency of its response.
    world.assert_counts(&[("v2 chosen random", 1), ("v2 requests", 1)]).await;
    assert_eq!(latency_count(&world, bucket).await, 1);
    drop(stream);
    until(DEADLINE, "the end is counted", async || match world.count("v2 responses 1xx").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(latency_count(&world, bucket).await, 1);
    assert_eq!(world.count("v2 requests").await, 1);
    assert_eq!(world.count("v2 overdue").await, 0, "the response was immediate");
}

/// Sends this head and returns the connection after the head of the response.
async fn open(world: &World, head: &str) -> TcpStream {
    let mut stream = TcpStream::connect(world.envoy.listener()).await.expect("a connection");
    stream.write_all(head.as_bytes()).await.expect("an open connection");
    let mut answer = vec![];
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a response"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connect_request_counts_when_its_tunnel_is_open() {
    let world = World::with(all_on_v2(), |setup| {
        let connect = "upgrade_configs: [{ upgrade_type: CONNECT, connect_config: {} }]";
        setup
            .replace(
                "codec_type: AUTO",
                "codec_type: AUTO\n                upgrade_configs: [{ upgrade_type: CONNECT }]",
            )
            .replace(
                "prefix: /\n                            headers",
                "connect_matcher: {}\n                            headers",
            )
            .replace(V2_ROUTE, &V2_ROUTE.replace("timeout: 15s", connect))
    })
    .await;
    let head = "CONNECT shop.example:80 HTTP/1.1\r\nhost: shop.example:80\r\n\r\n";
    let tunnel = open(&world, head).await;
    let counts = [("v2 chosen random", 1), ("v2 requests", 1)];
    world.assert_counts(&counts).await;
    drop(tunnel);
    until(DEADLINE, "the end is counted", async || match world.count("v2 responses 2xx").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(world.count("v2 requests").await, 1);
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

const STREAMS: [&str; 5] = [
    "text/event-stream; charset=utf-8",
    "application/x-ndjson",
    "application/grpc",
    "application/grpc-web+proto",
    "application/connect+proto",
];

/// Streams of a message now and of these steps.
async fn streams(steps: impl Fn(Reply) -> Reply + Send + Sync + 'static) -> World {
    let script = move |_: &str, request: &Request<Incoming>| {
        let content_type = request.headers()["content-type"].to_str().expect("text");
        steps(Reply::new(200, content_type).data([0; 5]))
    };
    let services = only_shop(json!({"buckets": all("v2"), "overdueMs": 300}));
    scripted::world(services, |setup| setup, script).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_counts_when_its_response_begins() {
    let forever = |reply: Reply| reply.after(Duration::from_secs(600), Step::Data(vec![0; 5]));
    let world = streams(forever).await;
    let mut open = vec![];
    for content_type in STREAMS {
        open.push(post(world.envoy.listener(), &[("content-type", content_type)]).await);
    }
    world.assert_counts(&[("v2 chosen random", 5), ("v2 requests", 5)]).await;
    drop(open);
    world
        .assert_counts(&[
            ("v2 chosen random", 5),
            ("v2 requests", 5),
            ("v2 cancelled", 5),
            ("v2 responses 2xx", 5),
        ])
        .await;
    world.assert_no_trap().await;
}

/// The caller determines how long a stream lasts.
#[tokio::test(flavor = "multi_thread")]
async fn the_latency_of_a_stream_is_its_time_to_first_byte() {
    const LIFE: Duration = Duration::from_secs(3);
    let world = streams(|reply| reply.after(LIFE, Step::Data(vec![0; 5]))).await;
    for content_type in ["text/event-stream", "application/x-ndjson", "application/json"] {
        let headers = [("content-type", content_type)];
        let (response, _connection) = post(world.envoy.listener(), &headers).await;
        response.into_body().collect().await.expect("a complete response");
    }
    until(DEADLINE, "all are counted", async || match world.count("v2 requests").await {
        3 => Ok(()),
        other => Err(other),
    })
    .await;
    // Not that of the plain response.
    assert_eq!(latency_count(&world, histogram::bucket(2_500_000)).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_later_is_a_failure() {
    let world = streams(|reply| reply.after(Duration::from_millis(1_500), Step::Reset)).await;
    for content_type in STREAMS {
        let headers = [("content-type", content_type)];
        let (response, _connection) = post(world.envoy.listener(), &headers).await;
        // Envoy 1.36 completes some of these responses.
        let _ = response.into_body().collect().await;
    }
    let world_of_trailers = streams(|reply| {
        reply.after(Duration::from_millis(1_500), Step::Trailers(&[("grpc-status", "14")]))
    })
    .await;
    let headers = [("content-type", "application/grpc")];
    let (response, _connection) = post(world_of_trailers.envoy.listener(), &headers).await;
    response.into_body().collect().await.expect("a complete response");
    let served =
        |calls| [("v2 chosen random", calls), ("v2 requests", calls), ("v2 responses 2xx", calls)];
    world.assert_counts(&[&served(5)[..], &[("v2 failures reset", 5)]].concat()).await;
    world_of_trailers.assert_counts(&[&served(1)[..], &[("v2 failures grpc", 1)]].concat()).await;
}
