//! `spec.analysis.metrics`: metrics of the candidate from queries, with limits.

mod web;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use self::web::WebSpec;
use super::error::{SpecError, at};
use super::prometheus::ConnectionSpec;
use super::value::{SpecCount, SpecDuration, SpecNumber};
use crate::config::prometheus::PrometheusConnection;
use crate::rollout::metric::{
    Metric, MetricProviderConfig, MetricRule, MetricsPlan, QueryTemplate,
};

/// The path of the section.
pub(super) const PATH: &str = "spec.analysis.metrics";

/// Queries and the Prometheus that answers them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MetricsSpec {
    /// Prometheus is the server that answers the queries. Default: the one that observes the
    /// proxies.
    prometheus: Option<ConnectionSpec>,
    /// Every is the time between two evaluations. At least 1s. Default: 15s.
    #[serde(default = "every")]
    every: SpecDuration,
    /// Queries lists the metrics. At least one.
    queries: Vec<QuerySpec>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct QuerySpec {
    /// Name is the name of the metric.
    name: String,
    /// Query is a PromQL expression with a single value. {{version}} stands for the version.
    query: Option<String>,
    /// Web is an HTTP request whose answer has the value, in the place of query.
    web: Option<WebSpec>,
    /// AtMost is the largest value of the candidate. At least one of atMost, atLeast and
    /// atMostTimes is required.
    at_most: Option<SpecNumber>,
    /// AtLeast is the smallest value of the candidate.
    at_least: Option<SpecNumber>,
    /// AtMostTimes is the largest ratio of the candidate's value to the baseline's. Above 0. The
    /// query must contain {{version}}.
    at_most_times: Option<SpecNumber>,
    /// Consecutive is the number of consecutive violations that fail the metric. At least 1.
    /// Default: 3.
    #[serde(default = "consecutive")]
    consecutive: SpecCount,
}

fn every() -> SpecDuration {
    SpecDuration(Duration::from_secs(15))
}

fn consecutive() -> SpecCount {
    SpecCount(3)
}

impl MetricsSpec {
    /// `source` is the Prometheus that observes the proxies: the default.
    pub(super) fn parse(
        self,
        source: Option<&PrometheusConnection>,
    ) -> Result<MetricsPlan, SpecError> {
        let prometheus = match self.prometheus {
            Some(prometheus) => Some(prometheus.parse(&format!("{PATH}.prometheus"))?),
            None => source.cloned(),
        };
        let interval = self.every.0;
        if interval < Duration::from_secs(1) {
            let every = humantime::format_duration(interval);
            return at(format!("{PATH}.every"), format!("{every} is below 1s"));
        }
        if self.queries.is_empty() {
            return at(format!("{PATH}.queries"), "empty; list at least one query");
        }
        let mut all = Vec::<Metric>::new();
        for (index, query) in self.queries.into_iter().enumerate() {
            let path = format!("{PATH}.queries[{index}]");
            let metric = query.parse(&path, prometheus.as_ref())?;
            if all.iter().any(|other| other.name == metric.name) {
                return at(format!("{path}.name"), format!("duplicate name {:?}", metric.name));
            }
            all.push(metric);
        }
        Ok(MetricsPlan { interval, all })
    }
}

impl QuerySpec {
    fn parse(
        self,
        path: &str,
        prometheus: Option<&PrometheusConnection>,
    ) -> Result<Metric, SpecError> {
        if self.name.trim().is_empty() {
            return at(format!("{path}.name"), "empty; set a name");
        }
        let provider = self.provider(path, prometheus)?;
        let limit = |name: &str, limit: Option<SpecNumber>| match limit {
            Some(SpecNumber(limit)) if !limit.is_finite() => {
                at(format!("{path}.{name}"), "not a finite number")
            }
            limit => Ok(limit.map(|limit| limit.0)),
        };
        let at_most_times = limit("atMostTimes", self.at_most_times)?;
        let rule = MetricRule {
            at_most: limit("atMost", self.at_most)?,
            at_least: limit("atLeast", self.at_least)?,
            at_most_times,
            consecutive: u32::try_from(self.consecutive.0).unwrap_or(u32::MAX),
        };
        if rule.at_most.or(rule.at_least).or(at_most_times).is_none() {
            return at(path, "one of atMost, atLeast and atMostTimes is required");
        }
        if let (Some(most), Some(least)) = (rule.at_most, rule.at_least)
            && most < least
        {
            return at(format!("{path}.atMost"), format!("{most} is below atLeast, {least}"));
        }
        if at_most_times.is_some_and(|factor| factor <= 0.0) {
            return at(format!("{path}.atMostTimes"), "must be above 0");
        }
        if at_most_times.is_some() && !provider.is_per_version() {
            let message = "requires {{version}} in the query, to get the baseline's value";
            return at(format!("{path}.atMostTimes"), message);
        }
        if self.consecutive.0 == 0 {
            return at(format!("{path}.consecutive"), "must be at least 1");
        }
        Ok(Metric { name: self.name, provider, rule })
    }

    fn provider(
        &self,
        path: &str,
        prometheus: Option<&PrometheusConnection>,
    ) -> Result<MetricProviderConfig, SpecError> {
        let query = match (&self.query, &self.web) {
            (Some(query), None) => query,
            (None, Some(web)) => {
                return Ok(MetricProviderConfig::Web(web.parse(&format!("{path}.web"))?));
            }
            _ => return at(path, "exactly one of query and web is required"),
        };
        let Some(connection) = prometheus.cloned() else {
            return at(format!("{PATH}.prometheus"), "missing; the query needs a Prometheus");
        };
        Ok(MetricProviderConfig::Prometheus {
            connection,
            query: template(format!("{path}.query"), query)?,
        })
    }
}

/// Parses a text with variables; it must not be empty.
fn template(path: String, text: &str) -> Result<QueryTemplate, SpecError> {
    if text.trim().is_empty() {
        return at(path, "empty");
    }
    QueryTemplate::parse(text).or_else(|error| at(path, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::prometheus::Auth;
    use crate::spec::Spec;

    /// The shipped sample with these metrics.
    fn with(metrics: &str) -> Result<Spec, SpecError> {
        let sample = include_str!("../../../../envoy/rollout.yaml");
        let analysis = format!("  analysis:\n    metrics:\n{metrics}\n");
        Spec::parse(&sample.replacen("  analysis:\n", &analysis, 1))
    }

    fn connection(metric: &Metric) -> &PrometheusConnection {
        match &metric.provider {
            MetricProviderConfig::Prometheus { connection, .. } => connection,
            MetricProviderConfig::Web(query) => panic!("{query:?}"),
        }
    }

    #[test]
    fn metrics_are_queries_with_limits() {
        let spec = with(
            "      prometheus: { url: 'http://p:9090', bearerTokenFile: /t }
      every: 5s
      queries:
        - { name: memory, query: 'mem{v=\"{{version}}\"}', atMost: 2e9, atMostTimes: 1.5 }
        - { name: orders, query: orders, atLeast: 3, consecutive: 1 }",
        );
        let MetricsPlan { interval, all } = spec.unwrap().plan.metrics.unwrap();
        let bearer = Auth::Bearer { token_file: "/t".into() };
        assert!(all.iter().all(|metric| connection(metric).auth == bearer));
        assert_eq!(interval, Duration::from_secs(5));
        let rules: Vec<_> = all.iter().map(|metric| (&*metric.name, metric.rule)).collect();
        let none =
            MetricRule { at_most: None, at_least: None, at_most_times: None, consecutive: 1 };
        let memory =
            MetricRule { at_most: Some(2e9), at_most_times: Some(1.5), consecutive: 3, ..none };
        assert_eq!(
            rules,
            [("memory", memory), ("orders", MetricRule { at_least: Some(3.0), ..none })]
        );
    }

    #[test]
    fn the_prometheus_that_observes_the_proxies_is_the_default() {
        let sample = include_str!("../../../../envoy/rollout.yaml")
            .replace(
                "    admin: http://127.0.0.1:9901\n",
                "    prometheus: { url: 'http://p:9090' }\n",
            )
            .replace(
                "  analysis:\n",
                "  analysis:\n    metrics: { queries: [{ name: a, query: b, atMost: 1 }] }\n",
            );
        let metrics = Spec::parse(&sample).unwrap().plan.metrics.unwrap();
        assert_eq!(connection(&metrics.all[0]).url, "http://p:9090");
    }

    #[test]
    fn invalid_metrics_are_rejected_with_their_path() {
        let query = |query: &str| {
            format!("      prometheus: {{ url: 'http://p' }}\n      queries: [{query}]")
        };
        for (metrics, expected) in [
            ("      queries: [{ name: a, query: b, atMost: 1 }]".to_owned(), "prometheus: missing"),
            ("      queries: []".to_owned(), "queries: empty"),
            (query(""), "queries: empty"),
            (
                format!("{}\n      every: 10ms", query("{ name: a, query: b, atMost: 1 }")),
                "every: 10ms is below 1s",
            ),
            (query("{ name: a, query: b }"), "queries[0]: one of atMost, atLeast and"),
            (query("{ name: a, atMost: 1 }"), "queries[0]: exactly one of query and web"),
            (query("{ name: ' ', query: b, atMost: 1 }"), "queries[0].name: empty"),
            (query("{ name: a, query: '', atMost: 1 }"), "queries[0].query: empty"),
            (query("{ name: a, query: '{{servce}}', atMost: 1 }"), "queries[0].query: {{servce}}"),
            (
                query("{ name: a, query: b, atMostTimes: 2 }"),
                "queries[0].atMostTimes: requires {{version}}",
            ),
            (
                query("{ name: a, query: '{{version}}', atMostTimes: 0 }"),
                "queries[0].atMostTimes: must be above 0",
            ),
            (
                query("{ name: a, query: b, atMost: 1, atLeast: 2 }"),
                "queries[0].atMost: 1 is below",
            ),
            (
                query("{ name: a, query: b, atMost: 1, consecutive: 0 }"),
                "queries[0].consecutive: must be at least 1",
            ),
            (
                query("{ name: a, query: b, atMost: 1 }, { name: a, query: c, atMost: 1 }"),
                "queries[1].name: duplicate name \"a\"",
            ),
        ] {
            let error = with(&metrics).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("{PATH}.{expected}")),
                "{error}\nis not\n{expected}"
            );
        }
    }
}
