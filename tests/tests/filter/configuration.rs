//! Rejected and replaced configurations, and counts across replacement and shutdown.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::{Load, LoadPlan, Protocol, until};
use tokio::net::UdpSocket;
use tokio::time::interval;

use crate::world::{DEADLINE, World, all, generation, only_shop, shop};

/// The filter rejects the configuration, keeps the previous one and accepts a later one.
async fn assert_rejected(text: &str, reason: &str) {
    let world = World::new(only_shop(json!({"buckets": all("v2")}))).await;
    world.envoy.give(text);
    let rejected = "extension_config_discovery.http_filter.serin.update_rejected";
    until(DEADLINE, "the configuration is rejected", async || {
        match world.envoy.stat(rejected).await {
            Some(1) => Ok(()),
            other => Err(other),
        }
    })
    .await;
    assert!(world.sum("wasmcustom.serin.config_rejected").await > 0);
    let message = format!("configuration rejected: {reason}");
    until(DEADLINE, "Envoy logs the reason", async || {
        let log = world.envoy.log();
        if log.contains(&message) { Ok(()) } else { Err(log) }
    })
    .await;
    world.assert_version("v2", |call| call).await;
    let stats = world.envoy.until_flushed().await;
    assert_eq!(stats["wasmcustom.serin.generation"], 1);
    assert_eq!(stats.get("wasmcustom.serin.ticks_behind"), None, "generation 1 is the newest");
    world.configure(3, only_shop(json!({"buckets": all("v1")}))).await;
    world.assert_version("v1", |call| call).await;
    world.assert_no_trap().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_field_is_named() {
    let services = only_shop(json!({"versions": [{"name": "v1", "cluster": "shop-v1"}]}));
    let reason = "services[0].buckets[0].version: unknown version \"v2\"";
    assert_rejected(&generation(2, &services), reason).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_rejected() {
    let text = json!({"schema": 2, "generation": 2, "services": {"unknown": "field"}});
    assert_rejected(&text.to_string(), "schema 2 is unsupported; this filter reads 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_schema_is_rejected() {
    let text = json!({"schema": 0, "generation": 2, "services": []});
    assert_rejected(&text.to_string(), "schema 0 is unsupported; this filter reads 1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_json_is_rejected() {
    assert_rejected("{\"schema\": 1,", "not JSON: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replacement_every_250_ms_loses_no_count() {
    let world = World::new(only_shop(json!({}))).await;
    let plan = |protocol| LoadPlan { protocol, ..LoadPlan::new(world.envoy.listener(), 200) };
    let loads = [Protocol::Http1, Protocol::Grpc].map(|protocol| Load::start(plan(protocol)));
    let mut ticks = interval(Duration::from_millis(250));
    const LAST: u64 = 20;
    for number in 2..=LAST {
        ticks.tick().await;
        let v2 = number * 40_000;
        let buckets =
            json!([{"version": "v2", "count": v2}, {"version": "v1", "count": 1_000_000 - v2}]);
        world.envoy.give(&generation(number, &only_shop(json!({"buckets": buckets}))));
    }
    world.envoy.until_live(LAST).await;
    for load in loads {
        load.stop().await.assert_none_failed();
    }
    let served = [("v1", &world.v1), ("v2", &world.v2)];
    for (version, upstream) in served {
        let requests = upstream.stats().requests;
        assert!(requests > 100, "{version}: {requests}");
        for stat in ["chosen header", "requests", "responses 2xx"] {
            let name = format!("{version} {stat}");
            until(DEADLINE, &name, async || match world.count(&name).await {
                count if count == requests => Ok(()),
                other => Err((other, requests)),
            })
            .await;
        }
    }
    world.assert_no_trap().await;
}

/// A statistics sink. Envoy flushes the last counts to it after the admin interface is gone.
struct Sink {
    counters: Arc<Mutex<BTreeMap<String, u64>>>,
    port: u16,
}

impl Sink {
    async fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let port = socket.local_addr().expect("an address").port();
        let counters = Arc::new(Mutex::new(BTreeMap::new()));
        let all = counters.clone();
        tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length) = socket.recv(&mut buffer).await {
                let text = String::from_utf8_lossy(&buffer[..length]);
                let mut counters = all.lock().expect("no panic");
                for (name, by) in text.lines().filter_map(counter) {
                    *counters.entry(name).or_insert(0) += by;
                }
            }
        });
        Self { counters, port }
    }

    fn get(&self, name: &str) -> u64 {
        self.counters.lock().expect("no panic").get(name).copied().unwrap_or(0)
    }

    /// The sink's configuration. Large datagrams avoid drops by the kernel.
    fn bootstrap(&self) -> String {
        format!(
            r#"stats_sinks:
  - name: envoy.stat_sinks.dog_statsd
    typed_config:
      "@type": type.googleapis.com/envoy.config.metrics.v3.DogStatsdSink
      address: {{ socket_address: {{ protocol: UDP, address: 127.0.0.1, port_value: {} }} }}
      max_bytes_per_datagram: 32000

stats_config:"#,
            self.port
        )
    }
}

/// The name with its tags, and the increment, of a line such as
/// `envoy.wasmcustom.serin.requests:5|c|#service:shop,version:v2`.
fn counter(line: &str) -> Option<(String, u64)> {
    let (name, rest) = line.strip_prefix("envoy.wasmcustom.serin.")?.split_once(':')?;
    let (by, tags) = rest.split_once("|c")?;
    let mut tags: Vec<_> = tags.strip_prefix("|#").unwrap_or("").split(',').collect();
    tags.sort_unstable();
    Some((format!("{name} {}", tags.join(" ")), by.parse().ok()?))
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_loses_no_count() {
    let sink = Sink::start().await;
    let mut world = World::with(only_shop(json!({})), |setup| {
        setup.replace("\nstats_config:", &format!("\n{}", sink.bootstrap()))
    })
    .await;
    world.load(400, |plan| LoadPlan { rate: 400, ..plan }).await;
    // The workers have not flushed the last requests yet.
    world.envoy.stop().await;
    for (version, upstream) in [("v1", &world.v1), ("v2", &world.v2)] {
        let requests = upstream.stats().requests;
        assert!(requests > 100, "{version}: {requests}");
        let name = format!("requests service:shop version:{version}");
        until(DEADLINE, "the last flush", async || match sink.get(&name) {
            count if count == requests => Ok(()),
            other => Err((other, requests, sink.counters.lock().expect("no panic").clone())),
        })
        .await;
    }
}

/// The counts of a removed service stay.
#[tokio::test(flavor = "multi_thread")]
async fn services_can_be_removed_and_added() {
    let other = || shop(json!({"name": "other", "authorities": ["other.example"]}));
    let world = World::new(json!([shop(json!({"buckets": all("v2")})), other()])).await;
    world.assert_version("v2", |call| call).await;
    world.configure(2, Value::Array(vec![other()])).await;
    world.assert_version("v1", |call| call).await;
    let v2 = [("v2 chosen random", 3), ("v2 requests", 3), ("v2 responses 2xx", 3)];
    world.assert_counts(&v2).await;
    world.configure(3, json!([other(), shop(json!({"buckets": all("v2")}))])).await;
    world.assert_version("v2", |call| call).await;
    world.assert_counts(&v2.map(|(name, count)| (name, 2 * count))).await;
}

/// The controller detects a restart by this gauge.
#[tokio::test(flavor = "multi_thread")]
async fn the_start_time_identifies_the_process() {
    const STARTED: &str = "wasmcustom.serin.start_time_seconds";
    let mut world = World::new(only_shop(json!({}))).await;
    let started = world.envoy.stat(STARTED).await.expect("a start time");
    // The gauge has a resolution of one second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    world.configure(2, only_shop(json!({"buckets": all("v2")}))).await;
    assert_eq!(world.envoy.stat(STARTED).await, Some(started));
    world.envoy.restart().await;
    let restarted = world.envoy.until_flushed().await;
    assert!(restarted[STARTED] > started, "{} > {started}", restarted[STARTED]);
}
