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

/// The shop with this field set.
fn with(field: &str, value: Value) -> Value {
    let mut config = shop();
    config["services"][0][field] = value;
    config
}

#[test]
fn a_good_configuration() {
    let config = parse(&shop()).unwrap();
    assert_eq!(config.generation, Generation(7));
    let service = &config.services[0];
    assert_eq!(service.table().unwrap().weight(1).ppm(), 10_000);
    assert_eq!(service.sticky, [wire::Sticky::Header("x-user-id".to_owned())]);
    assert_eq!((service.overdue_us, service.tripwire), (5_000_000, Some(100_000)));
}

#[test]
fn everything_there_is() {
    let mut config = shop();
    let more = json!({
        "route": "clusterHeader",
        "sticky": [{"header": "x-user-id"}, {"cookie": "sid"}, "sourceAddress",
            {"identityCookie": {"name": "who", "maxAgeSeconds": 86_400, "secure": true}}],
        "correlation": ["tracestate", "traceId", "requestId"],
        "rules": [
            {"when": {"header": {"name": "x-beta", "value": "1"}, "method": "GET"}, "then": {"version": "v2"}},
            {"when": {"pathPrefix": "/admin", "cookie": {"name": "staff"}}, "then": "bypass"}],
        "trust": {"sources": ["10.0.0.0/8", "fd00::/8"], "token": "0123456789abcdef"},
        "override": {"header": "x-version", "cookie": "version"},
        "reveal": "x-served-by",
        "failures": {"status": ["429", "5xx"], "grpc": [8, 14]},
        "overdueMs": 2_000,
        "watch": {"salts": ["a", "b"], "slices": [10_000, 50_000]},
    });
    for (field, value) in more.as_object().unwrap() {
        config["services"][0][field] = value.clone();
    }
    let parsed = parse(&config).unwrap();
    let service = &parsed.services[0];
    assert_eq!(service.rules.iter().map(|rule| rule.version).collect::<Vec<_>>(), [Some(1), None]);
    assert!(service.blame.status(429) && service.blame.grpc(8) && !service.blame.grpc(2));
    assert_eq!((service.trust.sources.len(), service.overdue_us), (2, 2_000_000));
    // What is written is what was read.
    let wire: wire::Config = serde_json::from_value(config).unwrap();
    let again = serde_json::to_vec(&wire).unwrap();
    assert_eq!(Config::parse(&again).unwrap(), parsed);
}

#[test]
fn a_mesh_that_splits_by_itself() {
    let mut config = json!({"schema": 1, "generation": 1, "services": [{
        "name": "shop", "authorities": ["*"], "split": "mesh",
        "versions": [{"name": "v1", "cluster": "outbound|80|v1|shop"}]}]});
    let service = parse(&config).unwrap().services.remove(0);
    assert_eq!(service.splitting, Splitting::Mesh);
    for (field, value) in [
        ("buckets", json!([{"version": "v1", "count": 1_000_000}])),
        ("sticky", json!(["sourceAddress"])),
        ("correlation", json!(["traceId"])),
        ("rules", json!([{"when": {"method": "GET"}, "then": "bypass"}])),
        ("override", json!({"header": "x-version"})),
        ("tripwire", json!({"toleratedPpm": 100_000})),
        ("watch", json!({"salts": ["a"], "slices": [5]})),
    ] {
        let before = config.clone();
        config["services"][0][field] = value;
        let error = parse(&config).unwrap_err().to_string();
        assert!(error.starts_with(&format!("services[0].{field}: the mesh splits")), "{error}");
        config = before;
    }
}

#[test]
fn bad_configurations_are_refused_with_the_path() {
    let twice = json!([{"name": "v1", "cluster": "a"}, {"name": "v1", "cluster": "b"}]);
    for (field, value, expected) in [
        ("name", json!("a b"), "services[0].name: \"a b\" is not a name"),
        ("versions", json!([]), "services[0].versions: 0 entries, but 1 to 8 are allowed"),
        ("versions", twice, "services[0].versions: \"v1\" is there twice"),
        (
            "buckets",
            json!([{"version": "v3", "count": 1_000_000}]),
            "services[0].buckets[0].version: \"v3\" is none",
        ),
        (
            "buckets",
            json!([{"version": "v1", "count": 9}]),
            "services[0].buckets: the counts add up to 9",
        ),
        ("authorities", json!([]), "services[0].authorities: 0 entries"),
        ("authorities", json!(["a*"]), "services[0].authorities: \"a*\": a star stands"),
        ("authorities", json!(["a", "A"]), "services[0].authorities: \"A\" is there twice"),
        (
            "sticky",
            json!([{"cookies": "x"}]),
            "services[0].sticky[0].cookies: unknown field; known are header, cookie",
        ),
        ("sticky", json!(["cookie"]), "services[0].sticky[0]: not {header: NAME}, {cookie: NAME}"),
        ("sticky", json!([{"cookie": "x", "header": "y"}]), "services[0].sticky[0]: not {header"),
        ("salt", json!(1), "services[0].salt: not a text"),
        ("overdueMs", json!(1.5), "services[0].overdueMs: not a whole number from 0"),
        (
            "overdueMs",
            json!(4_294_967_296_u64),
            "services[0].overdueMs: not a whole number below 2^32",
        ),
        ("route", json!("header"), "services[0].route: not versionHeader or clusterHeader"),
        ("versions", json!([{"name": "v1"}]), "services[0].versions[0].cluster: missing"),
        ("sticky", json!([{"header": "X-User"}]), "services[0].sticky[0]: \"X-User\": a header"),
        ("sticky", json!([{"cookie": "a b"}]), "services[0].sticky[0]: \"a b\": no cookie"),
        ("rules", json!([{"when": {}, "then": "bypass"}]), "services[0].rules[0].when: a rule"),
        (
            "rules",
            json!([{"when": {"method": "GET"}, "then": {"version": "v9"}}]),
            "services[0].rules[0].then.version: \"v9\" is none",
        ),
        ("override", json!({"header": "x-version"}), "services[0].override: nobody is trusted"),
        (
            "trust",
            json!({"sources": ["10.0.0.0/99"]}),
            "services[0].trust.sources[0]: \"10.0.0.0/99\"",
        ),
        ("trust", json!({"token": "short"}), "services[0].trust.token: a secret of less"),
        ("watch", json!({"salts": ["a"]}), "services[0].watch.slices: 0 entries"),
        ("watch", json!({"salts": [], "slices": [5]}), "services[0].watch.salts: 0 entries"),
        (
            "watch",
            json!({"salts": ["a"], "slices": [5, 5]}),
            "services[0].watch.slices: they have to rise",
        ),
        (
            "watch",
            json!({"salts": ["a"], "slices": [1_000_000]}),
            "services[0].watch.slices: they have to rise",
        ),
        ("reveal", json!(""), "services[0].reveal: \"\": a header"),
        ("failures", json!({"status": ["200"]}), "services[0].failures.status[0]: \"200\""),
        ("failures", json!({"grpc": [17]}), "services[0].failures.grpc[0]: 17 is not from 1 to 16"),
        ("overdueMs", json!(1), "services[0].overdueMs: 1 is not from 50 to 600000"),
        (
            "tripwire",
            json!({"toleratedPpm": 1}),
            "services[0].tripwire.toleratedPpm: 1 is not from 10000 to 500000",
        ),
        ("wieght", json!(1), "services[0].wieght: unknown field; known are name, authorities"),
    ] {
        let error = parse(&with(field, value)).unwrap_err().to_string();
        assert!(error.contains(expected), "{field}: {error}");
    }
}

#[test]
fn another_schema_is_refused_with_both_versions_named() {
    let mut config = shop();
    config["schema"] = json!(2);
    config["news"] = json!("unknown to this one");
    let error = parse(&config).unwrap_err().to_string();
    assert!(error.starts_with("schema 2 is not the one this filter reads, 1"), "{error}");
}

#[test]
fn garbage_is_refused() {
    for garbage in [&b""[..], b"{", b"null", b"\xff\xfe", &vec![b' '; limit::BYTES + 1]] {
        assert!(Config::parse(garbage).is_err());
    }
    let mut config = shop();
    config["generation"] = json!(-1);
    assert!(parse(&config).unwrap_err().to_string().starts_with("generation: not a whole number"));
}

#[test]
fn an_authority_is_one_services_only() {
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
    assert_eq!(error, "services[1].authorities: \"*\" is service shop's already");
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
    assert_eq!(error, "services.*.versions: 520 entries, but 0 to 512 are allowed");
}
