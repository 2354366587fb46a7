//! The statistics page of one Envoy: read once for all services.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serin_core::observation::{Counters, SliceCounts, Snapshot};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::stat::{self, SliceStat, Stat};

/// Path of the page, below the base address of the admin interface. Unused statistics are zero.
pub(super) const PATH: &str = "/stats?usedonly&format=json&filter=^(wasmcustom.serin|extension_config_discovery.http_filter.)";

/// Envoy's prefix of each statistic that a filter defines.
const CUSTOM_STAT_PREFIX: &str = "wasmcustom.";

/// Envoy's prefix of the statistics about the delivery of a filter's configuration.
const CONFIG_DISCOVERY_PREFIX: &str = "extension_config_discovery.http_filter.";

/// The suffix of the statistics that count rejected configurations.
const REJECTION_COUNTERS: [&str; 3] = ["config_fail", "update_rejected", "update_failure"];

/// The filter's statistics at one proxy.
#[derive(Debug, Default)]
pub struct AdminPage {
    generation: Option<Generation>,
    started: u64,
    ticks: u64,
    ticks_behind: u64,
    /// Rejected configurations by the name of the filter's configuration.
    rejections: HashMap<String, u64>,
    services: HashMap<String, ServiceStats>,
}

#[derive(Debug, Default)]
struct ServiceStats {
    tripped: BTreeSet<VersionName>,
    versions: Vec<(VersionName, Counters)>,
    slices: SliceCounts,
}

#[derive(serde::Deserialize)]
struct RawStats<'p> {
    #[serde(borrow)]
    stats: Vec<RawStat<'p>>,
}

/// Histograms, which have no name here, are not the filter's.
#[derive(serde::Deserialize)]
struct RawStat<'p> {
    #[serde(borrow, default)]
    name: Cow<'p, str>,
    #[serde(default)]
    value: StatValue,
}

/// The value of a counter or a gauge.
#[derive(Default)]
struct StatValue(Option<u64>);

impl AdminPage {
    /// Parses the page.
    ///
    /// # Errors
    /// The page is not a list of statistics.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        // One search over the page instead of one per name.
        let text = std::str::from_utf8(text).map_err(serde::de::Error::custom)?;
        let stats: RawStats = serde_json::from_str(text)?;
        let mut page = Self::default();
        for RawStat { name, value } in &stats.stats {
            if let StatValue(Some(value)) = value {
                page.add(name, *value);
            }
        }
        Ok(page)
    }

    fn add(&mut self, name: &str, value: u64) {
        if let Some(name) = name.strip_prefix(CONFIG_DISCOVERY_PREFIX) {
            if let Some((filter, what)) = name.rsplit_once('.')
                && REJECTION_COUNTERS.contains(&what)
            {
                let sum = self.rejections.entry(filter.to_owned()).or_default();
                *sum = sum.saturating_add(value);
            }
            return;
        }
        match name.strip_prefix(CUSTOM_STAT_PREFIX) {
            Some(stat::GENERATION) => self.generation = Some(Generation(value)),
            Some(stat::START_TIME) => self.started = value,
            Some(stat::TICKS) => self.ticks = value,
            Some(stat::TICKS_BEHIND) => self.ticks_behind = value,
            Some(name) => self.add_service_stat(name, value),
            None => {}
        }
    }

    fn add_service_stat(&mut self, name: &str, value: u64) {
        if let Some((service, version, stat)) = Stat::parse(name) {
            if let Some(counters) = self.service(service).version(version) {
                counters.set(stat, value);
            }
        } else if let Some((service, salt, slice, watched)) = SliceStat::parse(name) {
            self.service(service).slices.set(salt, slice, watched, value);
        } else if let Some((service, version, stat::TRIPPED)) = stat::parse_labels(name)
            && value > 0
        {
            self.service(service).tripped.extend(version.parse());
        }
    }

    fn service(&mut self, name: &str) -> &mut ServiceStats {
        self.services.entry(name.to_owned()).or_default()
    }

    /// The snapshot of one service, whose filter's configuration has this name in the listener's
    /// `config_discovery`.
    #[must_use]
    pub fn snapshot(&self, service: &ServiceName, filter: &str) -> Snapshot {
        let of_service = self.services.get(service.as_str());
        Snapshot {
            generation: self.generation,
            started: self.started,
            ticks: self.ticks,
            ticks_behind: self.ticks_behind,
            rejections: self.rejections.get(filter).copied().unwrap_or(0),
            tripped: of_service.map(|service| service.tripped.clone()).unwrap_or_default(),
            versions: of_service.into_iter().flat_map(|s| s.versions.iter().cloned()).collect(),
            slices: of_service.map(|service| service.slices.clone()).unwrap_or_default(),
        }
    }
}

impl ServiceStats {
    /// The counters of a version; `None` if its name is invalid. A linear search: there are few
    /// versions.
    fn version(&mut self, name: &str) -> Option<&mut Counters> {
        let known = self.versions.iter().position(|(version, _)| version.as_str() == name);
        let place = match known {
            Some(place) => place,
            None => {
                self.versions.push((name.parse().ok()?, Counters::default()));
                self.versions.len() - 1
            }
        };
        self.versions.get_mut(place).map(|(_, counters)| counters)
    }
}

impl<'de> Deserialize<'de> for StatValue {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AnyValue;
        impl Visitor<'_> for AnyValue {
            type Value = StatValue;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("the value of a statistic")
            }
            fn visit_u64<E>(self, value: u64) -> Result<StatValue, E> {
                Ok(StatValue(Some(value)))
            }
            fn visit_i64<E>(self, _: i64) -> Result<StatValue, E> {
                Ok(StatValue(None))
            }
            fn visit_f64<E>(self, _: f64) -> Result<StatValue, E> {
                Ok(StatValue(None))
            }
            fn visit_str<E>(self, _: &str) -> Result<StatValue, E> {
                Ok(StatValue(None))
            }
        }
        from.deserialize_any(AnyValue)
    }
}

#[cfg(test)]
mod tests {
    use serin_filter::outcome::Failure;

    use super::*;

    #[test]
    fn the_statistics_page_is_read() {
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
            {"name": "wasmcustom.serin.service=.=shop;.;salt=.=3;.;slice=.=10000;.;slice_requests", "value": 6},
            {"name": "wasmcustom.serin.service=.=cart;.;salt=.=3;.;slice=.=10000;.;slice_requests", "value": 9},
            {"histograms": {"supported_quantiles": [0.5]}}]}"#;
        let page = AdminPage::parse(page.as_bytes()).unwrap();
        let failures = [(Stat::Failures(Failure::Reset), 4)].into_iter().collect();
        let mut slices = SliceCounts::default();
        slices.set(3, 10_000, SliceStat::Requests, 6);
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
        assert_eq!(page.snapshot(&"shop".parse().unwrap(), "serin"), expected);
        let cart = page.snapshot(&"cart".parse().unwrap(), "other");
        assert_eq!(
            (cart.rejections, cart.versions.len(), cart.generation),
            (9, 1, Some(Generation(7)))
        );
        let unknown = page.snapshot(&"unknown".parse().unwrap(), "nothing");
        assert_eq!((unknown.rejections, unknown.versions.len(), unknown.ticks), (0, 0, 90));
    }

    #[test]
    fn an_invalid_page_is_rejected() {
        for text in ["", "<html>", "[]", "{}", r#"{"stats": [{"name": 3}]}"#, r#"{"stats": 7}"#] {
            assert!(AdminPage::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
