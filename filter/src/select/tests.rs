use serde_json::{Value, json};

use super::*;
use crate::config::Config;
use crate::request::tests::Made;

const TOKEN: &str = "0123456789abcdef";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Half of the users meet v2, with these fields set.
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

fn choice(service: &Service, request: &Made) -> (usize, Reason) {
    match select(service, request) {
        Selection::Version(Choice { version, reason, .. }) => (version, reason),
        other => panic!("{other:?}"),
    }
}

fn bucket(service: &Service, request: &Made) -> Option<u32> {
    match select(service, request) {
        Selection::Version(choice) => choice.bucket,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_source_that_knows_the_user_counts() {
    let sticky = json!([{"header": "x-user-id"}, {"cookie": "sid"}, "sourceAddress"]);
    let service = service(json!({"sticky": sticky, "correlation": ["requestId"]}));
    let known = Made::with("x-request-id", "r").from("10.0.0.1:1234");
    let cookie = known.clone().and("cookie", "a=b; sid=user-1");
    let header = cookie.clone().and("x-user-id", "user-1");
    assert_eq!(choice(&service, &header).1, Reason::Header);
    assert_eq!(choice(&service, &cookie).1, Reason::Cookie);
    assert_eq!(choice(&service, &known).1, Reason::SourceAddress);
    // It is the identity that counts, not where it was found.
    assert_eq!(bucket(&service, &header), bucket(&service, &cookie));
    // Nor the port.
    assert_eq!(bucket(&service, &known), bucket(&service, &known.clone().from("10.0.0.1:9")));
    let nobody = Made::with("x-user-id", "").and("x-request-id", "r");
    assert_eq!(choice(&service, &nobody).1, Reason::RequestId);
}

#[test]
fn users_have_a_place_in_what_is_watched_and_others_have_none() {
    let sticky =
        json!([{"header": "x-user-id"}, {"identityCookie": {"name": "who", "maxAgeSeconds": 60}}]);
    let watch = json!({"salts": ["a", "b", "c"], "slices": [10_000, 500_000]});
    let places = |fields: Value, request: &Made| match select(&service(fields), request) {
        Selection::Version(choice) => {
            choice.places.iter().filter(|place| **place != u8::MAX).count()
        }
        other => panic!("{other:?}"),
    };
    let user = Made::with("x-user-id", "user-1");
    assert_eq!(places(json!({"sticky": sticky, "watch": watch}), &user), 3);
    assert_eq!(places(json!({"sticky": sticky, "watch": watch}), &Made::default()), 3, "new");
    assert_eq!(places(json!({"sticky": sticky}), &user), 0);
    assert_eq!(places(json!({"watch": watch}), &user), 0);
}

#[test]
fn whoever_has_no_identity_is_given_one() {
    let sticky = json!([{"identityCookie": {"name": "who", "maxAgeSeconds": 60}}]);
    let service = service(json!({"sticky": sticky}));
    let stranger = Made { random: 7, ..Made::default() };
    let Selection::Version(first) = select(&service, &stranger) else { panic!() };
    let identity = first.issued.clone().unwrap();
    assert_eq!(identity, "00000000000000070000000000000007");
    let again = Made::with("cookie", format!("who={identity}"));
    let Selection::Version(second) = select(&service, &again) else { panic!() };
    assert_eq!((second.bucket, second.version), (first.bucket, first.version));
    assert_eq!((second.reason, second.issued), (Reason::IdentityCookie, None));
}

#[test]
fn a_call_graph_agrees() {
    let correlation = json!(["tracestate", "traceId", "requestId"]);
    let trust = json!({"sources": ["10.0.0.0/8"]});
    let service = service(json!({"correlation": correlation, "trust": trust}));
    let all = Made::with("x-request-id", "r")
        .and("traceparent", PARENT)
        .and("tracestate", "rojo=1,serin=499999");
    let inside = all.clone().from("10.1.1.1:1");
    assert_eq!(
        (choice(&service, &inside), bucket(&service, &inside)),
        ((1, Reason::Tracestate), Some(499_999))
    );
    // From elsewhere the bucket is not believed: nobody outside picks a version.
    let outside = all.from("192.0.2.1:1");
    assert_eq!(choice(&service, &outside).1, Reason::TraceId);
    let other_span = PARENT.replace("00f067aa0ba902b7", "1111111111111111");
    let span = Made::with("traceparent", other_span);
    assert_eq!(bucket(&service, &outside), bucket(&service, &span));
    assert_eq!(choice(&service, &Made::with("x-request-id", "r")).1, Reason::RequestId);
    assert_eq!(choice(&service, &Made::with("traceparent", "garbage")).1, Reason::Random);
}

#[test]
fn chance_decides_about_the_rest() {
    let service = service(json!({}));
    for (random, version) in [(0, 1), (u64::MAX / 2 - (1 << 40), 1), (u64::MAX, 0)] {
        let request = Made { random, ..Made::default() };
        assert_eq!(choice(&service, &request), (version, Reason::Random));
    }
}

#[test]
fn rules_come_before_weights_and_the_first_counts() {
    let rules = json!([
        {"when": {"header": {"name": "x-beta"}}, "then": {"version": "v2"}},
        {"when": {"pathPrefix": "/admin"}, "then": "bypass"},
        {"when": {"method": "POST"}, "then": {"version": "v1"}}]);
    let service = service(json!({"rules": rules}));
    let request = Made::with(":path", "/admin/x").and(":method", "POST");
    assert_eq!(select(&service, &request), Selection::Bypass);
    assert_eq!(choice(&service, &request.and("x-beta", "")), (1, Reason::Rule));
    assert_eq!(choice(&service, &Made::with(":method", "POST")), (0, Reason::Rule));
}

#[test]
fn only_who_is_trusted_overrides() {
    let rules = json!([{"when": {"method": "GET"}, "then": {"version": "v1"}}]);
    let service = service(json!({
        "override": {"header": "x-version", "cookie": "version"},
        "trust": {"sources": ["10.0.0.0/8"], "token": TOKEN}, "rules": rules}));
    let get = |name, value: &str| Made::with(":method", "GET").and(name, value);
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
        assert_eq!(choice(&service, &request), expected, "{request:?}");
    }
}

#[test]
fn where_the_mesh_splits_there_is_nothing_to_choose() {
    let config = json!({"schema": 1, "generation": 1, "services": [{"name": "shop", "authorities": ["*"],
        "split": "mesh", "versions": [{"name": "v1", "cluster": "c1"}]}]});
    let service = Config::parse(config.to_string().as_bytes()).unwrap().services.remove(0);
    assert_eq!(select(&service, &Made::with("x-serin-version", "v2")), Selection::Observe);
}
