//! Golden vectors of selection, on the host as used by the controller and on wasm32 as used by the
//! filter (`make conformance`). Changed vectors would reassign the users of every running rollout.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use serde::Deserialize;
use serin_filter::bucket::Bucketing;
use serin_filter::config::{Config, wire};
use serin_filter::request::Request;
use serin_filter::select::{Assignment, Selection, select};
#[cfg(all(target_arch = "wasm32", target_os = "unknown"))]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[derive(Deserialize)]
struct Golden {
    buckets: Vec<Bucket>,
    config: wire::Config,
    selections: Vec<Selected>,
}

#[derive(Deserialize)]
struct Bucket {
    salt: String,
    identity: String,
    bucket: u32,
}

#[derive(Deserialize)]
struct Selected {
    #[serde(flatten)]
    request: Headers,
    bucket: u32,
    version: String,
    reason: String,
}

#[derive(Deserialize)]
struct Headers {
    headers: HashMap<String, String>,
    #[serde(default)]
    source: String,
    #[serde(default)]
    random: u64,
}

impl Request for Headers {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.first_line(name).filter(|value| !value.is_empty())
    }

    fn first_line(&self, name: &str) -> Option<Vec<u8>> {
        self.headers.get(name).map(|value| value.clone().into_bytes())
    }

    fn source(&self) -> Option<Vec<u8>> {
        Some(self.source.clone().into_bytes())
    }

    fn random(&self) -> u64 {
        self.random
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden.json")).unwrap()
}

#[test]
fn identities_map_to_the_golden_buckets() {
    for Bucket { salt, identity, bucket } in golden().buckets {
        assert_eq!(Bucketing::new(&salt).bucket(identity.as_bytes()), bucket, "{salt} {identity}");
    }
    assert_eq!(Bucketing::new("shop").bucket(&[0xff, 0x00, 0xfe]), 487_670);
}

#[test]
fn requests_get_the_golden_versions() {
    let Golden { config, selections, .. } = golden();
    let service = Config::try_from(config).unwrap().services.remove(0);
    for (index, expected) in selections.into_iter().enumerate() {
        let Selection::Version(Assignment { version, reason, bucket, .. }) =
            select(&service, &expected.request)
        else {
            panic!("selection {index}: no version");
        };
        let version = service.versions.get(version).unwrap().name.to_string();
        assert_eq!(
            (bucket, version, reason.label().to_owned()),
            (Some(expected.bucket), expected.version, expected.reason),
            "selection {index}"
        );
    }
}
