use super::*;
use crate::config::prometheus::{Auth, PrometheusConnection, PrometheusSettings};
use crate::spec::{Proxies, Spec};

/// A rollout with this below `spec.envoy`.
fn parse(envoy: &str) -> Result<EnvoyProxies, String> {
    let sample = include_str!("../../../../../envoy/rollout.yaml");
    let (before, rest) = sample.split_once("\n  envoy:").expect("the sample has spec.envoy");
    assert!(!rest.contains("\n  analysis:"), "spec.envoy is the last of the sample");
    let text = format!("{before}\n  envoy:\n    filterConfig: /filter.json\n{envoy}");
    whole(&text)
}

/// `spec.envoy` of a whole rollout.
fn whole(text: &str) -> Result<EnvoyProxies, String> {
    match Spec::parse(text).map_err(|error| error.to_string())?.proxies {
        Proxies::Envoy(envoy) => Ok(envoy),
        other => panic!("{other:?}"),
    }
}

#[test]
fn exactly_one_source_of_evidence() {
    let lone = DiscoveryConfig::Single("http://127.0.0.1:9901".to_owned());
    let two = DiscoveryConfig::Addresses(vec!["a:1".to_owned(), "[::1]:2".to_owned()]);
    for (envoy, expected) in [
        ("    admin: http://127.0.0.1:9901", lone),
        ("    proxies: { addresses: ['a:1', '[::1]:2'] }", two),
        (
            "    proxies: { dns: 'edge:9901' }",
            DiscoveryConfig::Dns { host: "edge".to_owned(), port: 9901 },
        ),
        ("    proxies: { file: /proxies.json }", DiscoveryConfig::File("/proxies.json".into())),
    ] {
        assert_eq!(
            parse(envoy).map(|envoy| envoy.source),
            Ok(SourceConfig::Admin(expected)),
            "{envoy}"
        );
    }
}

#[test]
fn a_file_or_a_group() {
    let sample = include_str!("../../../../../envoy/rollout.yaml");
    let (before, _) = sample.split_once("\n  envoy:").expect("the sample has spec.envoy");
    let parse = |fields: &str| {
        let text = format!("{before}\n  envoy:\n    admin: http://127.0.0.1:9901\n{fields}");
        whole(&text).map(|envoy| envoy.sink)
    };
    assert_eq!(parse("    xds: { group: edge }"), Ok(SinkLocation::Group("edge".to_owned())));
    for (fields, expected) in [
        ("", "spec.envoy: exactly one of filterConfig and xds is required"),
        ("    filterConfig: /x\n    xds: { group: a }", "spec.envoy: exactly one of"),
        ("    xds: { group: '' }", "spec.envoy.xds.group: empty"),
        ("    xds: {}", "spec.envoy.xds: missing field `group`"),
    ] {
        let error = parse(fields).expect_err(fields);
        assert!(error.starts_with(expected), "{error}");
    }
}

/// Each message has the path of the field, the value, and the valid form.
#[test]
fn errors_name_the_field_and_the_value() {
    for (envoy, expected) in [
        ("", "spec.envoy: one of admin, proxies and prometheus is required"),
        (
            "    admin: http://a:1\n    proxies: { file: /x }",
            "spec.envoy: set only one of admin, proxies and prometheus",
        ),
        (
            "    admin: a:1",
            "spec.envoy.admin: \"a:1\" is not an address such as http://127.0.0.1:9901",
        ),
        ("    proxies: {}", "spec.envoy.proxies: one of addresses, dns and file is required"),
        (
            "    proxies: { file: /x, dns: 'a:1' }",
            "spec.envoy.proxies: set only one of addresses, dns and file",
        ),
        (
            "    proxies: { adresses: ['a:1'] }",
            "spec.envoy.proxies.adresses: unknown field `adresses`",
        ),
        ("    proxies: { addresses: [] }", "spec.envoy.proxies.addresses: empty"),
        (
            "    proxies: { addresses: ['a:1', 'http://b:1'] }",
            "spec.envoy.proxies.addresses[1]: \"http://b:1\" is not an address such as",
        ),
        (
            "    proxies: { addresses: ['a:1', 'b:1', 'a:1'] }",
            "spec.envoy.proxies.addresses[2]: duplicate address \"a:1\"",
        ),
        (
            "    proxies: { dns: edge }",
            "spec.envoy.proxies.dns: \"edge\" is not a host with a port",
        ),
        (
            "    admin: http://a:1\n    prometheus: { url: 'http://p' }",
            "spec.envoy: set only one of admin, proxies and prometheus",
        ),
        ("    prometheus: {}", "spec.envoy.prometheus: missing field `url`"),
        (
            "    prometheus: { url: 'p:9090' }",
            "spec.envoy.prometheus.url: \"p:9090\" is not an address such as",
        ),
        (
            "    prometheus: { url: 'http://ada:x@p' }",
            "spec.envoy.prometheus.url: \"http://ada:x@p\" is not an address",
        ),
        (
            "    prometheus: { url: 'http://p', basicAuth: { username: a, passwordFile: /p }, bearerTokenFile: /t }",
            "spec.envoy.prometheus: set only one of basicAuth and bearerTokenFile",
        ),
        (
            "    prometheus: { url: 'http://p', basicAuth: { username: a } }",
            "spec.envoy.prometheus.basicAuth: missing field `passwordFile`",
        ),
        (
            "    prometheus: { url: 'http://p', instances: { 'a-b': c } }",
            "spec.envoy.prometheus.instances: \"a-b\" is not a label name",
        ),
        ("    proxies: { file: '' }", "spec.envoy.proxies.file: empty"),
    ] {
        let error = parse(envoy).expect_err(envoy);
        assert!(error.starts_with(expected), "{error}\nis not\n{expected}");
    }
}

#[test]
fn a_prometheus() {
    let envoy =
        "    prometheus: { url: 'https://p:1/x', bearerTokenFile: /t, instances: { job: envoy } }";
    let expected = PrometheusSettings {
        connection: PrometheusConnection {
            url: "https://p:1/x".to_owned(),
            auth: Auth::Bearer { token_file: "/t".into() },
        },
        instances: [("job".to_owned(), "envoy".to_owned())].into(),
    };
    assert_eq!(parse(envoy).map(|envoy| envoy.source), Ok(SourceConfig::Prometheus(expected)));
}
