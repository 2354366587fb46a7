//! The filter's configuration in a WasmPlugin.

use serde_json::json;
use serin::kubernetes::patches::wasm_plugin::{self, PluginPhase, WasmPlugin};
use serin_filter::config::wire;

use crate::world::{merge, patch, read, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_is_created_and_its_configuration_changed() {
    let Some(server) = world().await else { return };
    let admin = server.admin();
    let plugin = WasmPlugin {
        name: "serin".to_owned(),
        namespace: "bookinfo".to_owned(),
        url: "oci://registry.example/serin:1.0.0".to_owned(),
        labels: [("app".to_owned(), "productpage".to_owned())].into(),
        phase: Some(PluginPhase::Stats),
        priority: Some(-10),
    };
    let rendered = plugin.object(&configuration(1, 10_000)).expect("a plugin");
    let made = server.create(&rendered).await;
    // The server keeps and understands every field.
    assert_eq!(made["spec"], rendered["spec"]);
    assert_eq!(
        wasm_plugin::config(&made).expect("a configuration of serin"),
        configuration(1, 10_000)
    );

    let theirs = json!({"spec": {"sha256": "a".repeat(64), "priority": 7}});
    merge(&admin, &made, theirs).await;
    let before = read(&admin, &made).await;
    let edits = wasm_plugin::edits(&before, &configuration(2, 250_000)).expect("a configuration");
    let mut after = patch(&admin, &before, &edits).await.expect("the server accepts the patch");
    assert_eq!(
        wasm_plugin::config(&after).expect("a configuration of serin"),
        configuration(2, 250_000)
    );
    after["spec"]["pluginConfig"] = before["spec"]["pluginConfig"].clone();
    assert_eq!(after["spec"], before["spec"]);
}

/// The bucket table with this number of buckets on v2.
fn configuration(generation: u64, candidate: u32) -> wire::Config {
    let cluster = |version| format!("outbound|9080|{version}|reviews.bookinfo.svc.cluster.local");
    let config = json!({"schema": 1, "generation": generation, "services": [{
        "name": "reviews",
        "authorities": ["reviews", "reviews.bookinfo.svc.cluster.local"],
        "sticky": [{"header": "end-user"}],
        "versions": [
            {"name": "v1", "cluster": cluster("v1")}, {"name": "v2", "cluster": cluster("v2")}],
        "buckets": [
            {"version": "v2", "count": candidate}, {"version": "v1", "count": 1_000_000 - candidate}],
    }]});
    serde_json::from_value(config).expect("a configuration")
}
