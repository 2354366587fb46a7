//! Checks on the pages of a real Envoy 1.40.0 (`golden/`) with the shipped bootstrap, after 60
//! requests. Its `/config_dump` omits the list of compiled-in extensions.

use serin_filter::config::wire;

use super::clusters::ClusterStatus;
use super::dump::Dump;
use super::pages::{Clusters, ProxyStats, ServerInfo};
use super::*;

const DUMP: &str = include_str!("golden/config_dump.json");
const STATS: &str = include_str!("golden/stats.json");

/// The service in these pages.
pub(super) fn service() -> wire::Service {
    let dump = Dump::parse(DUMP.as_bytes()).unwrap();
    let wasm = dump.discovered("serin").unwrap().ecds_filter.typed_config.as_ref().unwrap();
    wasm.config.serin().unwrap().services.remove(0)
}

pub(super) fn clusters(page: &str) -> Vec<ClusterStatus> {
    serde_json::from_str::<Clusters>(page).unwrap().cluster_statuses
}

fn pages(dump: &str, stats: &str) -> ProxyPages {
    let ticks = r#""wasmcustom.serin.ticks","value":"#;
    let before = stats.replace(ticks, &format!("{ticks}1}},{{\"name\":\"then\",\"value\":"));
    ProxyPages {
        info: ServerInfo { version: "9e55/1.40.0/Clean".to_owned(), state: "LIVE".to_owned() },
        clock_offset: Some(0.0),
        dump: Dump::parse(dump.as_bytes()).unwrap(),
        clusters: clusters(include_str!("golden/clusters.json")),
        stats: ProxyStats::parse(stats.as_bytes()).unwrap(),
        before: ProxyStats::parse(before.as_bytes()).unwrap(),
        prometheus: include_str!("golden/prometheus.txt").to_owned(),
    }
}

fn expected() -> Expected {
    let path = "/etc/envoy/serin/filter.json".to_owned();
    Expected {
        service: Some(service()),
        filter: Some("serin".to_owned()),
        origin: ConfigOrigin::File { path, generation: Generation(7) },
        ..Expected::nothing()
    }
}

/// The problem found, if any.
fn wrong(dump: &str, stats: &str, expected: &Expected) -> Vec<(Check, Level)> {
    let found = of_proxy(&pages(dump, stats), expected);
    let wrong = found.into_iter().filter(|it| it.level != Level::Ok);
    wrong.map(|it| (it.check, it.level)).collect()
}

/// The pages with this text replaced.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

#[test]
fn a_real_envoy_passes() {
    assert_eq!(wrong(DUMP, STATS, &expected()), []);
    // Also without expectations.
    assert_eq!(wrong(DUMP, STATS, &Expected::nothing()), []);
}

#[test]
fn a_missing_or_static_filter_is_reported() {
    let gone = changed(DUMP, "\"name\": \"serin\"", "\"name\": \"other\"");
    assert_eq!(wrong(&gone, STATS, &expected()), [(Check::Filter, Level::Fail)]);
    let inline = changed(DUMP, "\"config_discovery\"", "\"other\"");
    assert_eq!(wrong(&inline, STATS, &expected()), [(Check::Filter, Level::Fail)]);
}

#[test]
fn a_missing_or_failed_module_is_reported() {
    let silent = changed(STATS, "wasmcustom.serin.generation", "wasmcustom.other.generation");
    let found = wrong(DUMP, &silent, &expected());
    assert_eq!(found, [(Check::Module, Level::Fail), (Check::Generation, Level::Skipped)]);
    for (statistic, level) in [("success", Level::Warn), ("failure", Level::Fail)] {
        let stat = format!(
            r#""stats":[{{"name":"wasm.envoy.wasm.runtime.v8.vm_reload_{statistic}","value":2}},"#
        );
        let failed = changed(STATS, r#""stats":["#, &stat);
        assert_eq!(wrong(DUMP, &failed, &expected()), [(Check::Module, level)], "{statistic}");
    }
}

#[test]
fn the_failure_policy_is_reported() {
    for (from, to, level) in [
        ("FAIL_RELOAD", "FAIL_OPEN", Level::Warn),
        ("FAIL_RELOAD", "FAIL_CLOSED", Level::Warn),
        ("0.050s", "1s", Level::Warn),
        ("0.050s", "0.001s", Level::Fail),
    ] {
        let dump = changed(DUMP, from, to);
        assert_eq!(wrong(&dump, STATS, &expected()), [(Check::FailurePolicy, level)], "{to}");
    }
}

#[test]
fn another_generation_is_reported_with_the_reason() {
    let newer =
        |path: &str| ConfigOrigin::File { path: path.to_owned(), generation: Generation(8) };
    let rejected = changed(
        STATS,
        r#""stats":["#,
        r#""stats":[{"name":"extension_config_discovery.http_filter.serin.update_rejected","value":1},"#,
    );
    for (path, stats, fix) in [
        ("/etc/envoy/serin/filter.json", STATS, "moved into place"),
        ("/srv/filter.json", STATS, "Envoy follows /etc/envoy/serin/filter.json"),
        ("/etc/envoy/serin/filter.json", &rejected, "has rejected it"),
    ] {
        let expected = Expected { origin: newer(path), ..expected() };
        let found = of_proxy(&pages(DUMP, stats), &expected);
        let finding = found.iter().find(|it| it.check == Check::Generation).unwrap();
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.fix.as_ref().unwrap().contains(fix), "{finding:?}");
    }
}

#[test]
fn clients_that_can_choose_are_reported() {
    let open = changed(DUMP, "\"remove\": \"x-serin-cluster\"", "\"remove\": \"x-other\"");
    assert_eq!(wrong(&open, STATS, &expected()), []);
    let service = wire::Service { route: wire::Route::ClusterHeader, ..service() };
    let by_cluster = Expected { service: Some(service), ..expected() };
    assert!(wrong(&open, STATS, &by_cluster).contains(&(Check::Guard, Level::Fail)));
    let open = changed(DUMP, "\"remove\": \"x-serin-version\"", "\"remove\": \"x-other\"");
    assert_eq!(wrong(&open, STATS, &expected()), [(Check::Guard, Level::Warn)]);
}

#[test]
fn missing_labels_are_worse_with_prometheus() {
    let bare = changed(DUMP, "\"tag_name\": \"kind\"", "\"tag_name\": \"other\"");
    assert_eq!(wrong(&bare, STATS, &expected()), [(Check::Statistics, Level::Warn)]);
    let expected_prometheus = Expected { prometheus: true, ..expected() };
    assert_eq!(wrong(&bare, STATS, &expected_prometheus), [(Check::Statistics, Level::Fail)]);
}

#[test]
fn proxies_of_a_fleet_agree_and_have_unique_ids() {
    let mut nodes = NodeRegistry::default();
    let proxy = |name: &str| ProxyEndpoint { name: name.into(), address: String::new() };
    nodes.add(&proxy("a"), &pages(DUMP, STATS));
    let older = changed(STATS, r#"serin.generation","value":7"#, r#"serin.generation","value":6"#);
    nodes.add(&proxy("b"), &pages(DUMP, &older));
    let group = Expected { group: Some("edge".to_owned()), ..Expected::nothing() };
    let found = nodes.check_consistency(&group);
    let [ids, generations] = &found[..] else { panic!("{found:?}") };
    assert_eq!(ids.message, "a, b have the same node.id, \"edge-1\"");
    assert_eq!(generations.message, "b run generation 6, others 7");
    // Proxies that follow a file may share an id; each is compared with the file.
    assert_eq!(nodes.check_consistency(&expected()), []);
}
