//! The filter's statistics as Prometheus has them: which query gives all of them, and what each series stands for.

use std::collections::BTreeMap;

use serin_filter::names::{Generation, ServiceName, VersionName};
use serin_filter::stat::{self, Stat, Watched};

use super::client::Sample;
use crate::sli::roster::Name;
use crate::sli::{Slices, Snapshot};

/// A label that no series has: it tells what the query makes from those that it reads.
const MADE: &str = "serin_made";

/// Labels besides service and version, of which a statistic has one at the most.
const LABELS: [&str; 4] = ["reason", "class", "kind", "le"];

/// What ends the names of the statistics that count refused configurations.
const REJECTIONS: &str = "(config_fail|update_rejected|update_failure)";

/// What is known of a proxy.
#[derive(Debug, Default)]
pub(super) struct Instance {
    /// Its counters as of the last scrape.
    pub(super) snapshot: Snapshot,
    /// When that was, in seconds since 1970; `None` if the last scrape has none of the filter's statistics.
    pub(super) scraped: Option<f64>,
    /// Whether the last scrape worked.
    pub(super) up: Option<bool>,
}

pub(super) type Instances = BTreeMap<Name, Instance>;

/// The query for everything that the filter counts of this service, at all proxies. One query is evaluated at one time, on one state of
/// what is stored.
pub(super) fn query(
    service: &ServiceName,
    filter: &str,
    instances: &BTreeMap<String, String>,
) -> String {
    let proxies: String =
        instances.iter().map(|(label, value)| format!(",{label}={}", quoted(value))).collect();
    let discovery = discovery(filter);
    let ticks = format!("serin_ticks{{{}}}", proxies.trim_start_matches(','));
    let up = format!("up{{{}}}", proxies.trim_start_matches(','));
    // Without labels that say so, a target is a proxy that was one within the hour.
    let up = match instances.is_empty() {
        true => format!("({up} and on (job, instance) last_over_time({ticks}[1h]))"),
        false => up,
    };
    format!(
        "{{__name__=~\"serin_.+\",service=\"{service}\"{proxies}}} \
         or {{__name__=~\"serin_(generation|start_time_seconds|ticks|ticks_behind)|{discovery}{REJECTIONS}\"{proxies}}} \
         or label_replace(timestamp({ticks}),\"{MADE}\",\"scraped\",\"\",\"\") \
         or label_replace({up},\"{MADE}\",\"up\",\"\",\"\")"
    )
}

/// What the names of the statistics begin with that tell how a filter's configuration is followed.
fn discovery(filter: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let filter: String = filter.chars().map(allowed).collect();
    format!("envoy_extension_config_discovery_http_filter_{filter}_")
}

/// A string of PromQL.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// The proxies in what the query has given.
///
/// # Errors
/// What it has given can't be told apart by instance.
pub(super) fn collect(samples: &[Sample], filter: &str) -> Result<Instances, String> {
    let discovery = discovery(filter);
    let mut instances = Instances::new();
    for sample in samples {
        let name = sample.label("instance");
        if name.is_empty() {
            return Err("with series that have no label \"instance\"".to_owned());
        }
        let instance = match instances.get_mut(name) {
            Some(instance) => instance,
            None => instances.entry(Name::from(name)).or_default(),
        };
        match sample.label(MADE) {
            "" => instance.take(sample, &discovery),
            "up" => instance.up = sample.value().map(|up| up > 0.0),
            _ => {
                if instance.scraped.is_some() {
                    return Err(format!(
                        "with more than one target of the instance {name:?}: its requests would count twice; say by \
                         spec.envoy.prometheus.instances which labels the proxies have"
                    ));
                }
                instance.scraped = sample.value();
            }
        }
    }
    Ok(instances)
}

impl Instance {
    fn take(&mut self, sample: &Sample, discovery: &str) {
        let Some(value) = sample.value().filter(|value| *value >= 0.0) else { return };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // counts, exact up to 2^53
        let count = value as u64;
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
            _ => of_service(snapshot, sample, base, count),
        }
    }
}

fn of_service(snapshot: &mut Snapshot, sample: &Sample, base: &str, count: u64) {
    let Ok(service) = sample.label("service").parse::<ServiceName>() else { return };
    if let Ok(version) = sample.label("version").parse::<VersionName>() {
        if base == stat::TRIPPED {
            if count > 0 {
                snapshot.tripped.insert(version);
            }
            return;
        }
        // The name that Envoy has taken apart, put together again.
        let name = stat::of_version(&service, &version, &suffix(sample, base));
        if let Some((.., stat)) = Stat::parse(&name) {
            snapshot.versions.entry(version).or_default().set(stat, count);
        }
    } else {
        let (salt, slice) = (sample.label("salt"), sample.label("slice"));
        let name = stat::of_service(&service, &format!("salt=.={salt};.;slice=.={slice};.;{base}"));
        if let Some((_, salt, slice, watched)) = Watched::parse(&name) {
            let slices: &mut Slices = &mut snapshot.slices;
            slices.set(salt, slice, watched, count);
        }
    }
}

fn suffix(sample: &Sample, base: &str) -> String {
    let label = LABELS.iter().find_map(|label| Some((label, sample.metric.get(*label)?)));
    match label {
        // Prometheus 3 writes whole numbers as floating ones: "250.0".
        Some((label, value)) => {
            format!("{label}=.={};.;{base}", value.strip_suffix(".0").unwrap_or(value))
        }
        None => base.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serin_filter::outcome::Failure;
    use serin_filter::{histogram, select::Reason};

    use super::*;
    use crate::sli::Counters;

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
            {"metric": {"__name__": "serin_watched_requests", "instance": "a", "service": "shop", "salt": "3", "slice": "10000"}, "value": [1.5, "6"]},
            {"metric": {"__name__": "serin_something_new", "instance": "a", "service": "shop", "version": "v1.2"}, "value": [1.5, "6"]},
            {"metric": {"instance": "a", "serin_made": "scraped"}, "value": [1.5, "1.25"]},
            {"metric": {"__name__": "up", "instance": "a", "serin_made": "up"}, "value": [1.5, "1"]},
            {"metric": {"__name__": "up", "instance": "b", "serin_made": "up"}, "value": [1.5, "0"]}]"#;
        let instances = collect(&samples(text), "my.filter").unwrap();
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
        let mut slices = Slices::default();
        slices.set(3, 10_000, Watched::Requests, 6);
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
    fn what_would_count_twice_is_refused() {
        let twice = r#"[
            {"metric": {"instance": "a", "job": "x", "serin_made": "scraped"}, "value": [1.5, "1"]},
            {"metric": {"instance": "a", "job": "y", "serin_made": "scraped"}, "value": [1.5, "1"]}]"#;
        let error = collect(&samples(twice), "serin").unwrap_err();
        assert!(error.contains("more than one target of the instance \"a\""), "{error}");
        let nameless = r#"[{"metric": {"__name__": "serin_ticks"}, "value": [1.5, "1"]}]"#;
        assert!(collect(&samples(nameless), "serin").is_err());
    }

    #[test]
    fn proxies_are_told_by_their_labels() {
        let service = "shop".parse().unwrap();
        let labels = [("job".to_owned(), "e\"x".to_owned()), ("zone".to_owned(), "a".to_owned())];
        let query = query(&service, "serin", &labels.into());
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
