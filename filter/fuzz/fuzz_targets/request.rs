//! For arbitrary requests, selection is deterministic and yields a version of the service.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use serin_filter::config::Config;
use serin_filter::request::Request;
use serin_filter::rpc::StatusReader;
use serin_filter::select::{Selection, select};
use serin_filter::table::BUCKETS;
use serin_filter::trace;

const CONFIG: &[u8] = include_bytes!("../all-fields.json");

static SERVICES: LazyLock<Config> =
    LazyLock::new(|| Config::parse(CONFIG).expect("valid configuration"));

/// A source address and lines of `name=value`.
struct Lines<'b>(&'b [u8]);

impl Request for Lines<'_> {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        let mut lines = self.0.split(|byte| *byte == b'\n').skip(1);
        let value = lines.find_map(|line| {
            Some(line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec())
        });
        value.filter(|value| !value.is_empty())
    }

    fn first_line(&self, name: &str) -> Option<Vec<u8>> {
        self.header(name)
    }

    fn source(&self) -> Option<Vec<u8>> {
        self.0.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec)
    }

    fn random(&self) -> u64 {
        self.0.iter().fold(7, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let request = Lines(bytes);
    for content_type in
        [&b"application/grpc-web"[..], b"application/grpc-web-text", b"application/connect+json"]
    {
        let mut reader = StatusReader::new(content_type).expect("framed");
        for chunk in bytes.chunks(7) {
            reader
                .add(chunk.len(), |start, length| Some(chunk.get(start..start + length)?.to_vec()));
        }
    }
    if let Some(rest) = request.without_cookie("version") {
        assert!(rest.len() < request.header("cookie").expect("cookies").len());
    }
    if let Some(index) = SERVICES.service(|| request.header(":authority")) {
        let service = SERVICES.services.get(index).expect("index of a service");
        let selection = select(service, &request);
        assert_eq!(selection, select(service, &request));
        if let Selection::Version(assignment) = selection {
            assert!(assignment.version < service.versions.len());
            if let Some(bucket) = assignment.bucket {
                assert!(bucket < BUCKETS);
                let tracestate = request.header("tracestate");
                let propagated = trace::with_bucket(tracestate.as_deref(), bucket);
                assert_eq!(trace::parse_bucket(&propagated), Some(bucket));
            }
        }
    }
});
