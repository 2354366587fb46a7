//! Envoy's files: a bootstrap like that of Istio's proxies, and a file for each resource type,
//! replaced by a rename.
//!
//! Istio delivers all of these over one stream. Files have the same effect on the filter, and need
//! no server.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::pod::Pod;
use super::resources::{FilePaths, Resources};
use super::{Proxy, http};
use crate::envoy::files::{SHIPPED, bootstrap_path, install_module};

/// Prefixes of the statistics that Istio's proxies include. The filter's begin with `wasmcustom`.
const COUNTED: [&str; 7] =
    ["reporter=", "cluster_manager", "listener_manager", "server", "wasm", "component", "istio"];

/// Istio's tag rules that could match a name of the filter's statistics.
const TAGS: [(&str, &str); 4] = [
    ("cache", r"(cache\.(.+?)\.)"),
    ("component", r"(component\.(.+?)\.)"),
    ("tag", r"(tag\.(.+?);\.)"),
    ("wasm_filter", r"(wasm_filter\.(.+?)\.)"),
];

/// The files of one Envoy.
pub(super) struct EnvoyFiles {
    paths: FilePaths,
    written: BTreeMap<String, Vec<Value>>,
    version: u64,
}

impl EnvoyFiles {
    /// Writes the files that Envoy needs to start.
    pub(super) fn install(directory: &Path, pod: &Pod, proxy: &Proxy, first: &Resources) -> Self {
        install_module(SHIPPED, directory);
        let bootstrap = bootstrap(directory, pod, proxy).to_string();
        std::fs::write(bootstrap_path(directory), bootstrap).expect("the bootstrap");
        let mut files =
            Self { paths: FilePaths::of(directory), written: BTreeMap::new(), version: 0 };
        files.write(first);
        files
    }

    /// Replaces the files that changed. Clusters precede the routes to them, and configurations
    /// precede the filters that subscribe to them.
    pub(super) fn write(&mut self, resources: &Resources) {
        self.put("clusters", resources.clusters.clone());
        for (name, plugin) in &resources.plugins {
            self.put(name, vec![plugin.clone()]);
        }
        self.put("routes", vec![resources.routes.clone()]);
        self.put("listeners", vec![resources.listener.clone()]);
    }

    fn put(&mut self, name: &str, resources: Vec<Value>) {
        if self.written.get(name) == Some(&resources) {
            return;
        }
        self.version += 1;
        let response = json!({ "version_info": self.version.to_string(), "resources": resources });
        let next = self.paths.directory.join("next");
        std::fs::write(&next, response.to_string()).expect("a file");
        std::fs::rename(next, self.paths.resources(name)).expect("a file can be replaced");
        self.written.insert(name.to_owned(), resources);
    }
}

/// Istio's bootstrap without its control plane: port 15090 serves the statistics, and nothing else
/// of the admin interface.
fn bootstrap(directory: &Path, pod: &Pod, proxy: &Proxy) -> Value {
    let places = FilePaths::of(directory);
    let counted: Vec<_> = COUNTED.iter().map(|prefix| json!({ "prefix": prefix })).collect();
    let tags: Vec<_> =
        TAGS.iter().map(|(name, regex)| json!({ "tag_name": name, "regex": regex })).collect();
    let statistics = json!({
        "name": "stats",
        "address": http::socket(pod.statistics()),
        "filter_chains": [{ "filters": [http::connection_manager(json!({
            "stat_prefix": "stats",
            "route_config": { "virtual_hosts": [{ "name": "backend", "domains": ["*"], "routes": [{
                "match": { "prefix": "/stats/prometheus" },
                "route": { "cluster": "prometheus_stats" },
            }]}]},
            "http_filters": [http::router()],
        }))]}],
    });
    json!({
        "node": { "id": pod.name(), "cluster": proxy.namespace },
        "admin": { "address": http::socket(pod.admin()) },
        "stats_config": {
            "use_all_default_tags": false,
            "stats_tags": tags,
            "stats_matcher": { "inclusion_list": { "patterns": counted } },
        },
        "dynamic_resources": {
            "lds_config": places.source("listeners"),
            "cds_config": places.source("clusters"),
        },
        "static_resources": {
            "listeners": [statistics],
            "clusters": [http::cluster("prometheus_stats", &[pod.admin()])],
        },
    })
}
