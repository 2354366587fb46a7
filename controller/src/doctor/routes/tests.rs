use super::super::finding::Level;
use super::super::tests::service;
use super::*;

const DUMP: &str = include_str!("../golden/config_dump.json");

/// The routes of the dump.
const ROUTES: &str = r#""routes": ["#;

fn levels(service: &wire::Service, dump: &str) -> Vec<Level> {
    let found = check(service, &Dump::parse(dump.as_bytes()).unwrap(), Some("serin"));
    found.into_iter().map(|finding| finding.level).collect()
}

/// The dump with these routes before its own.
fn with(routes: &str) -> String {
    DUMP.replace(ROUTES, &format!("{ROUTES}{routes},"))
}

/// The dump with these routes only.
fn only(routes: &str) -> String {
    let dump = with(routes);
    // Its own routes move to an unused virtual host.
    dump.replace(
        &format!("{routes},"),
        &format!(r#"{routes}]}}, {{"name": "nobody", "domains": ["nobody.example"], "routes": ["#),
    )
}

const EVERYBODY: &str = r#"{"match": {"prefix": "/"}, "route": {"cluster": "shop-v1"}}"#;

fn by_cluster() -> wire::Service {
    wire::Service { route: wire::Route::ClusterHeader, ..service() }
}

#[test]
fn routes_of_a_real_envoy_are_correct() {
    assert_eq!(levels(&service(), DUMP), [Level::Ok]);
}

#[test]
fn a_missing_route_is_reported_with_its_fix() {
    let other = DUMP.replace("\"exact\": \"v2\"", "\"exact\": \"v3\"");
    let found = check(&service(), &Dump::parse(other.as_bytes()).unwrap(), Some("serin"));
    let [finding] = &found[..] else { panic!("{found:?}") };
    assert_eq!(finding.level, Level::Fail);
    assert_eq!(
        finding.message,
        "virtual host \"shop\": a request for version v2 (prefix /) is routed to shop-v1, not to shop-v2"
    );
    assert_eq!(
        finding.fix.as_deref(),
        Some(
            "add this before the host's other routes: - { match: { prefix: \"/\", headers: [{ name: x-serin-version, string_match: { exact: \
             \"v2\" } }] }, route: { cluster: \"shop-v2\" } }"
        )
    );
}

#[test]
fn a_shadowed_route_does_not_count() {
    assert_eq!(levels(&service(), &with(EVERYBODY)), [Level::Fail]);
}

#[test]
fn exceptions_are_skipped_and_a_path_with_one_version_is_a_warning() {
    let beta = r#"{"match": {"prefix": "/", "headers": [{"name": "x-beta", "present_match": true}]}, "route": {"cluster": "beta"}}"#;
    assert_eq!(levels(&service(), &with(beta)), [Level::Ok]);
    let admin = r#"{"match": {"prefix": "/admin"}, "route": {"cluster": "shop-v1"}}"#;
    assert_eq!(levels(&service(), &with(admin)), [Level::Warn]);
}

#[test]
fn weights_of_the_mesh_and_missing_routes_are_reported() {
    let weighted =
        r#"{"match": {"prefix": "/"}, "route": {"weighted_clusters": {"clusters": []}}}"#;
    assert_eq!(levels(&service(), &with(weighted)), [Level::Fail, Level::Fail]);
    let other = r#"{"match": {"prefix": "/"}, "route": {"cluster": "cart"}}"#;
    assert_eq!(
        levels(
            &wire::Service {
                authorities: vec![wire::Authority("shop.example".into())],
                ..service()
            },
            &only(other)
        ),
        [Level::Fail]
    );
}

#[test]
fn a_route_may_use_the_cluster_header() {
    assert_eq!(levels(&by_cluster(), DUMP), [Level::Fail]);
    let route = r#"{"match": {"prefix": "/", "headers": [{"name": "x-serin-cluster", "present_match": true}]}, "route": {"cluster_header": "x-serin-cluster"}}"#;
    assert_eq!(levels(&by_cluster(), &with(route)), [Level::Ok]);
}

#[test]
fn the_virtual_host_of_the_service_counts() {
    let named = |authority: &str| wire::Service {
        authorities: vec![wire::Authority(authority.to_owned())],
        ..service()
    };
    let hosts = with(EVERYBODY).replace("\"domains\": [\n          \"*\"\n", "");
    assert!(levels(&named("shop.example"), &hosts).contains(&Level::Fail));
    assert_eq!(levels(&named("shop.example"), DUMP), [Level::Ok]);
    for (authority, domain, overlaps) in [
        ("shop.example", "shop.example:8080", true),
        ("*.shop.example", "eu.shop.example", true),
        ("eu.shop.example", "*.shop.example", true),
        ("shop.example", "cart.example", false),
        ("shop.example", "SHOP.example", true),
    ] {
        assert_eq!(overlap(authority, domain), overlaps, "{authority} {domain}");
    }
}
