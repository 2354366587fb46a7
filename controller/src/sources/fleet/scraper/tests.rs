use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch as switch;
use tokio::time::sleep;

use super::*;

/// A page whose counters change at every read if `moving`.
struct Fake {
    address: String,
    requests: Arc<AtomicUsize>,
    /// Whether it answers.
    open: switch::Sender<bool>,
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn fake() -> Fake {
    let requests = Arc::new(AtomicUsize::new(0));
    let (open, gate) = switch::channel(true);
    let count = requests.clone();
    let page = move || {
        let (count, mut gate) = (count.clone(), gate.clone());
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            gate.wait_for(|open| *open).await.unwrap();
            r#"{"stats":[{"name":"wasmcustom.serin.generation","value":7}]}"#
        }
    };
    let address = serve(Router::new().route("/stats", get(page))).await;
    Fake { address, requests, open }
}

fn generation(view: &StatsPage) -> Option<u64> {
    let StatsPage::Admin(page) = view else { panic!("{view:?}") };
    page.snapshot(&"shop".parse().unwrap(), "serin").generation.map(|generation| generation.0)
}

#[tokio::test]
async fn one_scrape_serves_concurrent_polls() {
    let (fake, scraper) = (fake().await, Scraper::default());
    let fresh = Instant::now();
    let pending: Vec<_> =
        (0..50).map(|_| scraper.target(&fake.address, StatsFormat::Admin).read(fresh)).collect();
    // The target has no user left, so the next scrape is a new target's.
    let target = scraper.target(&fake.address, StatsFormat::Admin);
    for pending in pending {
        assert_eq!(generation(&pending.page().await.unwrap()), Some(7));
    }
    target.read(fresh).page().await.unwrap();
    let before = fake.requests.load(Ordering::SeqCst);
    target.read(fresh).page().await.unwrap();
    assert_eq!(fake.requests.load(Ordering::SeqCst), before, "fresh enough");
    target.read(Instant::now()).page().await.unwrap();
    assert_eq!(fake.requests.load(Ordering::SeqCst), before + 2, "two readings that agree");
}

#[tokio::test]
async fn a_hanging_proxy_has_one_request_and_delays_one_poll() {
    let (fake, scraper) = (fake().await, Scraper::default());
    let target = scraper.target(&fake.address, StatsFormat::Admin);
    target.read(Instant::now()).page().await.unwrap();
    let before = fake.requests.load(Ordering::SeqCst);
    fake.open.send_replace(false);
    let began = Instant::now();
    assert_eq!(target.read(began).page().await.unwrap_err(), ScrapeError::Timeout(SCRAPE_TIMEOUT));
    assert!(began.elapsed() >= SCRAPE_TIMEOUT);
    let again = Instant::now();
    for _ in 0..20 {
        assert!(target.read(Instant::now()).page().await.is_err());
    }
    assert!(again.elapsed() < SCRAPE_TIMEOUT, "its deadline has passed already");
    assert_eq!(fake.requests.load(Ordering::SeqCst), before + 1);
    fake.open.send_replace(true);
    while target.read(Instant::now()).page().await.is_err() {
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn invalid_pages_and_unreachable_proxies() {
    let broken = Router::new().route("/stats", get(async || StatusCode::INTERNAL_SERVER_ERROR));
    let html = Router::new().route("/stats", get(async || "<html>"));
    for (address, expected) in [
        ("http://127.0.0.1:1".to_owned(), "can't be reached: Connection refused"),
        (serve(broken).await, "answered with status 500 Internal Server Error"),
        (serve(html).await, "answered something that is not a list of statistics: "),
    ] {
        let error = Scraper::default()
            .target(&address, StatsFormat::Admin)
            .read(Instant::now())
            .page()
            .await;
        let sentence = error.unwrap_err().of(&address);
        let expected = format!("Envoy's admin interface at {address} {expected}");
        assert!(sentence.starts_with(&expected), "{sentence}");
    }
}
