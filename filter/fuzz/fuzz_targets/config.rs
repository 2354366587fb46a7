//! Whatever bytes a proxy is given as the configuration: it is refused with words, or it can be chosen by.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serin_filter::config::{Config, wire};
use serin_filter::request::Request;
use serin_filter::select::{Selection, select};

struct Nobody;

impl Request for Nobody {
    fn header(&self, _: &str) -> Option<Vec<u8>> {
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
                if let Selection::Version(choice) = select(service, &Nobody) {
                    assert!(choice.version < service.versions.len());
                }
            }
            // What the controller would make of it is the same.
            let wire: wire::Config = serde_json::from_slice(text).expect("it has been read");
            let again = serde_json::to_vec(&wire).expect("it can be written");
            assert_eq!(Config::parse(&again).expect("it can be read again"), config);
        }
    }
});
