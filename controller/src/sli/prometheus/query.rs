//! Metrics that the user names by a query, held to a [`Rule`].

use std::time::SystemTime;

use super::client::{Client, QueryError};
use super::template::{Template, Variables};
use crate::judge::custom::{Rule, Streak};
use crate::rollout::plan::Plan;

/// A metric and what it has to keep to.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// What people call it.
    pub name: String,
    /// Gives one value; about each version if it has the variable `{{version}}`, else about the candidate.
    pub query: Template,
    /// The values that are good.
    pub rule: Rule,
}

/// Asks for metrics, and counts bad values in a row.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    metrics: Vec<(Metric, Streak)>,
}

/// What was asked of one metric.
#[derive(Debug)]
pub struct Observed<'m> {
    /// The metric.
    pub metric: &'m Metric,
    /// The baseline's value, if one was asked for and there is one.
    pub baseline: Option<f64>,
    /// The candidate's value, if there is one.
    pub candidate: Option<f64>,
    /// Whether its rule is broken now.
    pub broken: bool,
    /// Why there is no value.
    pub error: Option<QueryError>,
}

impl Watcher {
    /// Metrics of which nothing is known yet.
    #[must_use]
    pub fn new(client: Client, metrics: Vec<Metric>) -> Self {
        let metrics = metrics.into_iter().map(|metric| (metric, Streak::default())).collect();
        Self { client, metrics }
    }

    /// Asks for all metrics, as of now. A query without an answer, or with none or several values, has no value: that neither breaks a
    /// rule nor keeps it.
    pub async fn observe(&mut self, plan: &Plan) -> Vec<Observed<'_>> {
        let as_of = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        let mut all = Vec::new();
        for (metric, streak) in &mut self.metrics {
            let ask = async |version| {
                let query = metric.query.render(Variables { plan, version });
                let samples = self.client.query(&query, as_of).await?;
                Ok(match &samples[..] {
                    [sample] => sample.value(),
                    _ => None,
                })
            };
            let candidate = ask(plan.candidate.as_str()).await;
            let baseline = match metric.query.is_per_version() {
                true => ask(plan.baseline.as_str()).await,
                false => Ok(None),
            };
            let (baseline, candidate, error) = match (baseline, candidate) {
                (Ok(baseline), Ok(candidate)) => (baseline, candidate, None),
                (Err(error), _) | (_, Err(error)) => (None, None, Some(error)),
            };
            let broken = streak.observe(&metric.rule, baseline, candidate);
            all.push(Observed { metric, baseline, candidate, broken, error });
        }
        all
    }
}
