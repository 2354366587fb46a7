//! Metrics of `serin operator`, in the OpenMetrics text format.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use serin_core::rollout::event::RolloutStatus;

use super::{RolloutMetrics, duration_histogram, encode_gauges, encode_statuses};

/// The media type of [`OperatorMetrics::page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The namespace and the name of a ServiceRollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RolloutLabels {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) rollout: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: String,
}

#[derive(Debug, EncodeLabelSet)]
struct PhaseLabels {
    phase: String,
}

/// A kind of request to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The verb, as in RBAC.
    pub(crate) verb: &'static str,
    /// The plural of the kind.
    pub(crate) resource: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResponseLabels {
    verb: &'static str,
    resource: String,
    code: String,
}

/// The metrics of one operator.
#[derive(Debug)]
pub struct OperatorMetrics {
    registry: Registry,
    reconciles: Counter,
    errors: Family<ReasonLabels, Counter>,
    requests: Family<ResponseLabels, Counter>,
    latency: Family<RequestLabels, Histogram, fn() -> Histogram>,
    leader: Gauge,
    states: RolloutStates,
    /// Measurements of the rollouts in progress.
    pub(crate) rollouts: RolloutMetrics,
}

impl Default for OperatorMetrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::default(),
            reconciles: Counter::default(),
            errors: Family::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(duration_histogram as fn() -> Histogram),
            leader: Gauge::default(),
            states: RolloutStates::default(),
            rollouts: RolloutMetrics::default(),
        };
        metrics.registered()
    }
}

impl OperatorMetrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register(
            "serin_operator_reconciles",
            "Reconciles of ServiceRollouts",
            self.reconciles.clone(),
        );
        registry.register("serin_operator_errors", "Errors, by their reason", self.errors.clone());
        registry.register(
            "serin_operator_api_requests",
            "Requests to the API server; the code is `none` without a response",
            self.requests.clone(),
        );
        registry.register(
            "serin_operator_api_request_duration_seconds",
            "Time from a request to the head of the API server's response",
            self.latency.clone(),
        );
        registry.register(
            "serin_operator_leader",
            "1 while this replica leads, else 0",
            self.leader.clone(),
        );
        registry.register_collector(Box::new(self.states.clone()));
        self.rollouts.register(registry);
        self
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// A metric can't be encoded.
    pub fn page(&self) -> Result<String, Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }

    /// Counts a reconcile.
    pub(crate) fn reconcile(&self) {
        self.reconciles.inc();
    }

    /// Counts an error with this reason.
    pub(crate) fn error(&self, reason: &str) {
        self.errors.get_or_create(&ReasonLabels { reason: reason.to_owned() }).inc();
    }

    /// Counts a request to the API server. The code of one without a response is `none`.
    pub(crate) fn request(&self, labels: &RequestLabels, code: &str, took: Duration) {
        let RequestLabels { verb, resource } = labels.clone();
        self.requests
            .get_or_create(&ResponseLabels { verb, resource, code: code.to_owned() })
            .inc();
        self.latency.get_or_create(labels).observe(took.as_secs_f64());
    }

    /// Sets whether this operator leads.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// Sets the phase of a rollout; `None` removes a deleted one.
    pub(crate) fn set_phase(&self, rollout: &RolloutLabels, phase: Option<&str>) {
        let phases = &mut self.states.lock().phases;
        match phase {
            Some(phase) => drop(phases.insert(rollout.clone(), phase.to_owned())),
            None => drop(phases.remove(rollout)),
        }
    }

    /// Removes the phases of all rollouts: another operator leads.
    pub(crate) fn clear_phases(&self) {
        self.states.lock().phases.clear();
    }

    /// Sets the status of a rollout in progress; `None` removes one that no longer runs here.
    pub(crate) fn set_status(&self, rollout: &RolloutLabels, status: Option<RolloutStatus>) {
        let statuses = &mut self.states.lock().statuses;
        match status {
            Some(status) => drop(statuses.insert(rollout.clone(), status)),
            None => drop(statuses.remove(rollout)),
        }
    }
}

/// The rollouts at the time of a scrape. Clones share their state.
#[derive(Debug, Clone, Default)]
struct RolloutStates(Arc<Mutex<States>>);

#[derive(Debug, Default)]
struct States {
    phases: HashMap<RolloutLabels, String>,
    statuses: HashMap<RolloutLabels, RolloutStatus>,
}

impl RolloutStates {
    fn lock(&self) -> MutexGuard<'_, States> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collector for RolloutStates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let states = self.lock();
        let mut counts = BTreeMap::<_, u64>::new();
        for phase in states.phases.values() {
            *counts.entry(phase).or_default() += 1;
        }
        let counts: Vec<_> = counts
            .into_iter()
            .map(|(phase, count)| (PhaseLabels { phase: phase.clone() }, count))
            .collect();
        encode_gauges(
            &mut encoder,
            "serin_rollouts",
            "ServiceRollouts, by their phase",
            counts.iter().map(|(labels, count)| (labels, *count)),
        )?;
        let statuses: Vec<_> = states
            .statuses
            .iter()
            .map(|(labels, status)| (labels.clone(), status.clone()))
            .collect();
        encode_statuses(&mut encoder, &statuses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(name: &str) -> RolloutLabels {
        RolloutLabels { namespace: "shop".to_owned(), rollout: name.to_owned() }
    }

    fn has(metrics: &OperatorMetrics, line: &str) -> bool {
        metrics.page().unwrap().lines().any(|present| present == line)
    }

    #[test]
    fn a_rollout_counts_in_its_last_phase_only() {
        let metrics = OperatorMetrics::default();
        metrics.set_phase(&rollout("a"), Some("Pending"));
        metrics.set_phase(&rollout("b"), Some("Pending"));
        metrics.set_phase(&rollout("a"), Some("Stable"));
        metrics.set_phase(&rollout("b"), None);
        assert!(has(&metrics, "serin_rollouts{phase=\"Stable\"} 1"));
        assert!(!metrics.page().unwrap().contains("Pending"));
        metrics.clear_phases();
        assert!(!metrics.page().unwrap().contains("serin_rollouts{"));
    }

    #[test]
    fn requests_and_errors_are_counted_by_their_labels() {
        let metrics = OperatorMetrics::default();
        let labels = RequestLabels { verb: "patch", resource: "virtualservices".to_owned() };
        metrics.request(&labels, "403", Duration::from_millis(3));
        metrics.error("Forbidden");
        metrics.error("Forbidden");
        let page = metrics.page().unwrap();
        for line in [
            "serin_operator_errors_total{reason=\"Forbidden\"} 2",
            "serin_operator_api_requests_total{verb=\"patch\",resource=\"virtualservices\",code=\"403\"} 1",
            "serin_operator_api_request_duration_seconds_count{verb=\"patch\",resource=\"virtualservices\"} 1",
        ] {
            assert!(page.lines().any(|present| present == line), "{line}: {page}");
        }
    }
}
