//! Busy or waiting clients of `serin serve` do not delay other clients.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serin_tests::{Server, Spec, http, text};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::world::World;

/// Far longer than an answer takes, far shorter than the server's timeouts.
const QUICK: Duration = Duration::from_secs(3);

const CLIENTS: usize = 200;

async fn assert_quick(server: &Server) {
    let began = Instant::now();
    for path in ["/healthz", "/readyz", "/v1/rollouts"] {
        let answer = timeout(QUICK, http::get(server.address(), path)).await;
        assert_eq!(answer.expect(path).expect(path).status(), 200, "{path}");
    }
    assert!(began.elapsed() < QUICK);
}

/// Each client gets all events, from the first on or from its last one.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_clients_watch() {
    let world = World::new().await;
    let load = world.load();
    let server = Server::start(world.envoy.dir()).await;
    let second = Duration::from_secs(1);
    let spec = Spec::new(&world.envoy).step("50%", second, 10).step("100%", second, 10);
    server.apply(&spec).await;
    let events = format!("{}/v1/rollouts/1/events", server.url());
    let watch = |last: &'static str| {
        let request = Request::get(&events).header("last-event-id", last);
        http::send(request.body(Full::default()).expect("a request"))
    };
    let mut watching = JoinSet::new();
    for _ in 0..CLIENTS {
        watching.spawn(watch(""));
    }
    assert_quick(&server).await;
    let heard = watching.join_all().await;
    let heard: Vec<_> =
        heard.into_iter().map(|answer| text(answer.expect("events").body())).collect();
    let first = &heard[0];
    assert!(first.starts_with("id: 1\ndata: {\"at\":0.0,\"event\":\"started\""), "{first}");
    assert!(first.contains("\"event\":\"ended\",\"verdict\":\"promoted\""), "{first}");
    let ids = first.lines().filter_map(|line| line.strip_prefix("id: "));
    let ids: Vec<i64> = ids.map(|id| id.parse().expect("a number")).collect();
    assert!(ids.is_sorted_by(|earlier, later| earlier < later), "each once and in order: {ids:?}");
    // Without the comments that keep a connection alive.
    let told = |text: &str| {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with(':'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(heard.iter().all(|text| told(text) == told(first)));
    let rest = text(watch("3").await.expect("events").body());
    assert!(rest.starts_with("id: 4\n"), "{rest}");
    assert_quick(&server).await;
    load.stop().await;
}

/// Sends the beginning of a request on each of many connections, and waits for their end.
/// Meanwhile others are served.
async fn dawdle(beginning: &'static str) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path()).await;
    let mut dawdling = JoinSet::new();
    for _ in 0..CLIENTS {
        let mut stream = TcpStream::connect(server.address()).await.expect("a connection");
        stream.write_all(beginning.as_bytes()).await.expect("a write");
        dawdling.spawn(async move {
            let mut answer = Vec::new();
            // A reset counts as a close.
            let end = timeout(Duration::from_secs(120), stream.read_to_end(&mut answer)).await;
            end.expect("the server times out").ok();
            text(&answer)
        });
    }
    assert_quick(&server).await;
    let answers = dawdling.join_all().await;
    assert_quick(&server).await;
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_time_out() {
    let answers = dawdle("").await;
    assert!(answers.iter().all(String::is_empty), "{:?}", answers.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_heads_time_out() {
    let answers = dawdle("GET /v1/rollouts HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
    assert!(answers.iter().all(|answer| !answer.contains("200 OK")), "{:?}", answers.first());
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_bodies_time_out() {
    let begun =
        "POST /v1/rollouts HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nkind: ";
    for answer in dawdle(begun).await {
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.ends_with("{\"error\":\"request timeout\"}"), "{answer}");
    }
}

/// The server keeps nothing of invalid bodies of any length.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_bodies_are_rejected() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path()).await;
    let long = Bytes::from(vec![b'a'; 16 << 20]);
    let barely = Bytes::from(vec![b'a'; (1 << 20) + 1]);
    let nested = Bytes::from("[".repeat(500_000));
    let order = |by: &str| Bytes::from(format!("{{\"by\":\"{by}\"}}"));
    for (path, body, expected) in [
        ("", Bytes::new(), 422),
        ("", Bytes::from_static(b"\xff\xfe"), 400),
        ("", Bytes::from_static(b"a: &a [*a, *a]"), 422),
        ("", nested.clone(), 422),
        ("", barely.clone(), 413),
        ("", long.clone(), 413),
        ("/1/pause", Bytes::new(), 400),
        ("/1/pause", Bytes::from_static(b"\xff\xfe"), 400),
        ("/1/pause", Bytes::from_static(b"null"), 422),
        ("/1/pause", Bytes::from_static(b"{\"by\":1}"), 422),
        ("/1/pause", Bytes::from_static(b"{\"by\":\"ada\",\"step\":-1}"), 422),
        ("/1/pause", nested, 422),
        ("/1/pause", barely, 413),
        ("/1/pause", order(&"a".repeat(16 << 20)), 413),
        ("/1/pause", long, 413),
        ("/1/pause", order("ada"), 404),
    ] {
        let goes_on_and_on = body.len() > 2 << 20;
        let start = format!("{path} {:?}", &body[..body.len().min(20)]);
        let request = Request::post(format!("{}/v1/rollouts{path}", server.url()))
            .header("content-type", "application/json")
            .body(Full::new(body));
        let answer = match http::send(request.expect("a request")).await {
            // The server closes a connection that never stops sending; the client may miss the
            // reason.
            Err(_) if goes_on_and_on => continue,
            answer => answer.expect("a response"),
        };
        let said = text(answer.body());
        assert_eq!(answer.status(), expected, "{start}: {said}");
        assert!(said.starts_with("{\"error\":\"") && said.len() < 1_000, "{start}: {said}");
    }
    assert_quick(&server).await;
    let listed = http::get(server.address(), "/v1/rollouts").await.expect("a list");
    assert_eq!(listed.body(), "[]");
}
