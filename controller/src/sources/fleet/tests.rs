use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::Router;
use axum::routing::get;
use serin_core::config::discovery::DiscoveryConfig;
use serin_core::observation::FleetDelta;
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::*;

/// A fake Envoy that has counted these requests, and answers unless it is frozen.
#[derive(Clone, Default)]
struct Fake {
    requests: Arc<AtomicU64>,
    frozen: Arc<AtomicBool>,
}

impl Fake {
    /// Starts it; returns its address.
    async fn serve(&self) -> String {
        let fake = self.clone();
        let page = move || {
            let fake = fake.clone();
            async move {
                while fake.frozen.load(Ordering::SeqCst) {
                    sleep(Duration::from_millis(10)).await;
                }
                let requests = fake.requests.load(Ordering::SeqCst);
                format!(
                    r#"{{"stats":[{{"name":"wasmcustom.serin.generation","value":7}},
                    {{"name":"wasmcustom.serin.service=.=shop;.;version=.=v1;.;le=.=+Inf;.;latency_ms_bucket","value":{requests}}}]}}"#
                )
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let router = Router::new().route("/stats", get(page));
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn count(&self, requests: u64) {
        self.requests.fetch_add(requests, Ordering::SeqCst);
    }
}

fn fleet(discovery: DiscoveryConfig) -> FleetSource {
    let service = "shop".parse().unwrap();
    let reader = StatsReader::Admin { service, filter: "serin".to_owned() };
    FleetSource::new(ProxyDiscovery::new(discovery), Scraper::default(), reader)
}

async fn delta(fleet: &mut FleetSource) -> FleetDelta {
    match fleet.observe().await {
        Observation::Delta(delta) => delta,
        Observation::Unreachable { reason } => panic!("{reason}"),
    }
}

fn requests(delta: &FleetDelta) -> u64 {
    delta.versions.values().map(|version| version.requests).sum()
}

#[tokio::test]
async fn a_frozen_proxy_is_named_and_delays_no_other() {
    let proxies: Vec<Fake> = (0..3).map(|_| Fake::default()).collect();
    let mut addresses = Vec::new();
    for proxy in &proxies {
        addresses.push(proxy.serve().await);
    }
    let mut fleet = fleet(DiscoveryConfig::Addresses(addresses.clone()));
    delta(&mut fleet).await;
    proxies.iter().for_each(|proxy| proxy.count(10));
    assert_eq!(requests(&delta(&mut fleet).await), 30);
    proxies[1].frozen.store(true, Ordering::SeqCst);
    proxies.iter().for_each(|proxy| proxy.count(10));
    let first = delta(&mut fleet).await;
    assert_eq!((requests(&first), first.health.unreachable.len()), (20, 1));
    assert_eq!(
        first.health.unreachable[0].to_string(),
        format!("{} (no answer within 1s)", addresses[1])
    );
    let began = Instant::now();
    for _ in 0..5 {
        proxies.iter().for_each(|proxy| proxy.count(1));
        assert_eq!(requests(&delta(&mut fleet).await), 2);
    }
    assert!(began.elapsed() < 5 * SCRAPE_TIMEOUT, "{:?}", began.elapsed());
    proxies[1].frozen.store(false, Ordering::SeqCst);
    while !delta(&mut fleet).await.health.unreachable.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    proxies.iter().for_each(|proxy| proxy.count(1));
    assert_eq!(requests(&delta(&mut fleet).await), 3);
}

#[tokio::test]
async fn a_new_proxy_is_read_and_a_broken_file_is_reported() {
    let (one, two) = (Fake::default(), Fake::default());
    let (first, second) = (one.serve().await, two.serve().await);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("proxies.json");
    let mut fleet = fleet(DiscoveryConfig::File(path.clone()));
    let Observation::Unreachable { reason } = fleet.observe().await else {
        panic!("nothing is there")
    };
    assert!(reason.starts_with("there is no proxy; spec.envoy.proxies.file: "), "{reason}");
    let write = |text: String| std::fs::write(&path, text).unwrap();
    write(format!(r#"[{{"targets":["{first}"]}}]"#));
    assert_eq!(delta(&mut fleet).await.health.proxies, 1);
    write(format!(r#"[{{"targets":["{first}", "{second}"]}}]"#));
    two.count(1_000);
    let added = delta(&mut fleet).await;
    assert_eq!((added.health.proxies, requests(&added)), (2, 0), "earlier counts are not new");
    write("[".to_owned());
    one.count(1);
    two.count(2);
    let second = delta(&mut fleet).await;
    assert_eq!((second.health.proxies, requests(&second)), (2, 3));
    let warning = second.health.warning.unwrap();
    assert!(warning.ends_with("; its last list stays in force"), "{warning}");
}

#[tokio::test]
async fn an_unreachable_single_proxy_is_reported() {
    let mut fleet = fleet(DiscoveryConfig::Single("http://127.0.0.1:1".to_owned()));
    let Observation::Unreachable { reason } = fleet.observe().await else {
        panic!("nothing is there")
    };
    assert!(
        reason.starts_with(
            "Envoy's admin interface at http://127.0.0.1:1 can't be reached: Connection refused"
        ),
        "{reason}"
    );
}
