//! The pages of an Envoy's admin interface that the checks read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serin_filter::names::Generation;
use serin_filter::stat;
use tokio::time::sleep;

use super::clusters::ClusterStatus;
use super::dump::Dump;
use crate::sources::fleet::admin::{AdminClient, AdminResponse};
use crate::sources::fleet::{AdminPage, ScrapeError};

const INFO: &str = "/server_info";
const DUMP: &str = "/config_dump";
const CLUSTERS: &str = "/clusters?format=json";
const STATS: &str = "/stats?usedonly&format=json&filter=^(wasmcustom.serin|extension_config_discovery.http_filter.|wasm.|control_plane.)";
const PROMETHEUS: &str = "/stats/prometheus?usedonly&filter=^wasmcustom.serin";

/// Envoy's prefix of each statistic that a filter defines.
const CUSTOM_STAT_PREFIX: &str = "wasmcustom.";

/// The size limit of a page, in bytes: in a mesh, the configuration of a proxy is long.
const MAX_PAGE_BYTES: usize = 64 << 20;

/// Time between the two reads of the statistics: workers report five times in it.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);

/// The pages of one Envoy.
#[derive(Debug)]
pub(super) struct ProxyPages {
    pub(super) info: ServerInfo,
    /// By how much the proxy's clock is ahead of this one, in seconds; `None` if unknown.
    pub(super) clock_offset: Option<f64>,
    pub(super) dump: Dump,
    pub(super) clusters: Vec<ClusterStatus>,
    /// The statistics, and those of a second before.
    pub(super) stats: ProxyStats,
    pub(super) before: ProxyStats,
    /// The page for Prometheus.
    pub(super) prometheus: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerInfo {
    /// Such as `9e55.../1.40.0/Clean/RELEASE/BoringSSL`.
    pub(super) version: String,
    pub(super) state: String,
}

/// The used statistics; others are zero.
#[derive(Debug, Default)]
pub(super) struct ProxyStats {
    /// The filter's.
    pub(super) filter: AdminPage,
    /// All counters and gauges by name.
    all: BTreeMap<String, u64>,
}

impl ProxyStats {
    /// Parses the page.
    pub(super) fn parse(page: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct List {
            stats: Vec<Value>,
        }
        let list: List = serde_json::from_slice(page)?;
        let named =
            |it: &Value| Some((it.get("name")?.as_str()?.to_owned(), it.get("value")?.as_u64()?));
        let all = list.stats.iter().filter_map(named).collect();
        Ok(Self { filter: AdminPage::parse(page)?, all })
    }

    /// A counter or gauge; `None` if unused.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        self.all.get(name).copied()
    }

    /// A statistic of the filter, by its name in the filter; 0 if unused.
    pub(super) fn of(&self, name: &str) -> u64 {
        self.get(&format!("{CUSTOM_STAT_PREFIX}{name}")).unwrap_or(0)
    }

    /// The generation that the filter runs; `None` if no worker has reported.
    pub(super) fn generation(&self) -> Option<Generation> {
        self.get(&format!("{CUSTOM_STAT_PREFIX}{}", stat::GENERATION)).map(Generation)
    }

    /// The sum of the statistics with this prefix and suffix.
    pub(super) fn sum(&self, begin: &str, end: &str) -> u64 {
        let all = self.all.iter();
        all.filter(|(name, _)| name.starts_with(begin) && name.ends_with(end)).map(|(_, n)| n).sum()
    }
}

impl ProxyPages {
    /// Reads the pages from the admin interface at this base address.
    ///
    /// # Errors
    /// A page can't be read.
    pub(super) async fn read(address: &str) -> Result<Self, ScrapeError> {
        let mut admin = AdminClient::at(address, MAX_PAGE_BYTES);
        let sent = Timestamp::now();
        let info = admin.fetch(INFO).await?;
        let clock_offset = clock_offset(&info, sent, Timestamp::now());
        let info = json(&info, INFO)?;
        let before = stats(&mut admin).await?;
        sleep(SAMPLE_INTERVAL).await;
        let stats = stats(&mut admin).await?;
        let dump = admin.fetch(DUMP).await?;
        let dump = Dump::parse(&dump.body).map_err(|error| invalid_response(DUMP, &error))?;
        let clusters: Clusters = json(&admin.fetch(CLUSTERS).await?, CLUSTERS)?;
        let prometheus = admin.fetch(PROMETHEUS).await?.body;
        let prometheus = String::from_utf8_lossy(&prometheus).into_owned();
        let clusters = clusters.cluster_statuses;
        Ok(Self { info, clock_offset, dump, clusters, stats, before, prometheus })
    }
}

async fn stats(admin: &mut AdminClient) -> Result<ProxyStats, ScrapeError> {
    let page = admin.fetch(STATS).await?;
    ProxyStats::parse(&page.body).map_err(|error| invalid_response(STATS, &error))
}

#[derive(Deserialize)]
pub(super) struct Clusters {
    #[serde(default)]
    pub(super) cluster_statuses: Vec<ClusterStatus>,
}

/// By how much the answer's clock is ahead of the middle of request and answer, in seconds. The
/// header has whole seconds.
fn clock_offset(answer: &AdminResponse, sent: Timestamp, received: Timestamp) -> Option<f64> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(answer.date.as_ref()?);
    let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
    let here = f64::midpoint(seconds(sent), seconds(received));
    Some(seconds(date.ok()?) + 0.5 - here)
}

fn json<T: DeserializeOwned>(answer: &AdminResponse, path: &str) -> Result<T, ScrapeError> {
    serde_json::from_slice(&answer.body).map_err(|error| invalid_response(path, &error))
}

fn invalid_response(path: &str, error: &serde_json::Error) -> ScrapeError {
    let path = path.split('?').next().unwrap_or(path);
    ScrapeError::InvalidResponse(format!("{path} with an unexpected page: {error}"))
}
