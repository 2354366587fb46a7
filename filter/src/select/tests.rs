use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::request::tests::FakeRequest;

const TOKEN: &str = "0123456789abcdef";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A service with half of the buckets on v2, and these fields.
fn service(fields: Value) -> Service {
    let mut service = json!({"name": "shop", "authorities": ["*"], "salt": "shop",
        "versions": [{"name": "v1", "cluster": "c1"}, {"name": "v2", "cluster": "c2"}],
        "buckets": [{"version": "v2", "count": 500_000}, {"version": "v1", "count": 500_000}]});
    for (field, value) in fields.as_object().unwrap() {
        service[field] = value.clone();
    }
    let config = json!({"schema": 1, "generation": 1, "services": [service]});
    Config::parse(config.to_string().as_bytes()).unwrap().services.remove(0)
}

fn assignment(service: &Service, request: &FakeRequest) -> (usize, Reason) {
    match select(service, request) {
        Selection::Version(Assignment { version, reason, .. }) => (version, reason),
        other => panic!("{other:?}"),
    }
}

fn bucket(service: &Service, request: &FakeRequest) -> Option<u32> {
    match select(service, request) {
        Selection::Version(assignment) => assignment.bucket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_sticky_key_of_the_request_applies() {
    let sticky = json!([{"header": "x-user-id"}, {"cookie": "sid"}, "sourceAddress"]);
    let service = service(json!({"sticky": sticky, "correlation": ["requestId"]}));
    let known = FakeRequest::with("x-request-id", "r").from("10.0.0.1:1234");
    let cookie = known.clone().and("cookie", "a=b; sid=user-1");
    let header = cookie.clone().and("x-user-id", "user-1");
    assert_eq!(assignment(&service, &header).1, Reason::Header);
    assert_eq!(assignment(&service, &cookie).1, Reason::Cookie);
    assert_eq!(assignment(&service, &known).1, Reason::SourceAddress);
    // The bucket depends on the identity only.
    assert_eq!(bucket(&service, &header), bucket(&service, &cookie));
    // The port is not part of the identity.
    assert_eq!(bucket(&service, &known), bucket(&service, &known.clone().from("10.0.0.1:9")));
    let anonymous = FakeRequest::with("x-user-id", "").and("x-request-id", "r");
    assert_eq!(assignment(&service, &anonymous).1, Reason::RequestId);
}

#[test]
fn only_requests_with_an_identity_are_in_slices() {
    let sticky =
        json!([{"header": "x-user-id"}, {"identityCookie": {"name": "uid", "maxAgeSeconds": 60}}]);
    let test = json!({"salts": ["a", "b", "c"], "slices": [10_000, 500_000]});
    let slices = |fields: Value, request: &FakeRequest| match select(&service(fields), request) {
        Selection::Version(assignment) => {
            assignment.slices.iter().filter(|slice| **slice != u8::MAX).count()
        }
        other => panic!("{other:?}"),
    };
    let user = FakeRequest::with("x-user-id", "user-1");
    assert_eq!(slices(json!({"sticky": sticky, "aaTest": test}), &user), 3);
    assert_eq!(
        slices(json!({"sticky": sticky, "aaTest": test}), &FakeRequest::default()),
        3,
        "issued"
    );
    assert_eq!(slices(json!({"sticky": sticky}), &user), 0);
    assert_eq!(slices(json!({"aaTest": test}), &user), 0);
}

#[test]
fn a_request_without_an_identity_is_issued_one() {
    let sticky = json!([{"identityCookie": {"name": "uid", "maxAgeSeconds": 60}}]);
    let service = service(json!({"sticky": sticky}));
    let anonymous = FakeRequest { random: 7, ..FakeRequest::default() };
    let Selection::Version(first) = select(&service, &anonymous) else { panic!() };
    let identity = first.new_identity.clone().unwrap();
    assert_eq!(identity, "00000000000000070000000000000007");
    let repeated = FakeRequest::with("cookie", format!("uid={identity}"));
    let Selection::Version(second) = select(&service, &repeated) else { panic!() };
    assert_eq!((second.bucket, second.version), (first.bucket, first.version));
    assert_eq!((second.reason, second.new_identity), (Reason::IdentityCookie, None));
}

#[test]
fn correlation_keys_apply_in_order() {
    let correlation = json!(["tracestate", "traceId", "requestId"]);
    let trust = json!({"sources": ["10.0.0.0/8"]});
    let service = service(json!({"correlation": correlation, "trust": trust}));
    let all = FakeRequest::with("x-request-id", "r")
        .and("traceparent", PARENT)
        .and("tracestate", "rojo=1,serin=499999");
    let inside = all.clone().from("10.1.1.1:1");
    assert_eq!(
        (assignment(&service, &inside), bucket(&service, &inside)),
        ((1, Reason::Tracestate), Some(499_999))
    );
    // An untrusted source cannot set the bucket.
    let outside = all.from("192.0.2.1:1");
    assert_eq!(assignment(&service, &outside).1, Reason::TraceId);
    let other_span = PARENT.replace("00f067aa0ba902b7", "1111111111111111");
    let span = FakeRequest::with("traceparent", other_span);
    assert_eq!(bucket(&service, &outside), bucket(&service, &span));
    assert_eq!(assignment(&service, &FakeRequest::with("x-request-id", "r")).1, Reason::RequestId);
    assert_eq!(
        assignment(&service, &FakeRequest::with("traceparent", "garbage")).1,
        Reason::Random
    );
}

#[test]
fn a_request_without_a_key_gets_a_random_bucket() {
    let service = service(json!({}));
    for (random, version) in [(0, 1), (u64::MAX / 2 - (1 << 40), 1), (u64::MAX, 0)] {
        let request = FakeRequest { random, ..FakeRequest::default() };
        assert_eq!(assignment(&service, &request), (version, Reason::Random));
    }
}

#[test]
fn the_first_matching_rule_precedes_the_split() {
    let rules = json!([
        {"when": {"header": {"name": "x-beta"}}, "then": {"version": "v2"}},
        {"when": {"pathPrefix": "/admin"}, "then": "bypass"},
        {"when": {"method": "POST"}, "then": {"version": "v1"}}]);
    let service = service(json!({"rules": rules}));
    let request = FakeRequest::with(":path", "/admin/x").and(":method", "POST");
    assert_eq!(select(&service, &request), Selection::Bypass);
    assert_eq!(assignment(&service, &request.and("x-beta", "")), (1, Reason::Rule));
    assert_eq!(assignment(&service, &FakeRequest::with(":method", "POST")), (0, Reason::Rule));
}

#[test]
fn only_trusted_requests_override_the_version() {
    let rules = json!([{"when": {"method": "GET"}, "then": {"version": "v1"}}]);
    let service = service(json!({
        "override": {"header": "x-version", "cookie": "version"},
        "trust": {"sources": ["10.0.0.0/8"], "token": TOKEN}, "rules": rules}));
    let get = |name, value: &str| FakeRequest::with(":method", "GET").and(name, value);
    for (request, expected) in [
        (get("x-version", "v2"), (0, Reason::Rule)),
        (get("x-version", "v2").from("192.0.2.1:1"), (0, Reason::Rule)),
        (get("x-version", "v2").from("10.0.0.1:1"), (1, Reason::Override)),
        (get("x-version", &format!("v2:{TOKEN}")), (1, Reason::Override)),
        (get("x-version", "v2:wrong"), (0, Reason::Rule)),
        (get("x-version", "v2:"), (0, Reason::Rule)),
        (get("x-version", &format!("v3:{TOKEN}")), (0, Reason::Rule)),
        (get("cookie", &format!("version=v2:{TOKEN}")), (1, Reason::Override)),
        (
            get("x-version", "nonsense").and("cookie", format!("version=v2:{TOKEN}")),
            (1, Reason::Override),
        ),
    ] {
        assert_eq!(assignment(&service, &request), expected, "{request:?}");
    }
}

#[test]
fn the_filter_only_observes_a_mesh_split() {
    let config = json!({"schema": 1, "generation": 1, "services": [{"name": "shop", "authorities": ["*"],
        "split": "mesh", "versions": [{"name": "v1", "cluster": "c1"}]}]});
    let service = Config::parse(config.to_string().as_bytes()).unwrap().services.remove(0);
    assert_eq!(select(&service, &FakeRequest::with("x-serin-version", "v2")), Selection::Observe);
}
