//! Envoys observed through a real Prometheus. Without one these tests are skipped with a note;
//! `make test-prometheus` fetches it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serin_tests::{Fault, Prometheus, RolloutProcess, RolloutResult, Spec, until};

use crate::detour::Detour;
use crate::world::{World, kind, message, stop};

const SECOND: Duration = Duration::from_secs(1);

/// From the start of a Prometheus to its second scrape of all targets.
const SCRAPED: Duration = Duration::from_secs(20);

fn spec(world: &World, address: SocketAddr) -> Spec {
    let prometheus =
        format!("prometheus: {{ url: 'http://{address}', instances: {{ job: envoy }} }}");
    Spec::new(&world.envoys[0]).evidence(prometheus)
}

/// Envoys with a Prometheus that has scraped them all.
async fn scraped(envoys: usize) -> Option<(World, Prometheus)> {
    let world = World::new(envoys).await;
    let prometheus = Prometheus::start(&world.admins()).await?;
    let path = "/api/v1/query?query=count(serin_generation%20offset%202s)";
    let expected = format!("\"{envoys}\"");
    until(SCRAPED, "every Envoy is scraped", async || {
        let answer = serin_tests::http::get(prometheus.address(), path).await?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        if text.contains(&expected) { Ok(()) } else { Err(text) }
    })
    .await;
    Some((world, prometheus))
}

/// The machine decided nothing between these two moments.
fn assert_waited(ended: &RolloutResult, begin: Instant, end: Instant) {
    assert_eq!(ended.code, Some(0), "{:?}", ended.events.last());
    for (heard, event) in &ended.events {
        let decided = ["gateOpened", "live", "shifting", "rollingBack", "ended"];
        let during = *heard > begin && *heard < end;
        assert!(!during || !decided.iter().any(|kind| event["event"] == *kind), "{event}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_shows_a_promotion() {
    let Some((world, prometheus)) = scraped(3).await else { return };
    let loads = world.load();
    let spec = spec(&world, prometheus.address()).step("5%", 4 * SECOND, 20);
    let spec = spec.step("50%", 4 * SECOND, 100).step("100%", 4 * SECOND, 100);
    let ended = RolloutProcess::start(&world.envoys[0], &spec, &[]).end().await;
    let reports = stop(loads).await;
    assert_eq!(ended.code, Some(0), "{} {:?}", ended.stderr, ended.events.last());
    assert_eq!((ended.all("gateOpened").count(), ended.all("blocked").count()), (3, 0));
    let counted = ended.summary()["candidateRequests"].as_u64().expect("a number");
    let served: usize = reports.iter().map(|report| report.tally(Some("v2")).requests).sum();
    assert!(counted > 0 && counted <= served as u64, "{counted} counted, {served} served");
    world.assert_all_follow(&ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_shows_harm() {
    let Some((world, prometheus)) = scraped(2).await else { return };
    let loads = world.load();
    let spec = spec(&world, prometheus.address()).without_tripwire();
    let spec = spec.step("50%", 30 * SECOND, 100).step("100%", SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    rollout.until_live(1).await;
    world.v2.set_faults([Fault::errors(0.3)]);
    let ended = rollout.end().await;
    stop(loads).await;
    assert_eq!(ended.code, Some(3), "{:?}", ended.events.last());
    assert_eq!(ended.summary()["reason"]["sli"], "errors");
    world.assert_all_follow(&ended).await;
}

/// A metric that limits the number of requests, by a query with both versions; the evidence comes
/// from the admin interfaces.
fn held_to(world: &World, prometheus: &Prometheus, limit: &str) -> Spec {
    let requests =
        r#"sum(serin_latency_ms_bucket{service="{{service}}",version="{{version}}",le="+Inf"})"#;
    let url = prometheus.address();
    Spec::new(&world.envoys[0]).metrics(&format!(
        "{{ prometheus: {{ url: 'http://{url}' }}, every: 1s, queries: [{{ name: requests, query: '{requests}', {limit}, consecutive: 2 }}] }}"
    ))
}

/// A rollout with this limit, under load, whose first step bakes for so long.
async fn rolled_out(
    world: &World,
    prometheus: &Prometheus,
    limit: &str,
    bake: Duration,
) -> RolloutResult {
    let loads = world.load();
    let spec = held_to(world, prometheus, limit).step("50%", bake, 50);
    let spec = spec.step("100%", 4 * SECOND, 50);
    let ended = RolloutProcess::start(&world.envoys[0], &spec, &[]).end().await;
    stop(loads).await;
    ended
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_within_its_limit_lets_the_rollout_pass() {
    let Some((world, prometheus)) = scraped(1).await else { return };
    let ended = rolled_out(&world, &prometheus, "atLeast: 1", 4 * SECOND).await;
    assert_eq!(ended.code, Some(0), "{} {:?}", ended.stderr, ended.events.last());
    for (_, event) in ended.all("gateOpened") {
        let metric = &event["status"]["metrics"][0];
        assert_eq!((&metric["name"], &metric["bad"]), (&"requests".into(), &0.into()), "{event}");
        assert!(
            metric["candidate"].as_f64() > Some(0.0) && metric["baseline"].is_number(),
            "{event}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metric_beyond_its_limit_rolls_back() {
    let Some((world, prometheus)) = scraped(1).await else { return };
    let ended = rolled_out(&world, &prometheus, "atMost: 50", 60 * SECOND).await;
    assert_eq!(ended.code, Some(3), "{} {:?}", ended.stderr, ended.events.last());
    let reason = &ended.summary()["reason"];
    assert_eq!((&reason["kind"], &reason["metric"]), (&"metric".into(), &"requests".into()));
    assert_eq!((&reason["limit"], &reason["consecutive"]), (&"at most 50".into(), &2.into()));
    assert!(reason["candidate"].as_f64() > Some(50.0), "{reason}");
    world.assert_all_follow(&ended).await;
}

/// Without a response of Prometheus, no gate opens and nothing is rolled back.
#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_prometheus_stops_progress_only() {
    let Some((world, mut prometheus)) = scraped(1).await else { return };
    let loads = world.load();
    prometheus.kill().await;
    let spec = held_to(&world, &prometheus, "atLeast: 0").step("50%", SECOND, 10);
    let spec = spec.step("100%", SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    let unknown = |event: &serde_json::Value| {
        kind("metricUnavailable")(event) && message(event).contains("can't be reached")
    };
    let (gone, _) = rollout.until("the metric is unavailable", unknown).await;
    tokio::time::sleep(3 * SECOND).await;
    let end = Instant::now();
    prometheus.restart().await;
    let ended = rollout.end().await;
    stop(loads).await;
    assert_waited(&ended, gone, end);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_is_stopped_slow_and_garbled() {
    let Some((world, mut prometheus)) = scraped(2).await else { return };
    let (detour, address) = Detour::start(prometheus.address()).await;
    let loads = world.load();
    let spec = spec(&world, address).step("50%", 8 * SECOND, 50).step("100%", SECOND, 10);
    let rollout = RolloutProcess::start(&world.envoys[0], &spec, &[]);
    rollout.until_live(1).await;
    let says = |what: &'static str| {
        move |event: &serde_json::Value| kind("unreachable")(event) && message(event).contains(what)
    };
    detour.garble(true);
    rollout.until("garbage", says("answered something that is not the result of a query")).await;
    detour.garble(false);
    rollout.until("the rollout is unblocked", |event| event["event"] == "unblocked").await;
    prometheus.freeze(true);
    rollout.until("the query times out", says("has not answered within 5s")).await;
    prometheus.freeze(false);
    prometheus.kill().await;
    // The detour answers like a gateway.
    let gone = Instant::now();
    tokio::time::sleep(3 * SECOND).await;
    let end = Instant::now();
    prometheus.restart().await;
    let ended = rollout.end().await;
    stop(loads).await;
    assert_waited(&ended, gone, end);
    assert!(ended.all("unblocked").count() > 1);
}
