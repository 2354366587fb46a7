//! Restarts of serin and of proxies: no request fails, and every proxy's generation is known.

use std::time::Duration;

use serin_tests::{Load, LoadPlan};

use crate::world::{DiscoveryMode, Serin, Shop, acknowledged, template, version};

async fn serin_is_gone_for_a_while(way: DiscoveryMode) {
    let (mut serin, shop) = (Serin::start(), Shop::open().await);
    let envoys = [shop.envoy(&serin, "edge-1", way).await, shop.envoy(&serin, "edge-2", way).await];
    let template = template(&envoys[0]);
    serin.publish(&template, 1, "v2");
    serin.until_acknowledged(&["edge-1", "edge-2"], "1").await;
    for envoy in &envoys {
        envoy.until_live(1).await;
    }

    let load = Load::start(LoadPlan {
        max_duration: Duration::from_secs(120),
        ..LoadPlan::new(envoys[0].listener(), 50)
    });
    serin.stop();
    tokio::time::sleep(Duration::from_secs(3)).await;
    for envoy in &envoys {
        assert_eq!(version(envoy).await.as_deref(), Some("v2"));
    }
    // The returned server has not published yet: the proxies report their configuration.
    serin.restart(None);
    serin
        .until("both proxies are connected", |proxies| {
            proxies.len() == 2 && proxies.iter().all(|proxy| acknowledged(proxy) == Some("1"))
        })
        .await;
    serin.publish(&template, 1, "v2");
    serin.until_acknowledged(&["edge-1", "edge-2"], "1").await;
    let report = load.stop().await;
    report.assert_none_failed();
    assert_eq!(report.total().requests, shop.v2.stats().requests as usize - 2);

    serin.publish(&template, 2, "v1");
    serin.until_acknowledged(&["edge-1", "edge-2"], "2").await;
    for envoy in &envoys {
        envoy.until_live(2).await;
        assert_eq!(version(envoy).await.as_deref(), Some("v1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_stream_of_its_own() {
    serin_is_gone_for_a_while(DiscoveryMode::Ecds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ads() {
    serin_is_gone_for_a_while(DiscoveryMode::Ads).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnecting_envoy_gets_the_current_state() {
    let (serin, shop) = (Serin::start(), Shop::open().await);
    let mut envoy = shop.envoy(&serin, "edge-1", DiscoveryMode::Ecds).await;
    let template = template(&envoy);
    serin.publish(&template, 1, "v1");
    serin.until_acknowledged(&["edge-1"], "1").await;
    envoy.kill().await;
    serin
        .until("the server notices the disconnect", |proxies| {
            proxies.len() == 1 && !proxies[0].connected() && acknowledged(&proxies[0]) == Some("1")
        })
        .await;
    serin.publish(&template, 2, "v2");
    envoy.restart().await;
    // From its first request on.
    assert_eq!(version(&envoy).await.as_deref(), Some("v2"));
    serin.until_acknowledged(&["edge-1"], "2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envoy_that_starts_without_serin_serves_the_baseline() {
    let (mut serin, shop) = (Serin::start(), Shop::open().await);
    serin.stop();
    let envoy = shop.envoy(&serin, "edge-1", DiscoveryMode::Ecds).await;
    assert_eq!(version(&envoy).await.as_deref(), Some("v1"));
    serin.restart(None);
    serin.publish(&template(&envoy), 1, "v2");
    serin.until_acknowledged(&["edge-1"], "1").await;
    envoy.until_live(1).await;
    assert_eq!(version(&envoy).await.as_deref(), Some("v2"));
}
