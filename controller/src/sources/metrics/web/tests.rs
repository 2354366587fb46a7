use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::routing::get;
use serin_core::rollout::metric::{JsonPath, QueryTemplate};
use serin_core::spec::Spec;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::*;

/// A server whose paths answer in different ways; its base URL.
async fn serve() -> String {
    let echo = async |uri: Uri, headers: HeaderMap, body: String| {
        let header = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap());
        let request = (uri.to_string(), header("authorization"), header("content-type"), body);
        assert_eq!(
            request,
            (
                "/echo?version=v2".to_owned(),
                Some("Bearer s3cret"),
                Some("application/json"),
                r#"{"service": "shop"}"#.to_owned()
            )
        );
        r#"{"data": {"value": "12.5"}}"#
    };
    let document = r#"{"data": {"value": 3, "all": [1, 2], "text": "many", "null": null}}"#;
    let slow = async || sleep(Duration::from_secs(60)).await;
    let huge = async || format!("{{\"data\": {{\"value\": {}}}}}", "1".repeat(2 << 20));
    let redirect = async || (StatusCode::FOUND, [(header::LOCATION, "/ok")]);
    let failing = async || (StatusCode::BAD_GATEWAY, format!("\u{1b}[31m{}", "x".repeat(500)));
    let router = Router::new()
        .route("/echo", get(async || StatusCode::METHOD_NOT_ALLOWED).post(echo))
        .route("/ok", get(async move || document))
        .route("/slow", get(slow))
        .route("/garbled", get(async || "{\"data\": \u{7}"))
        .route("/huge", get(huge))
        .route("/redirect", get(redirect))
        .route("/failing", get(failing));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn query(url: &str, path: &str) -> WebQuery {
    WebQuery {
        url: QueryTemplate::parse(url).unwrap(),
        method: WebMethod::Get,
        headers: Vec::new(),
        json_path: JsonPath::parse(path).unwrap(),
        timeout: Duration::from_secs(5),
    }
}

async fn value(query: WebQuery, policy: AddressPolicy) -> Result<f64, MetricError> {
    let plan = Spec::parse(include_str!("../../../../../envoy/rollout.yaml")).unwrap().plan;
    let metric = WebMetric::new(query, policy);
    metric.value(plan.template_variables(), &plan.candidate).await
}

#[tokio::test]
async fn a_get_reads_the_number_at_the_path() {
    let url = format!("{}/ok", serve().await);
    assert_eq!(value(query(&url, "$.data.value"), AddressPolicy::Any).await, Ok(3.0));
}

#[tokio::test]
async fn a_post_sends_its_body_and_a_header_from_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "Bearer s3cret\n").unwrap();
    let header =
        WebHeader { key: "Authorization".to_owned(), value: HeaderSource::File(file.clone()) };
    let post = WebQuery {
        method: WebMethod::Post(QueryTemplate::parse(r#"{"service": "{{service}}"}"#).unwrap()),
        headers: vec![header],
        ..query(&format!("{}/echo?version={{{{version}}}}", serve().await), "$.data.value")
    };
    assert_eq!(value(post.clone(), AddressPolicy::Any).await, Ok(12.5));
    std::fs::write(&file, "two\nlines").unwrap();
    let error = value(post.clone(), AddressPolicy::Any).await.unwrap_err();
    assert_eq!(error.reason, MetricErrorReason::Secret);
    assert!(!error.message.contains("lines"), "{error}");
    std::fs::remove_file(&file).unwrap();
    let error = value(post, AddressPolicy::Any).await.unwrap_err();
    assert_eq!(error.reason, MetricErrorReason::Secret);
}

#[tokio::test]
async fn each_bad_answer_has_its_reason() {
    let server = serve().await;
    for (path, json_path, expected) in [
        ("/redirect", "$.data.value", MetricErrorReason::Rejected),
        ("/failing", "$.data.value", MetricErrorReason::Rejected),
        ("/missing", "$.data.value", MetricErrorReason::Rejected),
        ("/slow", "$.data.value", MetricErrorReason::Timeout),
        ("/garbled", "$.data.value", MetricErrorReason::InvalidResponse),
        ("/huge", "$.data.value", MetricErrorReason::InvalidResponse),
        ("/ok", "$.data.other", MetricErrorReason::NoValue),
        ("/ok", "$.data.null", MetricErrorReason::NoValue),
        ("/ok", "$.data.all[*]", MetricErrorReason::SeveralValues),
        ("/ok", "$.data.text", MetricErrorReason::NotANumber),
    ] {
        let query = WebQuery {
            timeout: Duration::from_millis(if path == "/slow" { 200 } else { 5_000 }),
            ..query(&format!("{server}{path}"), json_path)
        };
        let error = value(query, AddressPolicy::Any).await.unwrap_err();
        assert_eq!(error.reason, expected, "{path} {json_path}: {error}");
        assert!(!error.message.contains(char::is_control), "{error:?}");
        assert!(error.message.chars().count() < 400, "{error}");
    }
    let redirect = value(query(&format!("{server}/redirect"), "$"), AddressPolicy::Any).await;
    assert!(redirect.unwrap_err().message.contains("302"));
    let error = value(query("http://127.0.0.1:1/", "$"), AddressPolicy::Any).await.unwrap_err();
    assert_eq!(error.reason, MetricErrorReason::Unreachable);
}

#[tokio::test]
async fn private_addresses_are_refused_unless_allowed() {
    let server = serve().await;
    let port = server.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "[::1]"] {
        let url = format!("http://{host}:{port}/ok");
        let error = value(query(&url, "$.data.value"), AddressPolicy::Public).await.unwrap_err();
        assert_eq!(error.reason, MetricErrorReason::Forbidden, "{host}: {error}");
    }
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("http://{host}:{port}/ok");
        assert_eq!(value(query(&url, "$.data.value"), AddressPolicy::Any).await, Ok(3.0), "{host}");
    }
}

#[test]
fn special_purpose_addresses_are_not_public() {
    for (address, expected) in [
        ("93.184.216.34", true),
        ("172.15.0.1", true),
        ("2606:2800:220:1::1", true),
        ("64:ff9b::5db8:d822", true),
        ("10.0.0.1", false),
        ("172.16.0.1", false),
        ("192.168.1.1", false),
        ("169.254.169.254", false),
        ("100.64.0.1", false),
        ("0.0.0.0", false),
        ("224.0.0.1", false),
        ("255.255.255.255", false),
        ("::", false),
        ("::1", false),
        ("::127.0.0.1", false),
        ("fe80::1", false),
        ("fec0::1", false),
        ("fd00:ec2::254", false),
        ("ff02::1", false),
        ("64:ff9b::a9fe:a9fe", false),
        ("2002:7f00:1::", false),
        ("2001::1", false),
    ] {
        assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
    }
}
