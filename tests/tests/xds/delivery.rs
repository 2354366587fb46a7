//! Envoys run the published configuration, and the server knows it.

use std::time::{Duration, Instant};

use serde_json::Value;
use serin_tests::{Setup, until};

use crate::world::{
    DiscoveryMode, GROUP, SOON, Serin, Shop, acknowledged, given, template, version,
};

async fn is_delivered(way: DiscoveryMode) {
    let (serin, shop) = (Serin::start(), Shop::open().await);
    let envoy = shop.envoy(&serin, "edge-1", way).await;
    let template = template(&envoy);
    // The configuration did not exist when Envoy asked.
    serin.publish(&template, 1, "v1");
    serin.until_acknowledged(&["edge-1"], "1").await;
    envoy.until_live(1).await;
    assert_eq!(version(&envoy).await.as_deref(), Some("v1"));

    serin.publish(&template, 2, "v2");
    serin.until_acknowledged(&["edge-1"], "2").await;
    envoy.until_live(2).await;
    assert_eq!(version(&envoy).await.as_deref(), Some("v2"));

    // Envoy got exactly the configuration of the shipped file.
    let shipped = template.resource("3".to_owned(), template.configuration().to_owned());
    serin.publisher.publish(GROUP, shipped);
    serin.until_acknowledged(&["edge-1"], "3").await;
    let file = std::fs::read_to_string(envoy.filter_file()).expect("the filter's file");
    // In Envoy's format.
    let file = file.replace("\"0.05s\"", "\"0.050s\"");
    let file: Value = serde_json::from_str(&file).expect("JSON");
    let submitted = given(&envoy).await;
    assert_eq!(submitted["configs"][0]["ecds_filter"], file["resources"][0], "{submitted}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_stream_of_its_own() {
    is_delivered(DiscoveryMode::Ecds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ads() {
    is_delivered(DiscoveryMode::Ads).await;
}

/// Ten Envoys, half of them over ADS: a new configuration reaches all of them. How long that takes
/// is printed, not asserted.
#[tokio::test(flavor = "multi_thread")]
async fn to_all_of_ten() {
    let (serin, shop) = (Serin::start(), Shop::open().await);
    let nodes: Vec<_> = (0..10).map(|number| format!("edge-{number}")).collect();
    let mut envoys = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        let way = if number % 2 == 0 { DiscoveryMode::Ecds } else { DiscoveryMode::Ads };
        // The subscription comes before the publication.
        let change = |setup: Setup| {
            setup.replace("initial_fetch_timeout: 5s", "initial_fetch_timeout: 0.5s")
        };
        envoys.push(shop.envoy_with(&serin, node, way, change).await);
    }
    let template = template(&envoys[0]);
    let nodes: Vec<_> = nodes.iter().map(String::as_str).collect();
    serin.publish(&template, 1, "v1");
    serin.until_acknowledged(&nodes, "1").await;

    let mut delays = Vec::new();
    for generation in 2..52 {
        let begin = Instant::now();
        serin.publish(&template, generation, if generation % 2 == 0 { "v2" } else { "v1" });
        let wanted = generation.to_string();
        let all = async {
            while serin.publisher.proxies(GROUP).iter().any(|it| acknowledged(it) != Some(&wanted))
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(SOON, all).await.expect("all Envoys acknowledge the push");
        delays.push(begin.elapsed());
        // The delay between push and acknowledgement.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    delays.sort();
    println!(
        "from publish to the last of 10 acknowledgements: median {:?}, 95th percentile {:?}, worst {:?}",
        delays[delays.len() / 2],
        delays[delays.len() * 95 / 100],
        delays[delays.len() - 1]
    );
    for envoy in &envoys {
        until(SOON, "the last version is live", async || match version(envoy).await {
            Some(version) if version == "v1" => Ok(()),
            other => Err(other),
        })
        .await;
    }
}
