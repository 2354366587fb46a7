//! The HTTP API of `serin serve`: authorization and invalid requests.

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use serde_json::Value;
use serin_tests::{Server, http, text};

/// The status and the JSON that answer a request.
async fn ask(
    server: &Server,
    method: &str,
    path: &str,
    token: &str,
    body: impl Into<Bytes>,
) -> (u16, Value) {
    let request = Request::builder().method(method).uri(format!("{}{path}", server.url()));
    let request = match token {
        "" => request,
        token => request.header("authorization", format!("Bearer {token}")),
    };
    let request = request.header("content-type", "application/json");
    let answer = http::send(request.body(Full::new(body.into())).expect("a request")).await;
    let answer = answer.expect("a response");
    let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    (answer.status().as_u16(), body)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens() {
    let directory = tempfile::tempdir().expect("a directory");
    let (reader, operator) = ("the-token-of-readers", "the-token-of-operators");
    let tokens = [("SERIN_READ_TOKEN", reader), ("SERIN_OPERATE_TOKEN", operator)];
    let server = Server::with(directory.path(), &tokens).await;
    for (method, path, token, expected) in [
        ("GET", "/healthz", "", 200),
        ("GET", "/v1/rollouts", "", 401),
        ("GET", "/v1/rollouts", "guess", 401),
        ("GET", "/v1/rollouts", "the-token-of-reader", 401),
        ("GET", "/v1/rollouts", reader, 200),
        ("GET", "/v1/rollouts", operator, 200),
        ("POST", "/v1/rollouts", "", 401),
        ("POST", "/v1/rollouts", reader, 403),
        ("POST", "/v1/rollouts/1/pause", reader, 403),
        ("POST", "/v1/rollouts", operator, 422),
    ] {
        let (status, _) = ask(&server, method, path, token, "").await;
        assert_eq!(status, expected, "{method} {path} as {token:?}");
    }
    let refused = server.refused(&["status"]).await;
    assert_eq!(refused, "serin: token required: Authorization: Bearer ...\n");
    assert_eq!(server.ok(&["status", "--token", reader]).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exposed_server_needs_a_long_token_and_tls_in_front() {
    let directory = tempfile::tempdir().expect("a directory");
    for (listen, token, expected) in [
        ("0.0.0.0:0", None, "--operate-token is required"),
        ("0.0.0.0:0", Some("the-token-of-operators"), "accept it with --allow-plain-http"),
        ("127.0.0.1:0", Some("fifteen letters"), "a token has at least 16 characters"),
    ] {
        let mut serin = serin_tests::serin();
        serin.args(["serve", "--listen", listen, "--store"]).arg(directory.path().join("x.db"));
        serin.args(token.map(|token| format!("--operate-token={token}")));
        let output = serin.output().await.expect("serin runs");
        assert_eq!(output.status.code(), Some(2));
        assert!(text(&output.stderr).contains(expected), "{}", text(&output.stderr));
    }
    assert!(!directory.path().join("x.db").exists(), "nothing is created before validation");
}

/// A web page can make its name resolve to the server, but not send another Host.
#[tokio::test(flavor = "multi_thread")]
async fn requests_for_other_host_names_are_rejected() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::with(directory.path(), &[("SERIN_HOST", "serin.example")]).await;
    for (host, expected) in [
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("serin.example:9290", 200),
        ("localhost", 200),
        ("127.0.0.1:1", 200),
    ] {
        let request = Request::get(format!("{}/v1/rollouts", server.url())).header("host", host);
        let answer = http::send(request.body(Full::default()).expect("a request")).await;
        assert_eq!(answer.expect("a response").status(), expected, "{host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_requests_change_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Server::start(directory.path()).await;
    let by = r#"{"by": "ada"}"#;
    for (method, path, body, expected, error) in [
        ("POST", "/v1/rollouts", "kind: Pod".to_owned(), 422, "missing field `apiVersion`"),
        ("POST", "/v1/rollouts", "\u{0}".repeat(1000), 422, ""),
        ("POST", "/v1/rollouts", "a".repeat((1 << 20) + 1), 413, ""),
        ("GET", "/v1/rollouts/7", String::new(), 404, "there is no rollout 7"),
        ("GET", "/v1/rollouts/7/events", String::new(), 404, "there is no rollout 7"),
        ("POST", "/v1/rollouts/7/pause", by.to_owned(), 404, "there is no rollout 7"),
        (
            "POST",
            "/v1/rollouts/7/dance",
            by.to_owned(),
            404,
            "unknown action \"dance\"; the actions are pause",
        ),
        ("POST", "/v1/rollouts/7/pause", "{".to_owned(), 400, "Failed to parse"),
        ("POST", "/v1/rollouts/7/pause", r#"{"bye": 1}"#.to_owned(), 422, "unknown field `bye`"),
        ("GET", "/v1/rollouts/x", String::new(), 400, "Cannot parse"),
        ("DELETE", "/v1/rollouts", String::new(), 405, "method not allowed"),
        ("GET", "/v2", String::new(), 404, "no such path"),
    ] {
        let (status, answer) = ask(&server, method, path, "", body).await;
        assert_eq!(status, expected, "{method} {path}: {answer}");
        let said = answer["error"].as_str().unwrap_or_default();
        assert!(said.contains(error), "{method} {path}: {answer}");
    }
    assert_eq!(ask(&server, "GET", "/v1/rollouts", "", "").await, (200, Value::Array(Vec::new())));
}
