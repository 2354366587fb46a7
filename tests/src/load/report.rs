//! The end of each request, and their sums.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// gRPC codes of server errors: UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE, DATA_LOSS.
const GRPC_FAILURES: [u16; 5] = [2, 4, 13, 14, 15];

/// One request and its end.
#[derive(Clone, Debug)]
pub struct Record {
    /// The number in `x-user-id: user-<n>`; `None` without that header.
    pub user: Option<u32>,
    /// The start of the request.
    pub started: Instant,
    /// From the start to the end of the response, or to the failure.
    pub latency: Duration,
    /// The end of the request.
    pub outcome: Outcome,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// A complete response of any status.
    Answered {
        /// The HTTP status.
        status: u16,
        /// The version that responded; `None` for Envoy's own response.
        version: Option<String>,
        /// `grpc-status`, from the trailers or from a trailers-only response.
        grpc_status: Option<u16>,
    },
    /// No complete response.
    Failed {
        /// The client's error with its causes.
        reason: String,
    },
}

impl Record {
    /// The version that responded; `None` for Envoy's own response or none.
    pub fn version(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Answered { version, .. } => version.as_deref(),
            Outcome::Failed { .. } => None,
        }
    }

    /// Whether the request failed for the caller: no response, a status of 500 or more, or a gRPC
    /// code of a server error.
    pub fn is_failure(&self) -> bool {
        match self.outcome {
            Outcome::Answered { status, grpc_status, .. } => {
                status >= 500 || grpc_status.is_some_and(|status| GRPC_FAILURES.contains(&status))
            }
            Outcome::Failed { .. } => true,
        }
    }
}

/// A count of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// All of them.
    pub requests: usize,
    /// Failed requests, see [`Record::is_failure`].
    pub failures: usize,
}

/// The ended requests of a load. Cheap to get from a running load, as it shares the load's
/// records.
#[derive(Clone, Debug)]
pub struct Report(Vec<Arc<Record>>);

impl Report {
    pub(super) fn new(records: Vec<Arc<Record>>) -> Self {
        Self(records)
    }

    /// Every request, in order of start times.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = &Record> + ExactSizeIterator {
        self.0.iter().map(Arc::as_ref)
    }

    /// All requests.
    pub fn total(&self) -> Tally {
        self.records().fold(Tally::default(), Tally::with)
    }

    /// Asserts that no request failed.
    ///
    /// # Panics
    /// A request failed. The message has the first such request and its time since the start of
    /// the load.
    #[track_caller]
    pub fn assert_none_failed(&self) {
        let Some(failed) = self.records().find(|record| record.is_failure()) else { return };
        let began = self.records().next().map_or(failed.started, |first| first.started);
        let after = failed.started.duration_since(began);
        panic!("{:?}, the first after {after:?}: {failed:?}", self.total());
    }

    /// The requests that this version served; `None` stands for Envoy's own responses and for
    /// requests without a response.
    pub fn tally(&self, version: Option<&str>) -> Tally {
        self.records()
            .filter(|record| record.version() == version)
            .fold(Tally::default(), Tally::with)
    }

    /// The tallies of all versions.
    pub fn tallies(&self) -> BTreeMap<Option<&str>, Tally> {
        self.records().fold(BTreeMap::new(), |mut tallies, record| {
            let tally: &mut Tally = tallies.entry(record.version()).or_default();
            *tally = tally.with(record);
            tallies
        })
    }
}

impl Tally {
    fn with(self, record: &Record) -> Self {
        Self {
            requests: self.requests + 1,
            failures: self.failures + usize::from(record.is_failure()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(version: Option<&str>, status: u16, grpc_status: Option<u16>) -> Record {
        let version = version.map(str::to_owned);
        record(Outcome::Answered { status, version, grpc_status })
    }

    fn record(outcome: Outcome) -> Record {
        Record { user: None, started: Instant::now(), latency: Duration::ZERO, outcome }
    }

    #[test]
    fn every_request_is_counted_once_and_where_it_belongs() {
        let report = Report::new(
            [
                answered(Some("v1"), 200, None),
                answered(Some("v1"), 404, None),
                answered(Some("v1"), 200, Some(0)),
                answered(Some("v1"), 200, Some(5)),
                answered(Some("v2"), 500, None),
                answered(Some("v2"), 200, Some(14)),
                answered(Some("v2"), 200, None),
                answered(None, 503, None),
                record(Outcome::Failed { reason: "reset".into() }),
            ]
            .map(Arc::new)
            .to_vec(),
        );
        let tally = |requests, failures| Tally { requests, failures };
        assert_eq!(report.total(), tally(9, 4));
        assert_eq!(report.tally(Some("v1")), tally(4, 0));
        assert_eq!(
            report.tallies(),
            [(None, tally(2, 2)), (Some("v1"), tally(4, 0)), (Some("v2"), tally(3, 2))].into()
        );
    }
}
