//! The filter's statistics in Prometheus: the query for them, and the statistic of each series.
//!
//! A statistic is a series with labels if the proxies' bootstraps have serin's tag rules.
//! Otherwise, as in a mesh, the name of the series contains service and version.

use std::collections::BTreeMap;

use serin_core::config::prometheus::prometheus_name;
use serin_core::observation::health::ProxyName;
use serin_core::observation::series::SeriesSelector;
use serin_core::observation::{SliceCounts, Snapshot};
use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::stat::{self, SliceStat, Stat};

use super::client::Sample;
use crate::sources::fleet::{MetricIndex, MetricValues};

/// A label that no series has: the query marks its own series with it.
const SYNTHETIC_LABEL: &str = "serin_made";

/// Labels besides service and version; a statistic has at most one of them.
const STAT_LABELS: [&str; 4] = ["reason", "class", "kind", "le"];

/// The suffix of the statistics that count rejected configurations.
const REJECTIONS: &str = "(config_fail|update_rejected|update_failure)";

/// The statistics of a proxy itself.
const PROXY_STATS: &str = "generation|start_time_seconds|ticks|ticks_behind";

/// The series of one service.
#[derive(Debug)]
pub struct Series {
    service: ServiceName,
    format: SeriesFormat,
}

/// How the filter's statistics become series.
#[derive(Debug)]
enum SeriesFormat {
    /// With labels; `discovery` is the prefix of the statistics about the delivery of the filter's
    /// configuration.
    Labelled { discovery: String },
    /// By name.
    Plain(MetricIndex),
}

/// The state of a proxy.
#[derive(Debug, Default)]
pub(super) struct ScrapedInstance {
    /// Its counters as of the last scrape.
    pub(super) snapshot: Snapshot,
    /// The time of the last scrape, in seconds since 1970; `None` if the scrape had none of the
    /// filter's statistics.
    pub(super) scraped: Option<f64>,
    /// Whether the last scrape succeeded.
    pub(super) up: Option<bool>,
    /// Series without labels.
    pub(super) values: MetricValues,
}

pub(super) type ScrapedInstances = BTreeMap<ProxyName, ScrapedInstance>;

impl Series {
    /// The series of proxies whose bootstraps have serin's tag rules. `filter` is the name of the
    /// filter's configuration in the listeners' `config_discovery`.
    #[must_use]
    pub fn labelled(service: ServiceName, filter: &str) -> Self {
        let discovery =
            format!("envoy_extension_config_discovery_http_filter_{}_", prometheus_name(filter));
        Self { service, format: SeriesFormat::Labelled { discovery } }
    }

    /// The series of other proxies, for the versions of a rollout.
    #[must_use]
    pub fn plain(selector: &SeriesSelector) -> Self {
        let format = SeriesFormat::Plain(MetricIndex::new(selector));
        Self { service: selector.service.clone(), format }
    }

    /// The query for all of the service's statistics, at all proxies. One query has one timestamp
    /// and one state of the storage.
    pub(super) fn query(&self, instances: &BTreeMap<String, String>) -> String {
        let proxies: String =
            instances.iter().map(|(label, value)| format!(",{label}={}", quoted(value))).collect();
        let service = &self.service;
        let counts = match &self.format {
            SeriesFormat::Labelled { discovery } => format!(
                "{{__name__=~\"serin_.+\",service=\"{service}\"{proxies}}} \
                 or {{__name__=~\"serin_({PROXY_STATS})|{discovery}{REJECTIONS}\"{proxies}}}"
            ),
            SeriesFormat::Plain(_) => {
                let (of_service, rejected) = (
                    prometheus_name(&stat::of_service(service, "")),
                    prometheus_name(stat::CONFIG_REJECTED),
                );
                format!(
                    "{{__name__=~\"{of_service}.+|serin_({PROXY_STATS})|{rejected}\"{proxies}}}"
                )
            }
        };
        let ticks = format!("serin_ticks{{{}}}", proxies.trim_start_matches(','));
        let up = format!("up{{{}}}", proxies.trim_start_matches(','));
        // Without labels, a target counts as a proxy if it was one within the hour.
        let up = match instances.is_empty() {
            true => format!("({up} and on (job, instance) last_over_time({ticks}[1h]))"),
            false => up,
        };
        format!(
            "{counts} \
             or label_replace(timestamp({ticks}),\"{SYNTHETIC_LABEL}\",\"scraped\",\"\",\"\") \
             or label_replace({up},\"{SYNTHETIC_LABEL}\",\"up\",\"\",\"\")"
        )
    }

    /// The proxies in the result of the query.
    ///
    /// # Errors
    /// Series can't be attributed to one instance.
    pub(super) fn collect(&self, samples: &[Sample]) -> Result<ScrapedInstances, String> {
        let mut instances = ScrapedInstances::new();
        let mut pods = BTreeMap::new();
        for sample in samples {
            let name = sample.label("instance");
            if name.is_empty() {
                return Err("with series that have no label \"instance\"".to_owned());
            }
            let instance = match instances.get_mut(name) {
                Some(instance) => instance,
                None => instances.entry(ProxyName::from(name)).or_default(),
            };
            match sample.label(SYNTHETIC_LABEL) {
                "" => self.format.add(instance, sample),
                "up" => instance.up = sample.value().map(|up| up > 0.0),
                _ => {
                    if instance.scraped.is_some() {
                        return Err(format!(
                            "with more than one target of the instance {name:?}: its requests would count twice; set in \
                             prometheus.instances the labels of the proxies"
                        ));
                    }
                    instance.scraped = sample.value();
                    let pod = (sample.label("namespace"), sample.label("pod"));
                    let other = pods.insert(pod, name).filter(|_| !pod.1.is_empty());
                    if let Some(other) = other {
                        return Err(format!(
                            "with two targets in the pod {}, {other:?} and {name:?}: its requests would count twice; set in \
                             prometheus.instances the labels that select the proxies",
                            pod.1
                        ));
                    }
                }
            }
        }
        if let SeriesFormat::Plain(names) = &self.format {
            for instance in instances.values_mut() {
                instance.snapshot = names.snapshot(&std::mem::take(&mut instance.values));
            }
        }
        Ok(instances)
    }
}

impl SeriesFormat {
    fn add(&self, instance: &mut ScrapedInstance, sample: &Sample) {
        let Some(value) = sample.value().filter(|value| *value >= 0.0) else { return };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // counts, exact up to 2^53
        let count = value as u64;
        match self {
            Self::Labelled { discovery } => instance.add(sample, discovery, count),
            Self::Plain(_) => {
                *instance.values.entry(sample.label("__name__").to_owned()).or_default() += count;
            }
        }
    }
}

/// A string of PromQL.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

impl ScrapedInstance {
    fn add(&mut self, sample: &Sample, discovery: &str, count: u64) {
        let name = sample.label("__name__");
        let snapshot = &mut self.snapshot;
        let Some(base) = name.strip_prefix("serin_") else {
            if name.starts_with(discovery) {
                snapshot.rejections += count;
            }
            return;
        };
        match format!("{}{base}", stat::PREFIX).as_str() {
            stat::GENERATION => snapshot.generation = Some(Generation(count)),
            stat::START_TIME => snapshot.started = count,
            stat::TICKS => snapshot.ticks = count,
            stat::TICKS_BEHIND => snapshot.ticks_behind = count,
            _ => add_service_stat(snapshot, sample, base, count),
        }
    }
}

fn add_service_stat(snapshot: &mut Snapshot, sample: &Sample, base: &str, count: u64) {
    let Ok(service) = sample.label("service").parse::<ServiceName>() else { return };
    if let Ok(version) = sample.label("version").parse::<VersionName>() {
        if base == stat::TRIPPED {
            if count > 0 {
                snapshot.tripped.insert(version);
            }
            return;
        }
        // Restores the name that Envoy has split into tags.
        let name = stat::of_version(&service, &version, &suffix(sample, base));
        if let Some((.., stat)) = Stat::parse(&name) {
            snapshot.versions.entry(version).or_default().set(stat, count);
        }
    } else {
        let (salt, slice) = (sample.label("salt"), sample.label("slice"));
        let name = stat::of_service(&service, &format!("salt=.={salt};.;slice=.={slice};.;{base}"));
        if let Some((_, salt, slice, watched)) = SliceStat::parse(&name) {
            let slices: &mut SliceCounts = &mut snapshot.slices;
            slices.set(salt, slice, watched, count);
        }
    }
}

fn suffix(sample: &Sample, base: &str) -> String {
    let label = STAT_LABELS.iter().find_map(|label| Some((label, sample.metric.get(*label)?)));
    match label {
        // Prometheus 3 writes integers as floating-point numbers: "250.0".
        Some((label, value)) => {
            format!("{label}=.={};.;{base}", value.strip_suffix(".0").unwrap_or(value))
        }
        None => base.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serin_core::observation::Counters;
    use serin_core::spec::Spec;
    use serin_filter::histogram;
    use serin_filter::outcome::Failure;
    use serin_filter::select::Reason;

    use super::*;

    fn samples(text: &str) -> Vec<Sample> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn series_become_snapshots() {
        let text = r#"[
            {"metric": {"__name__": "serin_generation", "instance": "a"}, "value": [1.5, "7"]},
            {"metric": {"__name__": "serin_start_time_seconds", "instance": "a"}, "value": [1.5, "1.7e+09"]},
            {"metric": {"__name__": "serin_ticks", "instance": "a"}, "value": [1.5, "90"]},
            {"metric": {"__name__": "envoy_extension_config_discovery_http_filter_my_filter_update_rejected", "instance": "a"}, "value": [1.5, "2"]},
            {"metric": {"__name__": "envoy_extension_config_discovery_http_filter_my_filter_config_fail", "instance": "a"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "serin_chosen", "instance": "a", "service": "shop", "version": "v1.2", "reason": "header"}, "value": [1.5, "5"]},
            {"metric": {"__name__": "serin_failures", "instance": "a", "service": "shop", "version": "v1.2", "kind": "reset"}, "value": [1.5, "4"]},
            {"metric": {"__name__": "serin_latency_ms_bucket", "instance": "a", "service": "shop", "version": "v1.2", "le": "250.0"}, "value": [1.5, "8"]},
            {"metric": {"__name__": "serin_latency_ms_bucket", "instance": "a", "service": "shop", "version": "v1.2", "le": "+Inf"}, "value": [1.5, "9"]},
            {"metric": {"__name__": "serin_tripped", "instance": "a", "service": "shop", "version": "v1.2"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "serin_requests", "instance": "a", "service": "shop", "version": "v1.2"}, "value": [1.5, "NaN"]},
            {"metric": {"__name__": "serin_slice_requests", "instance": "a", "service": "shop", "salt": "3", "slice": "10000"}, "value": [1.5, "6"]},
            {"metric": {"__name__": "serin_something_new", "instance": "a", "service": "shop", "version": "v1.2"}, "value": [1.5, "6"]},
            {"metric": {"instance": "a", "serin_made": "scraped"}, "value": [1.5, "1.25"]},
            {"metric": {"__name__": "up", "instance": "a", "serin_made": "up"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "up", "instance": "b", "serin_made": "up"}, "value": [1.5, "0"]}]"#;
        let series = Series::labelled("shop".parse().unwrap(), "my.filter");
        let instances = series.collect(&samples(text)).unwrap();
        let a = &instances["a"];
        let version: VersionName = "v1.2".parse().unwrap();
        let counters: Counters = [
            (Stat::Chosen(Reason::Header), 5),
            (Stat::Failures(Failure::Reset), 4),
            (Stat::LatencyBucket(histogram::bucket(250_000)), 8),
            (Stat::LatencyBucket(histogram::BOUNDARIES), 9),
        ]
        .into_iter()
        .collect();
        let mut slices = SliceCounts::default();
        slices.set(3, 10_000, SliceStat::Requests, 6);
        let expected = Snapshot {
            generation: Some(Generation(7)),
            started: 1_700_000_000,
            ticks: 90,
            ticks_behind: 0,
            rejections: 3,
            tripped: [version.clone()].into(),
            versions: [(version, counters)].into(),
            slices,
        };
        assert_eq!((&a.snapshot, a.scraped, a.up), (&expected, Some(1.25), Some(true)));
        assert_eq!((instances["b"].scraped, instances["b"].up), (None, Some(false)));
    }

    #[test]
    fn series_without_labels_are_found_by_name() {
        let text = r#"[
            {"metric": {"__name__": "serin_generation", "instance": "a"}, "value": [1.5, "7"]},
            {"metric": {"__name__": "serin_config_rejected", "instance": "a"}, "value": [1.5, "2"]},
            {"metric": {"__name__": "serin_service___shop___version___v2___kind___reset___failures", "instance": "a"}, "value": [1.5, "4"]},
            {"metric": {"__name__": "serin_service___shop___version___v2___tripped", "instance": "b"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "serin_service___shop___version___v9___requests", "instance": "b"}, "value": [1.5, "1"]},
            {"metric": {"instance": "b", "serin_made": "scraped"}, "value": [1.5, "1.25"]}]"#;
        let spec = include_str!("../../../../envoy/rollout.yaml");
        let series = Series::plain(&Spec::parse(spec).unwrap().plan.series());
        let instances = series.collect(&samples(text)).unwrap();
        let (a, b) = (&instances["a"], &instances["b"]);
        let v2: VersionName = "v2".parse().unwrap();
        assert_eq!((a.snapshot.generation, a.snapshot.rejections), (Some(Generation(7)), 2));
        assert_eq!(a.snapshot.versions[&v2].count(Stat::Failures(Failure::Reset)), 4);
        assert_eq!((&b.snapshot.tripped, b.scraped), (&[v2].into(), Some(1.25)));
        assert!(b.snapshot.versions.is_empty());
        let query = series.query(&[("job".to_owned(), "envoy".to_owned())].into());
        let counts = "{__name__=~\"serin_service___shop___.+|serin_(generation|start_time_seconds|ticks|ticks_behind)|\
                      serin_config_rejected\",job=\"envoy\"} or ";
        assert!(query.starts_with(counts), "{query}");
    }

    #[test]
    fn duplicate_series_are_rejected() {
        let twice = r#"[
            {"metric": {"instance": "a", "job": "x", "serin_made": "scraped"}, "value": [1.5, "1"]},
            {"metric": {"instance": "a", "job": "y", "serin_made": "scraped"}, "value": [1.5, "1"]}]"#;
        let series = Series::labelled("shop".parse().unwrap(), "serin");
        let error = series.collect(&samples(twice)).unwrap_err();
        assert!(error.contains("more than one target of the instance \"a\""), "{error}");
        let ports = r#"[
            {"metric": {"instance": "a:1", "namespace": "x", "pod": "p", "serin_made": "scraped"}, "value": [1.5, "1"]},
            {"metric": {"instance": "b:1", "namespace": "y", "pod": "p", "serin_made": "scraped"}, "value": [1.5, "1"]},
            {"metric": {"instance": "a:2", "namespace": "x", "pod": "p", "serin_made": "scraped"}, "value": [1.5, "1"]}]"#;
        let error = series.collect(&samples(ports)).unwrap_err();
        assert!(error.contains("in the pod p, \"a:1\" and \"a:2\""), "{error}");
        let nameless = r#"[{"metric": {"__name__": "serin_ticks"}, "value": [1.5, "1"]}]"#;
        assert!(series.collect(&samples(nameless)).is_err());
    }

    #[test]
    fn proxies_are_identified_by_their_labels() {
        let labels = [("job".to_owned(), "e\"x".to_owned()), ("zone".to_owned(), "a".to_owned())];
        let query = Series::labelled("shop".parse().unwrap(), "serin").query(&labels.into());
        let proxies = r#"job="e\"x",zone="a""#;
        for part in [
            format!("{{__name__=~\"serin_.+\",service=\"shop\",{proxies}}}"),
            format!("timestamp(serin_ticks{{{proxies}}})"),
            format!("label_replace(up{{{proxies}}},"),
        ] {
            assert!(query.contains(&part), "{part}\nis not in\n{query}");
        }
    }
}
