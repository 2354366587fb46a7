//! An Envoy that rejects a configuration is reported with its reason, and keeps the previous one.

use serin::xds::registry::ProxyStatus;
use serin::xds::template::FilterTemplate;

use crate::world::{
    DiscoveryMode, GROUP, Serin, Shop, acknowledged, all_users, rejected, template, version,
};

async fn is_named(way: DiscoveryMode) {
    let (serin, shop) = (Serin::start(), Shop::open().await);
    let envoy = shop.envoy(&serin, "edge-7", way).await;
    let template = template(&envoy);
    serin.publish(&template, 1, "v2");
    serin.until_acknowledged(&["edge-7"], "1").await;

    let file = std::fs::read_to_string(envoy.filter_file()).expect("the filter's file");
    let moduleless = FilterTemplate::parse(file.replace("serin.wasm", "none.wasm").as_bytes());
    let moduleless = moduleless.expect("a template");
    let refused_by = |version: &'static str, reason: &'static str| {
        move |proxies: &[ProxyStatus]| {
            proxies.iter().any(|proxy| {
                proxy.node == "edge-7"
                    && acknowledged(proxy) == Some("1")
                    && rejected(proxy)
                        .is_some_and(|it| it.version == version && it.reason.contains(reason))
            })
        }
    };
    serin.publisher.publish(GROUP, moduleless.resource("2".to_owned(), all_users(2, "v1")));
    serin.until("no module", refused_by("2", "none.wasm")).await;
    serin.publisher.publish(GROUP, template.resource("3".to_owned(), "{}".to_owned()));
    serin.until("no configuration", refused_by("3", "Wasm")).await;
    assert_eq!(version(&envoy).await.as_deref(), Some("v2"));

    serin.publish(&template, 4, "v1");
    serin.until_acknowledged(&["edge-7"], "4").await;
    envoy.until_live(4).await;
    assert_eq!(version(&envoy).await.as_deref(), Some("v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_stream_of_its_own() {
    is_named(DiscoveryMode::Ecds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_ads() {
    is_named(DiscoveryMode::Ads).await;
}
