//! The Prometheus of the evidence: whether it answers, and has scraped the proxies recently.

use std::time::SystemTime;

use serin_core::config::prometheus::PrometheusSettings;
use serin_core::observation::aggregator::join_names;

use super::finding::{Check, Finding};
use crate::sources::prometheus::{PrometheusClient, Sample};

/// Data older than this, in seconds, is too old to roll back in time.
const STALE_AFTER_SECONDS: f64 = 60.0;

/// A larger difference of clocks, in seconds, makes scrapes look old or absent.
const MAX_CLOCK_OFFSET_SECONDS: f64 = 5.0;

/// Checks the Prometheus.
pub(super) async fn check(settings: &PrometheusSettings, service: &str) -> Vec<Finding> {
    let labels: Vec<_> =
        settings.instances.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    let labels = labels.join(",");
    let client = PrometheusClient::new(settings.connection.clone());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    let query = async |query: String| client.query(&query, now).await;
    let up =
        query(format!("up{{{labels}}} and on (instance) serin_ticks or up{{{labels}}} == 0")).await;
    let scraped = query(format!("timestamp(serin_ticks{{{labels}}})")).await;
    let counted = query(format!(
        "count by (instance) ({{__name__=~\"serin_.+\",service={service:?},{labels}}})"
    ))
    .await;
    match (up, scraped, counted) {
        (Ok(up), Ok(scraped), Ok(counted)) => {
            judge(&up, &scraped, &counted, now, !labels.is_empty())
        }
        (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) => vec![Finding::fail(
            Check::Prometheus,
            error.to_string(),
            "check spec.envoy.prometheus: the url, and the credentials; without Prometheus no rollout advances",
        )],
    }
}

fn judge(
    up: &[Sample],
    scraped: &[Sample],
    counted: &[Sample],
    now: f64,
    labelled: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let instances = |samples: Vec<&Sample>| {
        join_names(samples.into_iter().map(|sample| sample.label("instance").to_owned()))
    };
    // Without labels of the proxies, any target may be down.
    let down: Vec<_> = up.iter().filter(|it| labelled && it.value() == Some(0.0)).collect();
    if !down.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            format!("Prometheus can't scrape {}", instances(down)),
            "its page of targets has the reason; remove a proxy that no longer exists from its targets",
        ));
    }
    let age = |sample: &&Sample| now - sample.value().unwrap_or(0.0);
    let old: Vec<_> = scraped.iter().filter(|it| age(it) > STALE_AFTER_SECONDS).collect();
    let early: Vec<_> = scraped.iter().filter(|it| age(it) < -MAX_CLOCK_OFFSET_SECONDS).collect();
    if scraped.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            "Prometheus has no statistics of a serin filter",
            "make it scrape the proxies' /stats/prometheus, and check spec.envoy.prometheus.instances",
        ));
    }
    if !old.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            format!(
                "Prometheus has scraped {} more than {STALE_AFTER_SECONDS} s ago",
                instances(old)
            ),
            "make it scrape every few seconds (scrape_interval), and check its clock",
        ));
    }
    if !early.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            "Prometheus' clock is ahead of this machine's",
            "synchronize both with a time server",
        ));
    }
    if findings.is_empty() {
        let oldest = scraped.iter().map(|it| age(&it)).fold(0.0, f64::max);
        let counted = match counted.len() {
            0 => "no request of the service has been counted yet".to_owned(),
            some => format!("{some} of them count the service"),
        };
        findings.push(Finding::ok(
            Check::Prometheus,
            format!("{} proxies, the oldest scrape {oldest:.0} s old; {counted}", scraped.len()),
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn sample(instance: &str, value: f64) -> Sample {
        let text =
            format!(r#"{{"metric": {{"instance": "{instance}"}}, "value": [1000.0, "{value}"]}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn finding(up: f64, scraped: Option<f64>) -> (Level, String) {
        let scraped: Vec<_> = scraped.into_iter().map(|at| sample("a", at)).collect();
        let found = judge(&[sample("a", up)], &scraped, &[], 1_000.0, true);
        (found[0].level, found[0].message.clone())
    }

    #[test]
    fn the_state_of_prometheus_is_reported() {
        for (up, scraped, level, message) in [
            (1.0, Some(998.0), Level::Ok, "the oldest scrape 2 s old"),
            (0.0, Some(998.0), Level::Fail, "can't scrape a"),
            (1.0, None, Level::Fail, "no statistics"),
            (1.0, Some(900.0), Level::Fail, "more than 60 s ago"),
            (1.0, Some(1_010.0), Level::Fail, "ahead"),
        ] {
            let found = finding(up, scraped);
            assert!(found.0 == level && found.1.contains(message), "{found:?}");
        }
    }
}
