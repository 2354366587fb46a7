use serde_json::{Value, json};

use super::*;

fn shop() -> Value {
    json!({"schema": 1, "generation": 7, "services": [{
        "name": "shop", "authorities": ["*"], "sticky": [{"header": "x-user-id"}], "salt": "s",
        "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
        "buckets": [{"version": "v2", "count": 10_000}, {"version": "v1", "count": 990_000}],
        "tripwire": {"toleratedPpm": 100_000}}]})
}

fn parse(config: &Value) -> Result<Config, ConfigError> {
    Config::parse(config.to_string().as_bytes())
}

/// The shop with one field replaced.
fn with(field: &str, value: Value) -> Value {
    let mut config = shop();
    config["services"][0][field] = value;
    config
}

#[test]
fn a_minimal_configuration_has_defaults() {
    let config = parse(&shop()).unwrap();
    assert_eq!(config.generation, Generation(7));
    let service = &config.services[0];
    assert_eq!(service.table().unwrap().weight(1).ppm(), 10_000);
    assert_eq!(service.sticky, [wire::Sticky::Header("x-user-id".to_owned())]);
    assert_eq!((service.overdue_us, service.tripwire), (5_000_000, Some(100_000)));
}

#[test]
fn all_fields_survive_a_round_trip() {
    let mut config = shop();
    let more = json!({
        "route": "clusterHeader",
        "sticky": [{"header": "x-user-id"}, {"cookie": "sid"}, "sourceAddress",
            {"identityCookie": {"name": "uid", "maxAgeSeconds": 86_400, "secure": true}}],
        "correlation": ["tracestate", "traceId", "requestId"],
        "rules": [
            {"when": {"header": {"name": "x-beta", "value": "1"}, "method": "GET"}, "then": {"version": "v2"}},
            {"when": {"pathPrefix": "/admin", "cookie": {"name": "staff"}}, "then": "bypass"}],
        "trust": {"sources": ["10.0.0.0/8", "fd00::/8"], "token": "0123456789abcdef"},
        "override": {"header": "x-version", "cookie": "version"},
        "reveal": "x-served-by",
        "failures": {"status": ["429", "5xx"], "grpc": [8, 14]},
        "overdueMs": 2_000,
        "aaTest": {"salts": ["a", "b"], "slices": [10_000, 50_000]},
    });
    for (field, value) in more.as_object().unwrap() {
        config["services"][0][field] = value.clone();
    }
    let parsed = parse(&config).unwrap();
    let service = &parsed.services[0];
    assert_eq!(service.rules.iter().map(|rule| rule.version).collect::<Vec<_>>(), [Some(1), None]);
    assert!(
        service.blame.blames_status(429)
            && service.blame.blames_grpc(8)
            && !service.blame.blames_grpc(2)
    );
    assert_eq!((service.trust.sources.len(), service.overdue_us), (2, 2_000_000));
    let wire: wire::Config = serde_json::from_value(config).unwrap();
    let written = serde_json::to_vec(&wire).unwrap();
    assert_eq!(Config::parse(&written).unwrap(), parsed);
}

#[test]
fn mesh_split_allows_no_selection_fields() {
    let mut config = json!({"schema": 1, "generation": 1, "services": [{
        "name": "shop", "authorities": ["*"], "split": "mesh",
        "versions": [{"name": "v1", "cluster": "outbound|80|v1|shop"}]}]});
    let service = parse(&config).unwrap().services.remove(0);
    assert_eq!(service.split_mode, SplitMode::Mesh);
    for (field, value) in [
        ("buckets", json!([{"version": "v1", "count": 1_000_000}])),
        ("sticky", json!(["sourceAddress"])),
        ("correlation", json!(["traceId"])),
        ("rules", json!([{"when": {"method": "GET"}, "then": "bypass"}])),
        ("override", json!({"header": "x-version"})),
        ("tripwire", json!({"toleratedPpm": 100_000})),
        ("aaTest", json!({"salts": ["a"], "slices": [5]})),
    ] {
        let before = config.clone();
        config["services"][0][field] = value;
        let error = parse(&config).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("services[0].{field}: not allowed if the mesh splits")),
            "{error}"
        );
        config = before;
    }
}

#[test]
fn errors_name_the_invalid_field() {
    let duplicate = json!([{"name": "v1", "cluster": "a"}, {"name": "v1", "cluster": "b"}]);
    for (field, value, expected) in [
        ("name", json!("a b"), "services[0].name: \"a b\" is not a name"),
        ("versions", json!([]), "services[0].versions: 0 entries, expected 1 to 8"),
        ("versions", duplicate, "services[0].versions: duplicate \"v1\""),
        (
            "buckets",
            json!([{"version": "v3", "count": 1_000_000}]),
            "services[0].buckets[0].version: unknown version \"v3\"",
        ),
        (
            "buckets",
            json!([{"version": "v1", "count": 9}]),
            "services[0].buckets: counts add up to 9",
        ),
        ("authorities", json!([]), "services[0].authorities: 0 entries"),
        ("authorities", json!(["a*"]), "services[0].authorities: \"a*\": use * alone"),
        ("authorities", json!(["a", "A"]), "services[0].authorities: duplicate \"A\""),
        ("authorities", json!(["a.", "a", "A."]), "services[0].authorities: duplicate \"A.\""),
        ("authorities", json!(["*.:"]), "services[0].authorities: \"*.:\""),
        (
            "sticky",
            json!([{"cookies": "x"}]),
            "services[0].sticky[0].cookies: unknown field; expected one of header, cookie",
        ),
        ("sticky", json!(["cookie"]), "services[0].sticky[0]: not {header: NAME}, {cookie: NAME}"),
        ("sticky", json!([{"cookie": "x", "header": "y"}]), "services[0].sticky[0]: not {header"),
        ("salt", json!(1), "services[0].salt: not a string"),
        ("overdueMs", json!(1.5), "services[0].overdueMs: not a non-negative integer"),
        ("overdueMs", json!(4_294_967_296_u64), "services[0].overdueMs: not an integer below 2^32"),
        ("route", json!("header"), "services[0].route: not versionHeader or clusterHeader"),
        ("versions", json!([{"name": "v1"}]), "services[0].versions[0].cluster: missing"),
        (
            "sticky",
            json!([{"header": "X-User"}]),
            "services[0].sticky[0]: \"X-User\": not a lower-case",
        ),
        ("sticky", json!([{"cookie": "a b"}]), "services[0].sticky[0]: \"a b\": not a cookie"),
        (
            "rules",
            json!([{"when": {}, "then": "bypass"}]),
            "services[0].rules[0].when: needs at least",
        ),
        (
            "rules",
            json!([{"when": {"method": "GET"}, "then": {"version": "v9"}}]),
            "services[0].rules[0].then.version: unknown version \"v9\"",
        ),
        (
            "override",
            json!({"header": "x-version"}),
            "services[0].override: requires trust.sources",
        ),
        (
            "trust",
            json!({"sources": ["10.0.0.0/99"]}),
            "services[0].trust.sources[0]: \"10.0.0.0/99\"",
        ),
        ("trust", json!({"token": "short"}), "services[0].trust.token: must have at least"),
        ("aaTest", json!({"salts": ["a"]}), "services[0].aaTest.slices: 0 entries"),
        ("aaTest", json!({"salts": [], "slices": [5]}), "services[0].aaTest.salts: 0 entries"),
        (
            "aaTest",
            json!({"salts": ["a"], "slices": [5, 5]}),
            "services[0].aaTest.slices: must be ascending",
        ),
        (
            "aaTest",
            json!({"salts": ["a"], "slices": [1_000_000]}),
            "services[0].aaTest.slices: must be ascending",
        ),
        ("reveal", json!(""), "services[0].reveal: \"\": not a lower-case"),
        ("failures", json!({"status": ["200"]}), "services[0].failures.status[0]: \"200\""),
        ("failures", json!({"grpc": [17]}), "services[0].failures.grpc[0]: 17 is not from 1 to 16"),
        ("overdueMs", json!(1), "services[0].overdueMs: 1 is not from 50 to 600000"),
        (
            "tripwire",
            json!({"toleratedPpm": 1}),
            "services[0].tripwire.toleratedPpm: 1 is not from 10000 to 500000",
        ),
        (
            "wieght",
            json!(1),
            "services[0].wieght: unknown field; expected one of name, authorities",
        ),
    ] {
        let error = parse(&with(field, value)).unwrap_err().to_string();
        assert!(error.contains(expected), "{field}: {error}");
    }
}

#[test]
fn another_schema_is_rejected_before_its_fields() {
    let mut config = shop();
    config["schema"] = json!(2);
    config["news"] = json!("another schema");
    let error = parse(&config).unwrap_err().to_string();
    assert!(error.starts_with("schema 2 is unsupported; this filter reads 1"), "{error}");
}

#[test]
fn garbage_is_rejected() {
    for garbage in [&b""[..], b"{", b"null", b"\xff\xfe", &vec![b' '; limit::BYTES + 1]] {
        assert!(Config::parse(garbage).is_err());
    }
    let mut config = shop();
    config["generation"] = json!(-1);
    assert!(
        parse(&config)
            .unwrap_err()
            .to_string()
            .starts_with("generation: not a non-negative integer")
    );
}

#[test]
fn an_authority_belongs_to_one_service() {
    let mut config = shop();
    let mut cart = config["services"][0].clone();
    cart["name"] = json!("cart");
    cart["authorities"] = json!(["cart.example"]);
    config["services"].as_array_mut().unwrap().push(cart);
    let parsed = parse(&config).unwrap();
    assert_eq!(parsed.service(|| Some(b"Cart.example:8080".to_vec())), Some(1));
    assert_eq!(parsed.service(|| Some(b"other".to_vec())), Some(0));
    config["services"][1]["authorities"] = json!(["*"]);
    let error = parse(&config).unwrap_err().to_string();
    assert_eq!(error, "services[1].authorities: \"*\" belongs to service shop");
    config["services"][0]["authorities"] = json!(["shop.example"]);
    config["services"][1]["authorities"] = json!(["shop.example."]);
    let error = parse(&config).unwrap_err().to_string();
    assert_eq!(error, "services[1].authorities: \"shop.example.\" belongs to service shop");
}

#[test]
fn a_service_can_list_several_forms_of_an_authority() {
    let forms = ["shop.example", "shop.example.", "shop.example:", "*.example", "*.example."];
    let parsed = parse(&with("authorities", json!(forms))).unwrap();
    for authority in ["shop.example", "shop.example.", "cart.example"] {
        assert_eq!(parsed.service(|| Some(authority.as_bytes().to_vec())), Some(0));
    }
}

#[test]
fn the_number_of_versions_is_bounded() {
    let versions = |n: usize| {
        let version = |i| json!({"name": format!("v{i}"), "cluster": format!("c{i}")});
        (0..n).map(version).collect::<Vec<_>>()
    };
    let service = |i: usize| json!({"name": format!("s{i}"), "authorities": [format!("s{i}")], "split": "mesh", "versions": versions(8)});
    let config = |n: usize| {
        let services: Vec<_> = (0..n).map(service).collect();
        json!({"schema": 1, "generation": 1, "services": services})
    };
    assert!(parse(&config(64)).is_ok());
    let error = parse(&config(65)).unwrap_err().to_string();
    assert_eq!(error, "services.*.versions: 520 entries, expected 0 to 512");
}
