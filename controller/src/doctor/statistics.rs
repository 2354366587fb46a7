//! The statistics: how requests fared so far, and whether Prometheus finds the labels.

use std::collections::BTreeSet;

use serin_core::observation::{Snapshot, VersionDelta};
use serin_filter::config::wire;

use super::Expected;
use super::finding::{Check, Finding};
use super::pages::ProxyPages;

/// The labels that the rules of `envoy/bootstrap.yaml` make.
const LABELS: [&str; 8] = ["service", "version", "reason", "class", "kind", "salt", "slice", "le"];

/// The requests of a version that show whether its route works.
const MIN_REQUESTS: u64 = 20;

/// The outcome of requests since the proxy's start: whether the routes follow the filter, and
/// whether its tripwire has cut off a version.
pub(super) fn served(service: &wire::Service, snapshot: &Snapshot) -> Vec<Finding> {
    let name = &service.name;
    let mut findings = Vec::new();
    let mut requests = 0;
    for (version, counters) in &snapshot.versions {
        let VersionDelta { chosen, misrouted, unmatched, requests: served, .. } =
            VersionDelta::new(counters);
        requests += served;
        let misrouted = misrouted + unmatched;
        if chosen >= MIN_REQUESTS && misrouted * 2 > chosen {
            findings.push(Finding::warn(
                Check::Traffic,
                format!("{name}: since the start, other clusters served {misrouted} of {chosen} requests for which {version} was chosen"),
                "if the routes are correct by now, ignore this; else check them",
            ));
        }
    }
    for version in &snapshot.tripped {
        findings.push(Finding::warn(
            Check::Traffic,
            format!("{name}: the filter's tripwire has cut off {version}"),
            "find out why it fails; the next generation uses it again",
        ));
    }
    if findings.is_empty() {
        findings.push(match requests {
            0 => Finding::skipped(Check::Traffic, format!("{name}: no request yet")),
            _ => Finding::ok(
                Check::Traffic,
                format!("{name}: the chosen versions serve their requests"),
            ),
        });
    }
    findings
}

/// Whether a Prometheus that scrapes the proxy finds the filter's labels.
pub(super) fn labels(pages: &ProxyPages, expected: &Expected) -> Finding {
    let missing = missing(&pages.prometheus, &pages.dump.labels().collect());
    if missing.is_empty() {
        return Finding::ok(
            Check::Statistics,
            "/stats and /stats/prometheus have them with their labels",
        );
    }
    let message =
        format!("/stats/prometheus has the statistics without the labels: {}", missing.join(", "));
    let fix = "add the rules of stats_config.stats_tags that `serin init envoy` prints to the bootstrap, and restart Envoy";
    match expected.prometheus {
        true => Finding::fail(Check::Statistics, message, fix),
        false => Finding::warn(Check::Statistics, message, fix),
    }
}

/// Labels that are not on the page and have no rule.
fn missing(page: &str, rules: &BTreeSet<&str>) -> Vec<&'static str> {
    let series = || page.lines().filter(|line| !line.starts_with('#'));
    // Without a rule, a label stays in the name, with `_` for each character that Prometheus does
    // not allow.
    let in_name = |label: &str| {
        let name = |line: &str| {
            line.split('{').next().is_some_and(|name| name.contains(&format!("{label}___")))
        };
        series().any(name)
    };
    let labelled = |label: &str| {
        let labels = |line: &str| {
            line.split_once('{').is_some_and(|(_, labels)| labels.contains(&format!("{label}=\"")))
        };
        series().any(labels)
    };
    let missing = LABELS
        .into_iter()
        .filter(|label| in_name(label) || !labelled(label) && !rules.contains(label));
    missing.collect()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::super::pages::ProxyStats;
    use super::super::tests::service;
    use super::*;

    const PAGE: &str = include_str!("golden/prometheus.txt");
    const STATS: &str = include_str!("golden/stats.json");

    /// The page of a real Envoy without any rule.
    const BARE: &str = "\
# TYPE serin_service___shop____version___v1____class___2xx____answers counter
serin_service___shop____version___v1____class___2xx____answers{} 41
serin_generation{} 7
";

    fn of(stats: &str) -> Vec<Finding> {
        let stats = ProxyStats::parse(stats.as_bytes()).unwrap();
        served(&service(), &stats.filter.snapshot(&service().name, "serin"))
    }

    #[test]
    fn labels_of_a_real_envoy_are_found() {
        // The rules cover labels that no request has used so far.
        let rules: BTreeSet<_> = LABELS.into();
        assert!(missing(PAGE, &rules).is_empty());
        assert_eq!(missing(PAGE, &BTreeSet::new()), ["kind", "salt", "slice"]);
        assert_eq!(missing("", &BTreeSet::new()), LABELS);
        assert!(missing("", &rules).is_empty());
    }

    #[test]
    fn labels_in_a_name_are_missing_despite_rules() {
        assert_eq!(missing(BARE, &LABELS.into()), ["service", "version", "class"]);
    }

    #[test]
    fn served_requests_are_reported() {
        let levels = |found: Vec<Finding>| found.into_iter().map(|it| it.level).collect::<Vec<_>>();
        assert_eq!(levels(of(STATS)), [Level::Ok]);
        let stat = |stat: &str, value: u32| {
            format!(
                r#"{{"name": "wasmcustom.serin.service=.=shop;.;version=.=v2;.;{stat}", "value": {value}}}"#
            )
        };
        let list = |stats: &[String]| format!(r#"{{"stats": [{}]}}"#, stats.join(","));
        assert_eq!(levels(of(&list(&[]))), [Level::Skipped]);
        let chosen = stat("reason=.=header;.;chosen", 30);
        let misrouted = of(&list(&[chosen.clone(), stat("misrouted", 30), stat("tripped", 1)]));
        assert_eq!(levels(misrouted), [Level::Warn, Level::Warn]);
        assert_eq!(levels(of(&list(&[chosen, stat("misrouted", 3)]))), [Level::Skipped]);
    }
}
