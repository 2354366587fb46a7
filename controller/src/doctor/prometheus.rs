//! A Prometheus that evidence comes from: whether it answers, and has scraped the proxies of late.

use std::time::SystemTime;

use serin_core::config::prometheus::PrometheusSettings;
use serin_core::observation::aggregator::join_names;

use super::finding::{Check, Finding};
use crate::sources::prometheus::{PrometheusClient, Sample};

/// What was scraped longer ago than this, in seconds, shows no harm in time.
const STALE_AFTER_SECONDS: f64 = 60.0;

/// Clocks further apart than this, in seconds, make scrapes look old, or not there yet.
const MAX_CLOCK_OFFSET_SECONDS: f64 = 5.0;

/// What there is to say of it.
pub(super) async fn check(settings: &PrometheusSettings, service: &str) -> Vec<Finding> {
    let labels: Vec<_> =
        settings.instances.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
    let labels = labels.join(",");
    let client = PrometheusClient::new(settings.connection.clone());
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
    let ask = async |query: String| client.query(&query, now).await;
    let up =
        ask(format!("up{{{labels}}} and on (instance) serin_ticks or up{{{labels}}} == 0")).await;
    let scraped = ask(format!("timestamp(serin_ticks{{{labels}}})")).await;
    let counted = ask(format!(
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
            "see spec.envoy.prometheus: the url, and who may ask; without it no rollout goes on",
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
    // Without labels for the proxies, what is down may be anything.
    let down: Vec<_> = up.iter().filter(|it| labelled && it.value() == Some(0.0)).collect();
    if !down.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            format!("Prometheus can't scrape {}", instances(down)),
            "its page of targets says why; a proxy that is gone for good has to leave its targets",
        ));
    }
    let age = |sample: &&Sample| now - sample.value().unwrap_or(0.0);
    let old: Vec<_> = scraped.iter().filter(|it| age(it) > STALE_AFTER_SECONDS).collect();
    let early: Vec<_> = scraped.iter().filter(|it| age(it) < -MAX_CLOCK_OFFSET_SECONDS).collect();
    if scraped.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            "Prometheus has no statistics of a serin filter",
            "have it scrape the proxies' /stats/prometheus, and see spec.envoy.prometheus.instances",
        ));
    }
    if !old.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            format!(
                "Prometheus has scraped {} more than {STALE_AFTER_SECONDS} s ago",
                instances(old)
            ),
            "have it scrape every few seconds (scrape_interval), and see that its clock is right",
        ));
    }
    if !early.is_empty() {
        findings.push(Finding::fail(
            Check::Prometheus,
            "Prometheus' clock is ahead of this machine's",
            "have both follow a time server",
        ));
    }
    if findings.is_empty() {
        let oldest = scraped.iter().map(|it| age(&it)).fold(0.0, f64::max);
        let counted = match counted.len() {
            0 => "no request of the service is counted yet".to_owned(),
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

    fn told(up: f64, scraped: Option<f64>) -> (Level, String) {
        let scraped: Vec<_> = scraped.into_iter().map(|at| sample("a", at)).collect();
        let found = judge(&[sample("a", up)], &scraped, &[], 1_000.0, true);
        (found[0].level, found[0].message.clone())
    }

    #[test]
    fn what_prometheus_has_is_judged() {
        for (up, scraped, level, message) in [
            (1.0, Some(998.0), Level::Ok, "the oldest scrape 2 s old"),
            (0.0, Some(998.0), Level::Fail, "can't scrape a"),
            (1.0, None, Level::Fail, "no statistics"),
            (1.0, Some(900.0), Level::Fail, "more than 60 s ago"),
            (1.0, Some(1_010.0), Level::Fail, "ahead"),
        ] {
            let told = told(up, scraped);
            assert!(told.0 == level && told.1.contains(message), "{told:?}");
        }
    }
}
