//! Metrics of `serin operator`, in the OpenMetrics text format.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serin_core::rollout::event::{RolloutStatus, RolloutVerdict};

/// The media type of [`OperatorMetrics::page`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Upper bounds of latencies, in seconds.
const LATENCY: [f64; 9] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 5.0];

/// Upper bounds of the lateness of polls, in seconds.
const LATENESS: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// A share, or evidence.
type Ratio = Gauge<f64, AtomicU64>;

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabels {
    phase: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VerdictLabels {
    verdict: &'static str,
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
struct AnswerLabels {
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
    requests: Family<AnswerLabels, Counter>,
    latency: Family<RequestLabels, Histogram>,
    leader: Gauge,
    phases: Family<PhaseLabels, Gauge>,
    /// The phase of each rollout in `phases`.
    known: Mutex<HashMap<RolloutLabels, String>>,
    weight: Family<RolloutLabels, Ratio>,
    evidence: Family<RolloutLabels, Ratio>,
    evidence_limit: Family<RolloutLabels, Ratio>,
    verdicts: Family<VerdictLabels, Counter>,
    lateness: Histogram,
}

impl Default for OperatorMetrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("serin"),
            reconciles: Counter::default(),
            errors: Family::default(),
            requests: Family::default(),
            latency: Family::new_with_constructor(|| Histogram::new(LATENCY)),
            leader: Gauge::default(),
            phases: Family::default(),
            known: Mutex::default(),
            weight: Family::default(),
            evidence: Family::default(),
            evidence_limit: Family::default(),
            verdicts: Family::default(),
            lateness: Histogram::new(LATENESS),
        };
        metrics.register();
        metrics
    }
}

impl OperatorMetrics {
    fn register(&mut self) {
        let Self { registry, .. } = self;
        let name = "operator_reconciles";
        registry.register(name, "Reconciles of ServiceRollouts", self.reconciles.clone());
        registry.register("operator_errors", "Errors, by their reason", self.errors.clone());
        let name = "operator_api_requests";
        registry.register(name, "Requests to the API server", self.requests.clone());
        let name = "operator_leader";
        registry.register(name, "1 while this replica leads, else 0", self.leader.clone());
        registry.register_with_unit(
            "operator_api_request_duration",
            "Time to the head of the API server's answer",
            Unit::Seconds,
            self.latency.clone(),
        );
        registry.register("rollouts", "ServiceRollouts, by their phase", self.phases.clone());
        registry.register("rollout_weight", "The candidate's weight, 0 to 1", self.weight.clone());
        registry.register(
            "rollout_evidence",
            "Evidence against the candidate",
            self.evidence.clone(),
        );
        registry.register(
            "rollout_evidence_limit",
            "The evidence at which the candidate is rolled back",
            self.evidence_limit.clone(),
        );
        registry.register("rollout_verdicts", "Rollouts that ended", self.verdicts.clone());
        registry.register_with_unit(
            "poll_lateness",
            "How much later than due a poll of the proxies began",
            Unit::Seconds,
            self.lateness.clone(),
        );
    }

    /// The page for Prometheus.
    ///
    /// # Errors
    /// A metric can't be encoded.
    pub fn page(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }

    /// A reconcile begins.
    pub(crate) fn reconcile(&self) {
        self.reconciles.inc();
    }

    /// An error of this reason occurred.
    pub(crate) fn error(&self, reason: &str) {
        self.errors.get_or_create(&ReasonLabels { reason: reason.to_owned() }).inc();
    }

    /// A request to the API server ended with this code, or without an answer.
    pub(crate) fn request(&self, labels: &RequestLabels, code: &str, took: Duration) {
        let RequestLabels { verb, resource } = labels.clone();
        self.requests.get_or_create(&AnswerLabels { verb, resource, code: code.to_owned() }).inc();
        self.latency.get_or_create(labels).observe(took.as_secs_f64());
    }

    /// Whether this operator leads.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    fn known(&self) -> MutexGuard<'_, HashMap<RolloutLabels, String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A rollout is in this phase; `None` if its object is gone.
    pub(crate) fn set_phase(&self, rollout: &RolloutLabels, phase: Option<&str>) {
        let mut known = self.known();
        let before = match phase {
            Some(phase) => known.insert(rollout.clone(), phase.to_owned()),
            None => known.remove(rollout),
        };
        let gauge =
            |phase: &str| self.phases.get_or_create_owned(&PhaseLabels { phase: phase.to_owned() });
        if let Some(phase) = before {
            gauge(&phase).dec();
        }
        if let Some(phase) = phase {
            gauge(phase).inc();
        }
    }

    /// Forgets the phases of all rollouts: another operator leads.
    pub(crate) fn clear_phases(&self) {
        self.known().clear();
        self.phases.clear();
    }

    /// The weight of a rollout under way, and the evidence against its candidate.
    pub(crate) fn set_rollout(&self, rollout: &RolloutLabels, status: &RolloutStatus) {
        self.weight.get_or_create(rollout).set(status.weight.share());
        self.evidence.get_or_create(rollout).set(status.evidence);
        self.evidence_limit.get_or_create(rollout).set(status.limit);
    }

    /// A rollout is no longer under way here.
    pub(crate) fn remove_rollout(&self, rollout: &RolloutLabels) {
        for family in [&self.weight, &self.evidence, &self.evidence_limit] {
            family.remove(rollout);
        }
    }

    /// A rollout ended.
    pub(crate) fn verdict(&self, verdict: RolloutVerdict) {
        let verdict = match verdict {
            RolloutVerdict::Promoted => "Promoted",
            RolloutVerdict::RolledBack => "RolledBack",
            RolloutVerdict::Interrupted => "Stopped",
        };
        self.verdicts.get_or_create(&VerdictLabels { verdict }).inc();
    }

    /// A poll began this much later than due.
    pub(crate) fn poll(&self, late: Duration) {
        self.lateness.observe(late.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(name: &str) -> RolloutLabels {
        RolloutLabels { namespace: "shop".to_owned(), rollout: name.to_owned() }
    }

    fn has(metrics: &OperatorMetrics, line: &str) -> bool {
        metrics.page().unwrap().lines().any(|known| known == line)
    }

    #[test]
    fn a_rollout_counts_in_its_last_phase_only() {
        let metrics = OperatorMetrics::default();
        metrics.set_phase(&rollout("a"), Some("Pending"));
        metrics.set_phase(&rollout("b"), Some("Pending"));
        metrics.set_phase(&rollout("a"), Some("Stable"));
        metrics.set_phase(&rollout("b"), None);
        assert!(has(&metrics, "serin_rollouts{phase=\"Stable\"} 1"));
        assert!(has(&metrics, "serin_rollouts{phase=\"Pending\"} 0"));
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
        metrics.verdict(RolloutVerdict::Promoted);
        let page = metrics.page().unwrap();
        for line in [
            "serin_operator_errors_total{reason=\"Forbidden\"} 2",
            "serin_operator_api_requests_total{verb=\"patch\",resource=\"virtualservices\",code=\"403\"} 1",
            "serin_operator_api_request_duration_seconds_count{verb=\"patch\",resource=\"virtualservices\"} 1",
            "serin_rollout_verdicts_total{verdict=\"Promoted\"} 1",
        ] {
            assert!(page.lines().any(|known| known == line), "{line}: {page}");
        }
    }
}
