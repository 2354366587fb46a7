//! The findings of `serin doctor` for healthy and for faulty setups of real Envoys.

use std::time::Duration;

use serde_json::Value;
use serin_tests::{Prometheus, Setup, Spec, ports, serin, text, until};

use crate::world::World;

/// The limit from traffic, or the start of a Prometheus, to its visible effect.
const TIMEOUT: Duration = Duration::from_secs(60);

/// The findings, and the exit code.
struct Report {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Report {
    fn of(&self, level: &str) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["level"] == level).collect()
    }

    /// The problems that a check found: their levels and texts.
    fn wrong(&self, check: &str) -> (Vec<&str>, String) {
        let of_check = self.findings.iter().filter(|it| it["check"] == check);
        let wrong: Vec<_> = of_check.filter(|it| it["level"] != "ok").collect();
        let levels = wrong.iter().map(|it| it["level"].as_str().expect("a level")).collect();
        (levels, wrong.iter().map(|it| format!("{it}\n")).collect())
    }
}

async fn doctor(arguments: &[&str]) -> Report {
    let mut command = serin();
    let output = command.args(["doctor", "--output", "json"]).args(arguments).output().await;
    let output = output.expect("serin runs");
    let findings = text(&output.stdout);
    let findings = findings.lines().map(|line| serde_json::from_str(line).expect("JSON"));
    Report { code: output.status.code(), findings: findings.collect() }
}

async fn of_rollout(world: &World, yaml: &str) -> Report {
    let path = world.envoy.dir().join("rollout.yaml");
    std::fs::write(&path, yaml).expect("a specification");
    doctor(&[path.to_str().expect("a path in UTF-8")]).await
}

/// A world with counted requests of the shop.
async fn counted(change: impl FnOnce(Setup) -> Setup) -> World {
    let configuration = serde_json::json!({"schema": 1, "generation": 3, "services": [{
        "name": "shop", "authorities": ["*"], "sticky": [{"header": "x-user-id"}],
        "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
        "buckets": [{"version": "v2", "count": 500_000}, {"version": "v1", "count": 500_000}]}]});
    let world = World::with(|setup| change(setup.configuration(configuration.to_string()))).await;
    let load = world.load();
    until(TIMEOUT, "requests are counted", async || {
        let stats = world.envoy.stats().await;
        let chosen = stats.iter().filter(|(name, _)| name.ends_with(";chosen")).map(|(_, n)| n);
        let chosen: u64 = chosen.sum();
        if chosen > 100 { Ok(()) } else { Err(chosen) }
    })
    .await;
    load.stop().await;
    world.envoy.until_flushed().await;
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_finds_no_fault_in_a_healthy_setup() {
    let world = counted(|setup| setup).await;
    let report = of_rollout(&world, &world.spec().yaml()).await;
    assert_eq!(report.code, Some(0), "{:?}", report.of("fail"));
    let ok: Vec<_> = report.of("ok").iter().map(|it| it["check"].as_str().expect("one")).collect();
    assert_eq!(ok.len(), report.findings.len(), "{:?}", report.findings);
    for check in [
        "filterFile",
        "admin",
        "version",
        "clock",
        "filter",
        "module",
        "failurePolicy",
        "generation",
        "guard",
        "routes",
        "clusters",
        "traffic",
        "statistics",
    ] {
        assert!(ok.contains(&check), "{check}");
    }
    // Without a rollout the services are those of the filter's own configuration.
    let admin = world.envoy.admin().to_string();
    let report = doctor(&["--admin", &admin]).await;
    assert_eq!((report.code, report.of("ok").len()), (Some(0), report.findings.len()));
    assert!(report.wrong("routes").0.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_a_missing_header_route() {
    const ROUTE: &str = "name: x-serin-version, string_match";
    let world = counted(|setup| setup.replace(ROUTE, "name: x-other, string_match")).await;
    let report = of_rollout(&world, &world.spec().yaml()).await;
    let (levels, text) = report.wrong("routes");
    assert_eq!((report.code, levels), (Some(1), vec!["fail"]), "{:?}", report.findings);
    assert!(text.contains("a request for version v2 (prefix /) is routed to shop-v1"), "{text}");
    // The counts of served requests show it, too.
    assert_eq!(report.wrong("traffic").0, ["warn"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_a_missing_cluster() {
    let world = World::new().await;
    let yaml = world.spec().yaml().replace("shop-v2 }", "shop-v3 }");
    let report = of_rollout(&world, &yaml).await;
    let (levels, text) = report.wrong("clusters");
    assert_eq!((report.code, levels), (Some(1), vec!["fail"]), "{:?}", report.findings);
    assert!(text.contains("the cluster shop-v3 (version v2) does not exist"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_a_missing_filter() {
    let world = World::with(|setup| setup.replace("- name: serin\n", "- name: other\n")).await;
    let report = of_rollout(&world, &world.spec().yaml()).await;
    let (levels, text) = report.wrong("filter");
    assert_eq!((report.code, levels), (Some(1), vec!["fail"]), "{:?}", report.findings);
    assert!(text.contains("no listener has the filter"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_missing_tag_rules() {
    let world = counted(|setup| setup.replace(r"^wasmcustom\.serin\.", r"^nothing\.")).await;
    let report = of_rollout(&world, &world.spec().yaml()).await;
    let (levels, text) = report.wrong("statistics");
    // The controller itself needs no labels.
    assert_eq!((report.code, levels), (Some(0), vec!["warn"]), "{:?}", report.findings);
    assert!(text.contains("without the labels: service, version, reason, class"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_an_unresponsive_admin_interface() {
    let mut world = World::new().await;
    let yaml = world.spec().yaml();
    world.envoy.kill().await;
    let report = of_rollout(&world, &yaml).await;
    let (levels, text) = report.wrong("admin");
    assert_eq!((report.code, levels), (Some(1), vec!["fail"]), "{:?}", report.findings);
    assert!(text.contains(&format!("http://{} can't be reached", world.envoy.admin())), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_a_file_that_was_edited_in_place() {
    let world = counted(|setup| setup).await;
    let file = world.envoy.filter_file();
    let given = std::fs::read_to_string(&file).expect("the filter's file");
    let edited = given.replace(r#"\"generation\":3"#, r#"\"generation\":4"#);
    assert_ne!(edited, given);
    std::fs::write(&file, edited).expect("the filter's file");
    let report = of_rollout(&world, &world.spec().yaml()).await;
    let (levels, text) = report.wrong("generation");
    assert_eq!((report.code, levels), (Some(1), vec!["fail"]), "{:?}", report.findings);
    assert!(text.contains("Envoy runs generation 3") && text.contains("has 4"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_reports_a_disconnected_proxy() {
    let nobody = ([127, 0, 0, 1], ports::free()).into();
    let world = World::with(|setup| setup.xds(nobody)).await;
    let report = of_rollout(&world, &world.spec().xds("edge").yaml()).await;
    let (levels, text) = report.wrong("xds");
    assert_eq!((report.code, levels), (Some(1), vec!["fail"]), "{:?}", report.findings);
    assert!(text.contains("not connected to serin's xDS server"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_queries_prometheus() {
    let world = counted(|setup| setup).await;
    let Some(mut prometheus) = Prometheus::start(&[world.envoy.admin()]).await else { return };
    let evidence = format!(
        "prometheus: {{ url: 'http://{}', instances: {{ job: envoy }} }}",
        prometheus.address()
    );
    let yaml = Spec::new(&world.envoy).step("100%", TIMEOUT, 1).evidence(evidence).yaml();
    until(TIMEOUT, "Prometheus has scraped", async || {
        let report = of_rollout(&world, &yaml).await;
        if report.wrong("prometheus").0.is_empty() { Ok(()) } else { Err(report.findings) }
    })
    .await;
    prometheus.kill().await;
    let report = of_rollout(&world, &yaml).await;
    assert_eq!((report.code, report.wrong("prometheus").0), (Some(1), vec!["fail"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_refuses_an_invalid_rollout() {
    let world = World::new().await;
    let report = of_rollout(&world, "kind: ServiceRollout\n").await;
    assert_eq!((report.code, report.findings.len()), (Some(2), 0));
}
