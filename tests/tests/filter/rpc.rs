//! Outcomes of gRPC-Web and Connect calls, with Envoy's bridges on either side of the filter and
//! without them.

use http_body_util::BodyExt;
use hyper::Request;
use hyper::body::Incoming;
use serde_json::json;
use serin_tests::call::raw;
use serin_tests::{Setup, until};

use crate::scripted::{self, Reply, post, with_filter};
use crate::world::{DEADLINE, World, all, only_shop};

const GRPC_WEB: (&str, &str) =
    ("envoy.filters.http.grpc_web", "envoy.extensions.filters.http.grpc_web.v3.GrpcWeb");
const CONNECT: (&str, &str) = (
    "envoy.filters.http.connect_grpc_bridge",
    "envoy.extensions.filters.http.connect_grpc_bridge.v3.FilterConfig",
);

/// A service whose versions speak gRPC and answer with the status in `x-code`: in trailers, or
/// without a body if there is `x-trailers-only`.
fn grpc(_: &str, request: &Request<Incoming>) -> Reply {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let code = header("x-code").unwrap_or("0");
    let content_type = header("content-type").unwrap_or("application/grpc");
    if header("x-trailers-only").is_some() {
        return Reply::new(200, content_type).header("grpc-status", code);
    }
    // Two messages.
    let reply = Reply::new(200, content_type).data([0; 5]).data([0, 0, 0, 0, 1, 7]);
    reply.trailers(match code {
        "0" => &[("grpc-status", "0")],
        "5" => &[("grpc-status", "5")],
        "13" => &[("grpc-status", "13")],
        _ => &[("grpc-status", "14")],
    })
}

async fn world(change: impl FnOnce(Setup) -> Setup) -> World {
    scripted::world(only_shop(json!({"buckets": all("v2")})), change, grpc).await
}

async fn call(world: &World, headers: &[(&str, &str)]) -> u16 {
    let (response, _connection) = post(world.envoy.listener(), headers).await;
    let status = response.status().as_u16();
    response.into_body().collect().await.expect("a complete response");
    status
}

/// Calls with the codes 0, 5, 13 and 14, in trailers and without a body.
async fn assert_codes(world: &World, content_type: &str) {
    for code in ["0", "5", "13", "14"] {
        let headers = [("content-type", content_type), ("x-code", code)];
        call(world, &headers).await;
        call(world, &[&headers[..], &[("x-trailers-only", "1")]].concat()).await;
    }
}

async fn assert_grpc_failures(world: &World, calls: u64, failures: u64) {
    let served = [("v2 chosen random", calls), ("v2 requests", calls), ("v2 responses 2xx", calls)];
    world.assert_counts(&[&served[..], &[("v2 failures grpc", failures)]].concat()).await;
    world.assert_no_trap().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_grpc_web_is_known_in_every_order_of_filters() {
    for before in [true, false] {
        let (name, package) = GRPC_WEB;
        let world = world(|setup| with_filter(setup, name, package, before)).await;
        for content_type in
            ["application/grpc-web+proto", "application/grpc-web", "application/grpc-web-text"]
        {
            assert_codes(&world, content_type).await;
        }
        assert_grpc_failures(&world, 24, 12).await;
    }
}

/// The versions speak gRPC-Web themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_grpc_web_is_known_without_a_bridge() {
    let answer = |_: &str, request: &Request<Incoming>| {
        let code = request.headers()["x-code"].to_str().expect("a code");
        let trailers = format!("grpc-status:{code}\r\n");
        let frame = [&[0x80, 0, 0, 0, trailers.len() as u8], trailers.as_bytes()].concat();
        let reply = Reply::new(200, "application/grpc-web+proto");
        match request.headers().contains_key("x-encoded") {
            true => reply.header("content-encoding", "gzip").data(b"nonsense".to_vec()),
            false => reply.data([0; 5]).data(&frame[..3]).data(&frame[3..]),
        }
    };
    let services = only_shop(json!({"buckets": all("v2")}));
    let world = scripted::world(services, |setup| setup, answer).await;
    let content_type = ("content-type", "application/grpc-web+proto");
    for code in ["0", "5", "13", "14"] {
        call(&world, &[content_type, ("x-code", code)]).await;
    }
    // The HTTP status decides if the body is encoded.
    call(&world, &[content_type, ("x-code", "14"), ("x-encoded", "1")]).await;
    world
        .assert_counts(&[
            ("v2 chosen random", 5),
            ("v2 requests", 5),
            ("v2 responses 2xx", 5),
            ("v2 failures grpc", 2),
            ("v2 unreadable", 1),
        ])
        .await;
    world.assert_no_trap().await;
}

/// Unary calls get an HTTP status; streams get a status in the last frame.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_connect_is_known_in_every_order_of_filters() {
    for before in [true, false] {
        let (name, package) = CONNECT;
        let world = world(|setup| with_filter(setup, name, package, before)).await;
        for code in ["0", "13", "14"] {
            let version = ("connect-protocol-version", "1");
            let stream = [("content-type", "application/connect+proto"), version, ("x-code", code)];
            assert_eq!(call(&world, &stream).await, 200);
        }
        assert_grpc_failures(&world, 3, 2).await;
        for (code, status) in [("0", 200), ("5", 404), ("13", 500), ("14", 503)] {
            let version = ("connect-protocol-version", "1");
            let unary = [("content-type", "application/proto"), version, ("x-code", code)];
            assert_eq!(call(&world, &unary).await, status, "{code}");
        }
        let failures =
            world.count("v2 failures grpc").await + world.count("v2 failures status").await;
        assert_eq!((world.count("v2 requests").await, failures), (7, 4));
        world.assert_no_trap().await;
    }
}

/// A client of an RPC takes an answer without a status for an error.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_status_is_derived_from_the_http_status() {
    let answer = |_: &str, request: &Request<Incoming>| {
        let status = request.headers()["x-code"].to_str().expect("a code").parse();
        Reply::new(status.expect("a status"), "text/html").data("hello\n")
    };
    let services = only_shop(json!({"buckets": all("v2")}));
    let world = scripted::world(services, |setup| setup, answer).await;
    for content_type in ["application/grpc", "application/grpc-web"] {
        for status in ["200", "400", "404", "429", "503"] {
            call(&world, &[("content-type", content_type), ("x-code", status)]).await;
        }
    }
    world
        .assert_counts(&[
            ("v2 chosen random", 10),
            ("v2 requests", 10),
            ("v2 responses 2xx", 2),
            ("v2 responses 4xx", 6),
            ("v2 responses 5xx", 2),
            ("v2 failures grpc", 6),
            ("v2 failures status", 2),
        ])
        .await;
}

/// HTTP/1 clients, HTTP/2 versions. The bridge answers 503 for NOT_FOUND, which is no failure.
#[tokio::test(flavor = "multi_thread")]
async fn the_status_of_a_bridged_http_1_call_is_known_in_every_order_of_filters() {
    const BRIDGE: (&str, &str) = (
        "envoy.filters.http.grpc_http1_bridge",
        "envoy.extensions.filters.http.grpc_http1_bridge.v3.Config",
    );
    for ((name, package), content_type) in
        [(BRIDGE, "application/grpc"), (GRPC_WEB, "application/grpc-web+proto")]
    {
        for before in [true, false] {
            let world = world(|setup| {
                with_filter(setup, name, package, before).replace(
                    "use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} }",
                    "explicit_http_config: { http2_protocol_options: {} }",
                )
            })
            .await;
            for code in [0, 5, 13, 14] {
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: shop\r\ncontent-type: {content_type}\r\nx-code: {code}\r\n\
                     content-length: 5\r\nconnection: close\r\n\r\n\0\0\0\0\0"
                );
                let answer = raw(world.envoy.listener(), head.as_bytes()).await;
                assert!(answer.starts_with(b"HTTP/1.1 "), "{content_type}");
            }
            until(DEADLINE, "the counts", async || {
                let failures =
                    world.count("v2 failures grpc").await + world.count("v2 failures status").await;
                let counts = (world.count("v2 requests").await, failures);
                if counts == (4, 2) { Ok(()) } else { Err((name, before, counts)) }
            })
            .await;
        }
    }
}
