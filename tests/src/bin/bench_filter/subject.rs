//! The benchmark's subjects: Envoys that differ only in the filter and its setup.

use std::path::Path;

use serde_json::{Value, json};
use serin_tests::{Envoy, Setup};

use crate::backend::Backend;

/// Services in serin's configuration.
pub(crate) const SERVICES: usize = 20;

const BOOTSTRAP: &str = include_str!("../../../../envoy/bootstrap.yaml");

/// The directory of serin's configuration in the shipped bootstrap; the harness replaces it.
const DIRECTORY: &str = "/etc/envoy/serin";

const WEIGHTED_CLUSTERS: &str = "route: { timeout: 15s, weighted_clusters: { clusters: \
    [{ name: shop-v1, weight: 90 }, { name: shop-v2, weight: 10 }] } }";

/// A minimal Lua filter that selects a version: it hashes the user, sets the version header and
/// clears the route cache.
const LUA: &str = r#"
- name: envoy.filters.http.lua
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua
    default_source_code:
      inline_string: |
        local bit = require("bit")
        function envoy_on_request(handle)
          local headers = handle:headers()
          local user = headers:get("x-user-id") or ""
          local hash = 0x811c9dc5
          for place = 1, #user do
            hash = bit.tobit(bit.bxor(hash, string.byte(user, place)) * 16777619)
          end
          local version = hash % 100 < 10 and "v2" or "v1"
          headers:replace("x-serin-version", version)
          handle:clearRouteCache()
        end
        function envoy_on_response(handle)
          local status = handle:headers():get(":status")
        end
"#;

const EMPTY: &str = r#"
- name: empty
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
    config:
      name: empty
      vm_config:
        vm_id: empty
        runtime: envoy.wasm.runtime.v8
        code: { local: { filename: EMPTY_MODULE } }
"#;

/// A subject of the benchmark.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Subject {
    /// No filter, `weighted_clusters`.
    Native,
    /// The same, and an empty filter.
    Empty,
    /// A Lua filter that selects a version.
    Lua,
    /// The shipped filter splits; the candidate has this percentage.
    Filter(u32),
    /// `weighted_clusters` split, and serin observes.
    Mesh,
    /// Another build of serin with this name in `target`, in filter mode, with the candidate at 10
    /// %.
    Other(&'static str),
}

impl Subject {
    pub(crate) const ALL: [Self; 7] = [
        Self::Native,
        Self::Empty,
        Self::Lua,
        Self::Filter(0),
        Self::Filter(10),
        Self::Filter(50),
        Self::Mesh,
    ];

    pub(crate) fn name(self) -> String {
        match self {
            Self::Native => "no filter, weighted_clusters".into(),
            Self::Empty => "empty SDK filter, stripped".into(),
            Self::Lua => "Lua that only chooses, 10 %".into(),
            Self::Filter(percent) => format!("serin, filter mode, {percent} %"),
            Self::Mesh => "serin, mesh mode".into(),
            Self::Other(module) => format!("{module}, filter mode, 10 %"),
        }
    }

    /// Starts the subject in front of two versions.
    pub(crate) async fn start(self, versions: [&Backend; 2], workers: u32) -> Envoy {
        let [v1, v2] = versions.map(|version| version.address);
        let setup = Setup::new(v1, v2).workers(workers);
        let serin = |candidate: Option<u32>| configuration(1, candidate);
        let setup = match self {
            Self::Native => weighted(without_serin(setup, "")),
            Self::Empty => weighted(without_serin(setup, &EMPTY.replace("EMPTY_MODULE", &empty()))),
            Self::Lua => without_serin(setup, LUA),
            Self::Filter(percent) => setup.configuration(serin(Some(percent * 10_000))),
            Self::Mesh => weighted(setup).configuration(serin(None)),
            Self::Other(module) => setup.module(module).configuration(serin(Some(100_000))),
        };
        Envoy::start(&setup).await
    }
}

/// The authority of a service.
pub(crate) fn authority(service: usize) -> String {
    format!("service-{service}.shop.example")
}

/// The configuration with all default features of a rollout, for [`SERVICES`] services; `None`:
/// the mesh splits.
pub(crate) fn configuration(generation: u64, candidate_ppm: Option<u32>) -> String {
    let service = |number: usize| {
        let mut service = json!({
            "name": format!("service-{number}"),
            "authorities": [authority(number), format!("*.service-{number}.shop.example")],
            "salt": format!("service-{number}-v2"),
            "versions": [
                { "name": "v1", "cluster": "shop-v1" },
                { "name": "v2", "cluster": "shop-v2" },
            ],
            "overdueMs": 5000,
        });
        let mut set = |field: &str, value| service[field] = value;
        match candidate_ppm {
            None => set("split", json!("mesh")),
            Some(candidate) => {
                set("sticky", json!([{ "header": "x-user-id" }]));
                set("correlation", json!(["traceId", "requestId"]));
                set("tripwire", json!({ "toleratedPpm": 100_000 }));
                set(
                    "buckets",
                    json!([
                        { "version": "v2", "count": candidate },
                        { "version": "v1", "count": 1_000_000 - candidate },
                    ]),
                );
            }
        }
        service
    };
    let services: Vec<Value> = (0..SERVICES).map(service).collect();
    json!({ "schema": 1, "generation": generation, "services": services }).to_string()
}

/// Replaces serin's filter by another filter or none, and removes the protection of its header.
fn without_serin(setup: Setup, filter: &str) -> Setup {
    let serin = between("- name: serin\n", "- name: envoy.filters.http.router\n");
    let (before, after) = serin.split_once(DIRECTORY).expect("where the configuration is");
    let indent = "\n                  ";
    let filter = filter.trim().replace('\n', indent);
    let guard = between("early_header_mutation_extensions:\n", "http_filters:\n");
    // The harness has replaced the directory between these texts, so the edits turn its line into
    // a comment.
    setup.replace(guard, "").replace(before, &format!("{filter}{indent}# ")).replace(after, indent)
}

/// Weights in one route instead of a route for each version.
fn weighted(setup: Setup) -> Setup {
    let of_v2 = between("# The filter sets x-serin-version", "- match: { prefix: / }\n");
    setup.replace(of_v2, "").replace("route: { cluster: shop-v1, timeout: 15s }", WEIGHTED_CLUSTERS)
}

/// The text of the shipped bootstrap from one marker to another.
fn between(from: &str, to: &str) -> &'static str {
    let start = BOOTSTRAP.find(from).unwrap_or_else(|| panic!("the bootstrap has no `{from}`"));
    let rest = &BOOTSTRAP[start..];
    &rest[..rest.find(to).unwrap_or_else(|| panic!("the bootstrap has no `{to}` after it"))]
}

fn empty() -> String {
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/empty.wasm");
    assert!(module.exists(), "no empty filter, run `make bench-filter`: {}", module.display());
    module.display().to_string()
}
