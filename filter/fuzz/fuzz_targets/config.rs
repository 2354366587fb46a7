//! The filter rejects arbitrary bytes with a message, or selects by the configuration they encode.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serin_filter::config::{Config, wire};
use serin_filter::request::Request;
use serin_filter::select::{Selection, select};

struct EmptyRequest;

impl Request for EmptyRequest {
    fn header(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn first_line(&self, _: &str) -> Option<Vec<u8>> {
        None
    }

    fn source(&self) -> Option<Vec<u8>> {
        None
    }

    fn random(&self) -> u64 {
        u64::MAX
    }
}

fuzz_target!(|text: &[u8]| {
    match Config::parse(text) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(config) => {
            for service in &config.services {
                if let Selection::Version(assignment) = select(service, &EmptyRequest) {
                    assert!(assignment.version < service.versions.len());
                }
            }
            // The controller's round trip preserves the configuration.
            let wire: wire::Config = serde_json::from_slice(text).expect("valid JSON");
            let written = serde_json::to_vec(&wire).expect("serializable");
            assert_eq!(Config::parse(&written).expect("valid configuration"), config);
        }
    }
});
