//! The statistics of a real Envoy, which simulated proxies show.

use std::time::Duration;

use serde_json::{Value, json};
use serin_tests::{Envoy, Load, LoadPlan, Setup, Upstream, http};

/// The path that serin requests from an Envoy.
const PATH: &str = "/stats?usedonly&format=json&filter=^(wasmcustom.serin|extension_config_discovery.http_filter.)";

/// Load, in requests per second, and its duration.
const RATE: u32 = 300;
const TIME: Duration = Duration::from_secs(3);

/// The statistics page of an Envoy with the service `shop`. Both versions have had requests of all
/// latencies, which makes the page as long as such pages get.
pub(crate) async fn statistics() -> Value {
    eprintln!("statistics of a real Envoy");
    let (v1, v2) = (Upstream::start("v1").await, Upstream::start("v2").await);
    for version in [&v1, &v2] {
        version.set_latency(Duration::from_micros(500));
    }
    let configuration = json!({"schema": 1, "generation": 1, "services": [{
        "name": "shop", "authorities": ["*"], "sticky": [{"header": "x-user-id"}],
        "correlation": ["traceId", "requestId"], "salt": "shop-v2", "overdueMs": 5000,
        "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
        "buckets": [{"version": "v2", "count": 500_000}, {"version": "v1", "count": 500_000}],
        "tripwire": {"toleratedPpm": 100_000}}]});
    let setup = Setup::new(v1.address(), v2.address()).configuration(configuration.to_string());
    let envoy = Envoy::start(&setup).await;
    let load = Load::start(LoadPlan::new(envoy.listener(), RATE));
    tokio::time::sleep(TIME).await;
    load.stop().await;
    envoy.until_flushed().await;
    let page = http::get(envoy.admin(), PATH).await.expect("a page");
    let mut page: Value = serde_json::from_slice(page.body()).expect("JSON");
    page["stats"].take()
}
