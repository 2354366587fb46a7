use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    envoy: InitEnvoyArgs,
}

fn printed(arguments: &[&str], spec: Option<&str>) -> Result<String, String> {
    let line = Line::try_parse_from(["envoy"].iter().chain(arguments));
    let envoy = line.map_err(|error| error.to_string())?.envoy;
    let subject = match spec {
        Some(spec) => BootstrapSubject::of(Spec::parse(spec).unwrap()).unwrap(),
        None => envoy.subject().map_err(|error| error.message)?,
    };
    envoy.bootstrap(&subject)
}

/// A rollout of which nothing is as in the samples.
const OTHER: &str = "\
apiVersion: serin.dev/v1alpha1
kind: ServiceRollout
metadata: { name: cart }
spec:
  service: cart
  versions:
    - { name: v2, cluster: shop-v2 }
    - { name: v3.1, cluster: 'outbound|80|v3|cart' }
  baseline: v2
  candidate: v3.1
  strategy: { canary: {} }
  envoy: { admin: 'http://10.0.0.5:9999', filterConfig: '/srv/my filter.json' }
";

const ADDRESSES: [&str; 6] = [
    "--listen=0.0.0.0:80",
    "--upstream=v2=10.1.1.1:81",
    "--upstream=v3.1=cart.example:82",
    "--directory=/opt/serin",
    "--node=east-7",
    "--xds-server=serin.example:99",
];

/// What the samples have of their own, and the user of this rollout must not find.
const SAMPLED: [&str; 8] =
    ["9901", "10000", "8001", "8002", "9291", "shop-v1", "/etc/envoy", "edge-1"];

#[test]
fn without_options_it_is_the_sample() {
    let comments = |text: &str| text.lines().filter(|line| line.contains('#')).count();
    for (mode, sample) in [("--mode=file", FILE), ("--mode=xds", XDS)] {
        let printed = printed(&[mode], None).unwrap();
        let own = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with("#   ")).map(str::to_owned).collect()
        };
        assert_eq!(own(&printed), own(sample));
        assert_eq!(comments(&printed), comments(sample));
    }
}

#[test]
fn a_rollout_replaces_every_value_of_the_sample() {
    for mode in ["--mode=file", "--mode=xds"] {
        let printed = printed(&[&ADDRESSES[..], &[mode]].concat(), Some(OTHER)).unwrap();
        for sampled in SAMPLED {
            let left = printed.lines().find(|line| line.contains(sampled));
            assert_eq!(left, None, "{mode}: {sampled}");
        }
        assert!(!printed.lines().any(|line| line.ends_with("name: shop")), "{mode}");
        for own in [
            "address: 10.0.0.5, port_value: 9999",
            "address: 10.1.1.1, port_value: 81",
            "- name: \"outbound|80|v3|cart\"\n      type: STRICT_DNS\n      connect_timeout",
            "exact: v3.1",
            "- name: cart\n",
            "- name: shop-v2\n      connect_timeout",
        ] {
            assert!(printed.contains(own), "{own}\nis not in\n{printed}");
        }
    }
    let file = printed(&ADDRESSES, Some(OTHER)).unwrap();
    assert!(file.contains("path: \"/srv/my filter.json\""), "{file}");
    let xds = printed(&[&ADDRESSES[..], &["--mode=xds"]].concat(), Some(OTHER)).unwrap();
    assert!(xds.contains("- name: serin\n      type: STRICT_DNS\n      connect_timeout"), "{xds}");
    assert!(xds.contains("filename: /opt/serin/serin.wasm"), "{xds}");
}

#[test]
fn a_group_is_for_xds() {
    let of_group = OTHER.replace("filterConfig: '/srv/my filter.json'", "xds: { group: west }");
    let printed = printed(&[], Some(&of_group)).unwrap();
    assert!(printed.contains("id: edge-1, cluster: west }"), "{printed}");
    assert!(printed.contains("cluster_name: serin"), "{printed}");
}

#[test]
fn the_route_is_by_cluster_if_the_rollout_sets_it() {
    let by_cluster = OTHER.replace("  versions:", "  route: clusterHeader\n  versions:");
    let printed = printed(&[], Some(&by_cluster)).unwrap();
    assert!(printed.contains("cluster_header: x-serin-cluster"), "{printed}");
    assert!(!printed.contains("exact:"), "{printed}");
    assert_eq!(printed.matches("\n  clusters:\n").count(), 1);
}

#[test]
fn invalid_values_are_rejected() {
    for (argument, reason) in [
        ("--upstream=v9=10.0.0.1:1", "the versions are v1 and v2"),
        ("--upstream=v2", "a version and its address"),
        ("--upstream=v2=nowhere", "not a host and a port"),
        ("--xds-server=:1", "not a host and a port"),
    ] {
        let error = printed(&[argument], None).unwrap_err();
        assert!(error.contains(reason), "{argument}: {error}");
    }
}
