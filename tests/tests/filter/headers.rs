//! serin's headers on requests and responses, and invalid client headers.

use serde_json::json;
use serin_tests::call::raw;
use serin_tests::{Call, Protocol};

use crate::world::{World, all, identities, only_shop, shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_version_header_is_overwritten() {
    let world = World::new(only_shop(json!({"buckets": all("v1")}))).await;
    let once = |call: Call| call.header("x-serin-version", "v2");
    world.assert_version("v1", once).await;
    assert_eq!(world.v1.last_headers()["x-serin-version"], "v1");
    world.assert_version("v1", |call| once(once(call))).await;
    let headers = world.v1.last_headers();
    let values: Vec<_> = headers.get_all("x-serin-version").iter().collect();
    assert_eq!(values, ["v1"]);
}

/// The sample's listener removes these headers as well; this test disables that.
#[tokio::test(flavor = "multi_thread")]
async fn the_filter_removes_client_headers_by_itself() {
    const REMOVED: &str = "mutations: [{ remove: x-serin-version }, { remove: x-serin-cluster }]";
    let services = json!([
        shop(json!({"authorities": ["shop.example"], "buckets": all("v1")})),
        shop(
            json!({"name": "cluster", "authorities": ["cluster.example"], "route": "clusterHeader",
            "buckets": all("v1")})
        ),
    ]);
    let world =
        World::with(services, |setup| setup.replace(REMOVED, "mutations: [{ remove: x-nothing }]"))
            .await;
    let spoof =
        |call: Call| call.header("x-serin-version", "v2").header("x-serin-cluster", "shop-v2");
    for authority in ["shop.example", "cluster.example", "mesh.example", "unknown.example"] {
        for twice in [false, true] {
            let call = |call: Call| {
                let call = spoof(call.authority(authority));
                if twice { spoof(call) } else { call }
            };
            world.assert_version("v1", call).await;
            let seen = world.v1.last_headers();
            for name in ["x-serin-version", "x-serin-cluster"] {
                let values: Vec<_> = seen.get_all(name).iter().collect();
                let expected = match (authority, name) {
                    ("shop.example", "x-serin-version") => vec!["v1"],
                    ("cluster.example", "x-serin-cluster") => vec!["shop-v1"],
                    _ => vec![],
                };
                assert_eq!(values, expected, "{authority}, {name}");
            }
        }
    }
    assert_eq!(world.v2.stats().requests, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reveal_header_has_the_version_and_the_reason() {
    let rules = json!([{"when": {"pathPrefix": "/rule"}, "then": {"version": "v2"}}]);
    let world = World::new(only_shop(json!({"reveal": "x-served-by", "rules": rules}))).await;
    for protocol in Protocol::ALL {
        for (user, version) in identities(1) {
            let call = world.call(protocol).header("x-user-id", &user);
            let answer = call.clone().send().await.expect("a response");
            assert_eq!(
                answer.header("x-served-by"),
                Some(format!("{version}; reason=header").as_str())
            );
            let answer = call.path("/rule").send().await.expect("a response");
            assert_eq!(answer.header("x-served-by"), Some("v2; reason=rule"));
        }
    }
}

/// Invalid values in every header that the filter reads.
#[tokio::test(flavor = "multi_thread")]
async fn invalid_headers_do_not_trap() {
    let identity = json!({"identityCookie": {"name": "uid", "maxAgeSeconds": 60}});
    let rules = json!([
        {"when": {"header": {"name": "x-beta", "value": "1"}}, "then": "bypass"},
        {"when": {"cookie": {"name": "staff"}, "pathPrefix": "/staff"}, "then": "bypass"},
    ]);
    let services = json!([shop(json!({
        "authorities": ["*", "shop.example"],
        "sticky": [{"header": "x-user-id"}, {"cookie": "sid"}, identity, "sourceAddress"],
        "correlation": ["tracestate", "traceId", "requestId"],
        "rules": rules,
        "trust": {"sources": ["127.0.0.0/8"], "token": "a-secret-of-the-tests"},
        "override": {"header": "x-version", "cookie": "version"},
        "reveal": "x-served-by",
    }))]);
    let world = World::new(services).await;
    let values: [&[u8]; 6] =
        [b"\xff\xfe\xfd", b"\xc3\x28", b"", b";;==;", b"v2:\xff", &[b'x'; 8_000]];
    for protocol in Protocol::ALL {
        for value in values {
            for name in [
                "x-user-id",
                "cookie",
                "traceparent",
                "tracestate",
                "x-request-id",
                "x-version",
                "x-beta",
            ] {
                // Envoy may reject the request.
                let _ = world.call(protocol).header(name, value).send().await;
                let cookie: Vec<u8> = [&b"sid="[..], value, b"; version=", value].concat();
                let _ = world.call(protocol).header("cookie", &cookie).send().await;
            }
        }
    }
    let listener = world.envoy.listener();
    for head in [
        &b"GET / HTTP/1.1\r\nhost: \xff\xfe\r\n"[..],
        b"GET / HTTP/1.1\r\nhost:\r\n",
        b"GET / HTTP/1.1\r\nhost: shop\r\nx-\xff: 1\r\n",
        b"GET / HTTP/1.1\r\nhost: shop\r\nx-user-id\xc3\x28: 1\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: shop\r\n",
        b"GET / HTTP/1.0\r\n",
        b"\xff\xff\xff / HTTP/1.1\r\nhost: shop\r\n",
    ] {
        let answer = raw(listener, &[head, b"connection: close\r\n\r\n"].concat()).await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{head:?}");
    }
    world.assert_no_trap().await;
    let user = identities(1).next().expect("a user").0;
    world.assert_version("v1", |call| call.header("x-user-id", &user)).await;
    assert!(world.count("v1 chosen header").await > 3, "invalid UTF-8 is a valid identity");
}

/// Envoy's routes match a repeated header by its lines joined by commas.
#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_header_is_one_value() {
    let rules = json!([
        {"when": {"header": {"name": "x-beta", "value": "1,2"}}, "then": {"version": "v2"}},
        {"when": {"header": {"name": "x-beta", "value": "1"}}, "then": {"version": "v1"}},
        {"when": {"header": {"name": "x-empty", "value": ""}}, "then": {"version": "v2"}},
        {"when": {"header": {"name": "x-any"}}, "then": {"version": "v2"}},
    ]);
    let world = World::new(only_shop(json!({"buckets": all("v1"), "rules": rules}))).await;
    world.assert_version("v2", |call| call.header("x-beta", "1").header("x-beta", "2")).await;
    world.assert_version("v1", |call| call.header("x-beta", "1")).await;
    world.assert_version("v1", |call| call.header("x-beta", "2").header("x-beta", "1")).await;
    world.assert_version("v2", |call| call.header("x-empty", "")).await;
    world.assert_version("v2", |call| call.header("x-any", "")).await;

    let world = World::new(only_shop(json!({}))).await;
    for second in ["b", "c", "d", "e"] {
        let version = crate::world::version_of(format!("a,{second}").as_bytes());
        let call = |call: Call| call.header("x-user-id", "a").header("x-user-id", second);
        world.assert_version(version, call).await;
    }
    // The identity is the bytes of the value, also if they are not UTF-8.
    for last in 0x80..0x88 {
        let user = [b'\xff', last];
        let version = crate::world::version_of(&user);
        world.assert_version(version, |call| call.header("x-user-id", user)).await;
    }
}
