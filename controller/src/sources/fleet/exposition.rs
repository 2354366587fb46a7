//! The filter's statistics in Envoy's page for Prometheus.
//!
//! The page has a port of its own, so it is reachable where the admin interface is not, as in a
//! pod of Istio. Without tag rules in the bootstrap, which take a restart of every pod, Envoy has
//! no labels for the filter's statistics: the page has the whole name, with `_` for each character
//! that Prometheus does not allow. The name can't be parsed back, but the names to look up are
//! known.

use std::collections::HashMap;

use serin_core::config::prometheus::prometheus_name;
use serin_core::observation::Snapshot;
use serin_core::observation::series::SeriesSelector;
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::stat::{self, SliceStat, Stat};
use serin_filter::table::BUCKETS;

/// Path of the page, below the base address.
pub(super) const PATH: &str = "/stats/prometheus?usedonly&filter=^wasmcustom.serin";

/// The values on a page by the name of the statistic; series with labels are summed.
pub type MetricValues = HashMap<String, u64>;

/// Parses a page.
///
/// # Errors
/// A line is not in the format.
pub(super) fn parse(text: &[u8]) -> Result<MetricValues, String> {
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut values = MetricValues::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let wrong =
            || format!("{:?} is not a statistic", line.chars().take(80).collect::<String>());
        let (series, value) = line.rsplit_once(' ').ok_or_else(wrong)?;
        let value: f64 = value.parse().map_err(|_| wrong())?;
        let name = series.split('{').next().unwrap_or(series);
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_:".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_part) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // counts, exact up to 2^53
        let count = value.max(0.0) as u64;
        let sum = values.entry(name.to_owned()).or_default();
        *sum = sum.saturating_add(count);
    }
    Ok(values)
}

/// The names of one service's statistics on the page.
#[derive(Debug)]
pub struct MetricIndex {
    counters: Vec<(String, VersionName, Stat)>,
    tripped: Vec<(String, VersionName)>,
    slices: Vec<(String, u32, u32, SliceStat)>,
}

impl MetricIndex {
    /// The names of a rollout's versions, and of the slices of its A/A test.
    #[must_use]
    pub fn new(selector: &SeriesSelector) -> Self {
        let SeriesSelector { service, versions, slices } = selector;
        let counters = versions.iter().flat_map(|version| {
            let named = move |stat: Stat| {
                (prometheus_name(&stat.name(service, version)), version.clone(), stat)
            };
            Stat::all().map(named)
        });
        let tripped = versions.each_ref().map(|version| {
            let name = stat::of_version(service, version, stat::TRIPPED);
            (prometheus_name(&name), version.clone())
        });
        let watched = slices.clone().into_iter().flat_map(|mut watch| {
            watch.slices.push(BUCKETS);
            let salts = (0..).zip(&watch.salts).map(|(number, _)| number);
            salts.flat_map(|salt| watched(service, salt, &watch.slices)).collect::<Vec<_>>()
        });
        Self { counters: counters.collect(), tripped: tripped.into(), slices: watched.collect() }
    }

    /// The service's statistics on a page.
    #[must_use]
    pub fn snapshot(&self, values: &MetricValues) -> Snapshot {
        let value = |name: &str| values.get(name).copied();
        let own = |name: &str| value(&prometheus_name(name));
        let mut snapshot = Snapshot {
            generation: own(stat::GENERATION).map(Generation),
            started: own(stat::START_TIME).unwrap_or(0),
            ticks: own(stat::TICKS).unwrap_or(0),
            ticks_behind: own(stat::TICKS_BEHIND).unwrap_or(0),
            rejections: own(stat::CONFIG_REJECTED).unwrap_or(0),
            ..Snapshot::default()
        };
        for (name, version, stat) in &self.counters {
            if let Some(count) = value(name) {
                snapshot.versions.entry(version.clone()).or_default().set(*stat, count);
            }
        }
        let cut_off = self.tripped.iter().filter(|(name, _)| value(name).is_some_and(|on| on > 0));
        snapshot.tripped.extend(cut_off.map(|(_, version)| version.clone()));
        for (name, salt, slice, watched) in &self.slices {
            if let Some(count) = value(name) {
                snapshot.slices.set(*salt, *slice, *watched, count);
            }
        }
        snapshot
    }
}

/// The names of all slices of one salt.
fn watched(
    service: &ServiceName,
    salt: u32,
    slices: &[u32],
) -> impl Iterator<Item = (String, u32, u32, SliceStat)> {
    let one = move |slice: &u32| {
        let slice = *slice;
        SliceStat::ALL.map(|watched| {
            (prometheus_name(&watched.name(service, salt, slice)), salt, slice, watched)
        })
    };
    slices.iter().flat_map(one)
}

#[cfg(test)]
mod tests {
    use serin_core::spec::Spec;
    use serin_filter::outcome::Failure;

    use super::*;

    const PAGE: &str = "\
# TYPE serin_ticks counter
serin_ticks{} 90
# TYPE serin_generation gauge
serin_generation{} 7
serin_start_time_seconds{} 1700000000
serin_service___shop___version___v2___kind___reset___failures{} 4
serin_service___shop___version___v2___tripped{} 1
serin_service___shop___version___v1___tripped{} 0
serin_service___cart___version___v2___tripped{} 1
serin_service___shop___version___v1___requests{} 3
serin_service___shop___version___v1___requests{pod=\"a\"} 2
";

    #[test]
    fn known_names_are_found_on_the_page() {
        let spec = include_str!("../../../../envoy/rollout.yaml");
        let names = MetricIndex::new(&Spec::parse(spec).unwrap().plan.series());
        let snapshot = names.snapshot(&parse(PAGE.as_bytes()).unwrap());
        let (v1, v2): (VersionName, VersionName) = ("v1".parse().unwrap(), "v2".parse().unwrap());
        assert_eq!((snapshot.generation, snapshot.ticks), (Some(Generation(7)), 90));
        assert_eq!(snapshot.started, 1_700_000_000);
        assert_eq!(snapshot.tripped, [v2.clone()].into());
        assert_eq!(snapshot.versions[&v1].count(Stat::Requests), 5);
        assert_eq!(snapshot.versions[&v2].count(Stat::Failures(Failure::Reset)), 4);
    }

    #[test]
    fn an_invalid_page_is_rejected() {
        for text in ["<html>", "serin_ticks{}", "serin_ticks{} many", "{\"stats\": []} 1"] {
            parse(text.as_bytes()).unwrap_err();
        }
        assert!(parse(b"").unwrap().is_empty());
    }
}
