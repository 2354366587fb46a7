//! Reads the filter's statistics from the admin interface of one Envoy.

use std::time::Duration;

use serde::Deserialize;
use serin_filter::names::{Generation, ServiceName};
use serin_filter::stat::{self, Stat};
use thiserror::Error;

use super::Snapshot;
use crate::http::{self, root_cause};

/// How long Envoy may take to answer. Its admin interface runs in its main thread and is quick even under load.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How often the page is read for one snapshot at the most.
const READINGS: usize = 8;

/// What Envoy puts before the name of each statistic that a filter defines.
const CUSTOM: &str = "wasmcustom.";

/// What Envoy puts before the statistics about following a filter's configuration.
const DISCOVERY: &str = "extension_config_discovery.http_filter.";

/// Why the statistics could not be read.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum AdminError {
    #[error("Envoy's admin interface at {address} can't be reached: {cause}")]
    Unreachable { address: String, cause: String },
    #[error("Envoy's admin interface at {address} answered {what}")]
    Garbage { address: String, what: String },
}

/// The admin interface of an Envoy, for the statistics of one service.
#[derive(Debug, Clone)]
pub struct Admin {
    client: reqwest::Client,
    address: String,
    service: ServiceName,
    /// Name of the filter's configuration, as the listener's `config_discovery` has it.
    filter: String,
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Statistic>,
}

/// The page has histograms too, of another form; they are none of the filter's.
#[derive(Deserialize)]
struct Statistic {
    name: Option<String>,
    value: Option<serde_json::Value>,
}

impl Admin {
    /// The admin interface at `address`, such as `http://127.0.0.1:9901`.
    ///
    /// # Errors
    /// No HTTP client could be made.
    pub fn new(address: &str, service: ServiceName, filter: String) -> Result<Self, AdminError> {
        let address = address.trim_end_matches('/').to_owned();
        let client = http::client(TIMEOUT).no_proxy().build();
        let client = client.map_err(|cause| AdminError::Unreachable {
            address: address.clone(),
            cause: root_cause(&cause),
        })?;
        Ok(Self { client, address, service, filter })
    }

    /// Reads the statistics, all as of one moment: workers add to them while the page is written, and a request that is counted while its
    /// latency is not would look slow. So the page is read until two readings agree; a proxy that is never still is taken as last read.
    ///
    /// # Errors
    /// Envoy can't be reached, or answers something else.
    pub async fn snapshot(&self) -> Result<Snapshot, AdminError> {
        let mut last = self.read().await?;
        for _ in 1..READINGS {
            let next = self.read().await?;
            if next == last {
                break;
            }
            last = next;
        }
        Ok(last)
    }

    async fn read(&self) -> Result<Snapshot, AdminError> {
        let url = format!("{}/stats?format=json&filter=^({CUSTOM}serin|{DISCOVERY})", self.address);
        let unreachable = |cause: reqwest::Error| AdminError::Unreachable {
            address: self.address.clone(),
            cause: root_cause(&cause),
        };
        let garbage = |what| AdminError::Garbage { address: self.address.clone(), what };
        let answer = self.client.get(url).send().await.map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(garbage(format!("with status {}", answer.status())));
        }
        let body = answer.bytes().await.map_err(unreachable)?;
        let stats: Stats = serde_json::from_slice(&body).map_err(|error| {
            garbage(format!("something that is not a list of statistics: {error}"))
        })?;
        Ok(self.collect(stats))
    }

    fn collect(&self, stats: Stats) -> Snapshot {
        let rejections = ["config_fail", "update_rejected", "update_failure"]
            .map(|name| format!("{DISCOVERY}{}.{name}", self.filter));
        let mut snapshot = Snapshot::default();
        for Statistic { name, value } in stats.stats {
            let (Some(name), Some(value)) = (name, value.and_then(|value| value.as_u64())) else {
                continue;
            };
            if rejections.contains(&name) {
                snapshot.rejections += value;
            }
            match name.strip_prefix(CUSTOM) {
                Some(stat::GENERATION) => snapshot.generation = Some(Generation(value)),
                Some(stat::START_TIME) => snapshot.started = value,
                Some(stat::TICKS) => snapshot.ticks = value,
                Some(stat::TICKS_BEHIND) => snapshot.ticks_behind = value,
                Some(name) => self.collect_version(&mut snapshot, name, value),
                None => {}
            }
        }
        snapshot
    }

    fn collect_version(&self, snapshot: &mut Snapshot, name: &str, value: u64) {
        if let Some((service, version, stat::TRIPPED)) = stat::parse_labels(name)
            && service == self.service.as_str()
            && value > 0
        {
            snapshot.tripped.extend(version.parse());
        }
        if let Some((service, salt, slice, watched)) = stat::Watched::parse(name)
            && service == self.service.as_str()
        {
            snapshot.slices.set(salt, slice, watched, value);
        }
        if let Some((service, version, stat)) = Stat::parse(name)
            && service == self.service.as_str()
            && let Ok(version) = version.parse()
        {
            snapshot.versions.entry(version).or_default().set(stat, value);
        }
    }
}

/// The innermost cause is the one a person can act on: "Connection refused" rather than "error sending request".
#[cfg(test)]
mod tests {
    use serin_filter::outcome::Failure;

    use super::*;

    #[test]
    fn the_statistics_page_is_read() {
        let admin =
            Admin::new("http://127.0.0.1:1/", "shop".parse().unwrap(), "serin".into()).unwrap();
        let page = r#"{"stats": [
            {"name": "extension_config_discovery.http_filter.serin.config_fail", "value": 1},
            {"name": "extension_config_discovery.http_filter.serin.update_rejected", "value": 2},
            {"name": "extension_config_discovery.http_filter.serin.version_text", "value": "7"},
            {"name": "extension_config_discovery.http_filter.other.update_rejected", "value": 9},
            {"name": "wasmcustom.serin.generation", "value": 7},
            {"name": "wasmcustom.serin.start_time_seconds", "value": 1700000000},
            {"name": "wasmcustom.serin.ticks", "value": 90},
            {"name": "wasmcustom.serin.service=.=shop;.;version=.=v2;.;kind=.=reset;.;failures", "value": 4},
            {"name": "wasmcustom.serin.service=.=shop;.;version=.=v2;.;tripped", "value": 1},
            {"name": "wasmcustom.serin.service=.=shop;.;version=.=v3;.;tripped", "value": 0},
            {"name": "wasmcustom.serin.service=.=cart;.;version=.=v4;.;tripped", "value": 1},
            {"name": "wasmcustom.serin.service=.=cart;.;version=.=v2;.;requests", "value": 8},
            {"name": "wasmcustom.serin.service=.=shop;.;salt=.=3;.;slice=.=10000;.;watched_requests", "value": 6},
            {"name": "wasmcustom.serin.service=.=cart;.;salt=.=3;.;slice=.=10000;.;watched_requests", "value": 9},
            {"histograms": {"supported_quantiles": [0.5]}}]}"#;
        let snapshot = admin.collect(serde_json::from_str(page).unwrap());
        let failures = [(Stat::Failures(Failure::Reset), 4)].into_iter().collect();
        let mut slices = super::super::Slices::default();
        slices.set(3, 10_000, stat::Watched::Requests, 6);
        let expected = Snapshot {
            slices,
            generation: Some(Generation(7)),
            started: 1_700_000_000,
            ticks: 90,
            ticks_behind: 0,
            rejections: 3,
            tripped: ["v2".parse().unwrap()].into(),
            versions: [("v2".parse().unwrap(), failures)].into(),
        };
        assert_eq!(snapshot, expected);
    }
}
