//! Asks a Prometheus for the metrics of a rollout.

use std::time::SystemTime;

use futures_util::future::join_all;
use serin_core::rollout::metric::{Measured, Metric, Names};
use serin_core::rollout::plan::Plan;
use serin_filter::names::VersionName;

use super::client::{Client, QueryError};

/// Asks for the metrics of one rollout.
#[derive(Debug)]
pub struct Surveyor {
    client: Client,
    questions: Vec<Question>,
}

/// The queries of one metric.
#[derive(Debug)]
struct Question {
    /// Only asked where the metric tells versions apart.
    baseline: Option<String>,
    candidate: String,
}

impl Surveyor {
    /// One for this plan; `None` if it has no metrics.
    #[must_use]
    pub fn new(plan: &Plan) -> Option<Self> {
        let metrics = plan.metrics.as_ref()?;
        let question = |Metric { query, .. }: &Metric| {
            let about = |version: &VersionName| query.render(Names::of(plan), version);
            let baseline = query.is_per_version().then(|| about(&plan.baseline));
            Question { baseline, candidate: about(&plan.candidate) }
        };
        let questions = metrics.all.iter().map(question).collect();
        Some(Self { client: Client::new(metrics.prometheus.clone()), questions })
    }

    /// What all metrics are now, in the order of the plan.
    pub async fn measure(&self) -> Vec<Measured> {
        let as_of = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        join_all(self.questions.iter().map(|question| self.ask(question, as_of))).await
    }

    async fn ask(&self, question: &Question, as_of: f64) -> Measured {
        let candidate = self.value(&question.candidate, as_of).await;
        let baseline = match &question.baseline {
            Some(query) => Some(self.value(query, as_of).await),
            None => None,
        };
        let missing =
            [candidate.as_ref().err(), baseline.as_ref().and_then(|it| it.as_ref().err())];
        let why = missing.into_iter().flatten().next().cloned();
        Measured { candidate: candidate.ok(), baseline: baseline.and_then(Result::ok), why }
    }

    /// The one value that a query gives, or why there is none.
    async fn value(&self, query: &str, as_of: f64) -> Result<f64, String> {
        let samples = self.client.query(query, as_of).await;
        match &samples.map_err(|error: QueryError| error.to_string())?[..] {
            [] => Err(format!("{query} gives no value")),
            [sample] => sample
                .value()
                .ok_or_else(|| format!("{query} gives a value that is no finite number")),
            several => Err(format!("{query} gives {} values; one is needed", several.len())),
        }
    }
}
