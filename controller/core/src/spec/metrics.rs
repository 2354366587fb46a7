//! `spec.analysis.metrics`: metrics of the candidate from queries, with limits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::error::{SpecError, at};
use super::prometheus::ConnectionSpec;
use super::value::{SpecCount, SpecDuration, SpecNumber};
use crate::config::prometheus::PrometheusConnection;
use crate::rollout::metric::{Metric, MetricRule, MetricsPlan, QueryTemplate};

/// The path of the metrics.
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
    query: String,
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
    /// `default` is the Prometheus that observes the proxies.
    pub(super) fn parse(
        self,
        default: Option<&PrometheusConnection>,
    ) -> Result<MetricsPlan, SpecError> {
        let prometheus = match (self.prometheus, default) {
            (Some(prometheus), _) => prometheus.parse(&format!("{PATH}.prometheus"))?,
            (None, Some(default)) => default.clone(),
            (None, None) => {
                return at(
                    format!("{PATH}.prometheus"),
                    "missing; set it, or observe the proxies by a Prometheus",
                );
            }
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
            let metric = query.parse(&path)?;
            if all.iter().any(|other| other.name == metric.name) {
                return at(format!("{path}.name"), format!("duplicate name {:?}", metric.name));
            }
            all.push(metric);
        }
        Ok(MetricsPlan { prometheus, interval, all })
    }
}

impl QuerySpec {
    fn parse(self, path: &str) -> Result<Metric, SpecError> {
        if self.name.trim().is_empty() {
            return at(format!("{path}.name"), "empty; set a name");
        }
        if self.query.trim().is_empty() {
            return at(format!("{path}.query"), "empty; set a PromQL expression");
        }
        let query = QueryTemplate::parse(&self.query);
        let query = query.or_else(|error| at(format!("{path}.query"), error.to_string()))?;
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
        if at_most_times.is_some() && !query.is_per_version() {
            let message =
                "atMostTimes requires {{version}} in the query, to get the baseline's value";
            return at(format!("{path}.query"), message);
        }
        if self.consecutive.0 == 0 {
            return at(format!("{path}.consecutive"), "must be at least 1");
        }
        Ok(Metric { name: self.name, query, rule })
    }
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

    #[test]
    fn metrics_are_queries_with_limits() {
        let spec = with(
            "      prometheus: { url: 'http://p:9090', bearerTokenFile: /t }
      every: 5s
      queries:
        - { name: memory, query: 'mem{v=\"{{version}}\"}', atMost: 2e9, atMostTimes: 1.5 }
        - { name: orders, query: orders, atLeast: 3, consecutive: 1 }",
        );
        let MetricsPlan { prometheus, interval, all } = spec.unwrap().plan.metrics.unwrap();
        assert_eq!(prometheus.auth, Auth::Bearer { token_file: "/t".into() });
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
        assert_eq!(metrics.prometheus.url, "http://p:9090");
    }

    #[test]
    fn invalid_metrics_are_refused_with_their_path() {
        let query = |query: &str| {
            format!("      prometheus: {{ url: 'http://p' }}\n      queries: [{query}]")
        };
        for (metrics, expected) in [
            ("      queries: []".to_owned(), "prometheus: missing"),
            (query(""), "queries: empty"),
            (
                format!("{}\n      every: 10ms", query("{ name: a, query: b, atMost: 1 }")),
                "every: 10ms is below 1s",
            ),
            (query("{ name: a, query: b }"), "queries[0]: one of atMost, atLeast and"),
            (query("{ name: ' ', query: b, atMost: 1 }"), "queries[0].name: empty"),
            (query("{ name: a, query: '', atMost: 1 }"), "queries[0].query: empty"),
            (query("{ name: a, query: '{{servce}}', atMost: 1 }"), "queries[0].query: {{servce}}"),
            (
                query("{ name: a, query: b, atMostTimes: 2 }"),
                "queries[0].query: atMostTimes requires {{version}}",
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
