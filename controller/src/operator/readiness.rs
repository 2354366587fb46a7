//! The operator's readiness: the API server answers, the kind is installed, and its watch runs.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::api::{DynamicObject, ListParams};
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use crate::kubernetes::objects::{ClusterError, TIMEOUT, classify, rollouts};
use crate::telemetry::operator::OperatorMetrics;

/// The interval between probes of the API server.
const PROBE_INTERVAL: Duration = Duration::from_secs(3);

/// The operator is not ready after the API server has been silent, or the watch has failed, for
/// this long.
const MAX_AGE: Duration = Duration::from_secs(15);

/// The readiness of an operator. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Mutex<ReadinessState>>);

#[derive(Debug, Default)]
struct ReadinessState {
    /// The last probe that succeeded.
    answered: Option<Instant>,
    /// The error of the last probe, and whether it may pass by itself.
    problem: Option<(String, bool)>,
    /// The start of the watch's present failure, and its error.
    watch_failed: Option<(Instant, String)>,
}

impl Readiness {
    fn state(&self) -> MutexGuard<'_, ReadinessState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that the operator is ready.
    ///
    /// # Errors
    /// The reason why it is not.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        if let Some((reason, false)) = &state.problem {
            return Err(reason.clone());
        }
        if state.answered.is_none_or(|answered| answered.elapsed() > MAX_AGE) {
            let since = match state.answered {
                Some(answered) => format!("for {} s", answered.elapsed().as_secs()),
                None => "yet".to_owned(),
            };
            let reason = state.problem.as_ref().map_or("", |(reason, _)| reason);
            return Err(format!("the API server has not answered {since}: {reason}"));
        }
        match &state.watch_failed {
            Some((since, reason)) if since.elapsed() > MAX_AGE => {
                Err(format!("the watch of ServiceRollouts fails: {reason}"))
            }
            _ => Ok(()),
        }
    }

    /// Probes the API server until the future is dropped.
    pub(crate) async fn probe(
        &self,
        client: Client,
        namespace: Option<&str>,
        metrics: &OperatorMetrics,
    ) -> ! {
        let resource = rollouts();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &resource),
            None => Api::all_with(client, &resource),
        };
        let params = ListParams::default().limit(1);
        loop {
            let what = || "the list of ServiceRollouts".to_owned();
            let result = match timeout(TIMEOUT, api.list(&params)).await {
                Ok(Ok(_)) => Ok(()),
                Ok(Err(error)) => Err(classify(&what(), &resource.kind, error)),
                Err(_) => Err(ClusterError::Timeout { what: what() }),
            };
            if let Err(error) = &result {
                metrics.error(error.reason());
            }
            self.on_probe(result);
            sleep(PROBE_INTERVAL).await;
        }
    }

    fn on_probe(&self, result: Result<(), ClusterError>) {
        let mut state = self.state();
        match result {
            Ok(()) => {
                state.answered = Some(Instant::now());
                if state.problem.take().is_some() {
                    info!("the API server answers again");
                }
            }
            Err(error) => {
                let definite =
                    matches!(error, ClusterError::NoKind { .. } | ClusterError::Forbidden { .. });
                let problem = (error.to_string(), !definite);
                if state.problem.as_ref() != Some(&problem) {
                    warn!(reason = error.reason(), "{error}");
                }
                state.problem = Some(problem);
            }
        }
    }

    /// Records that the watch of ServiceRollouts works, or that this replica needs none.
    pub(crate) fn watch_recovered(&self) {
        self.state().watch_failed = None;
    }

    /// Records a failure of the watch of ServiceRollouts. Returns true if its error is new.
    pub(crate) fn watch_failed(&self, reason: &str) -> bool {
        let mut state = self.state();
        let last = state.watch_failed.take();
        let is_new = last.as_ref().is_none_or(|(_, error)| error != reason);
        let since = last.map_or_else(Instant::now, |(since, _)| since);
        state.watch_failed = Some((since, reason.to_owned()));
        is_new
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const TICK: Duration = Duration::from_millis(1);

    #[tokio::test(start_paused = true)]
    async fn readiness_needs_a_recent_answer() {
        let readiness = Readiness::default();
        assert!(readiness.check().is_err());
        readiness.on_probe(Ok(()));
        assert_eq!(readiness.check(), Ok(()));
        readiness.on_probe(Err(ClusterError::Timeout { what: "a list".to_owned() }));
        advance(MAX_AGE).await;
        assert_eq!(readiness.check(), Ok(()));
        advance(TICK).await;
        assert!(readiness.check().unwrap_err().contains("15 s"));
        readiness.on_probe(Ok(()));
        assert_eq!(readiness.check(), Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_missing_kind_is_reported_at_once() {
        let readiness = Readiness::default();
        readiness.on_probe(Ok(()));
        readiness.on_probe(Err(ClusterError::NoKind { kind: "ServiceRollout".to_owned() }));
        assert!(readiness.check().unwrap_err().contains("ServiceRollout"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_keeps_failing_ends_readiness() {
        let readiness = Readiness::default();
        assert!(readiness.watch_failed("gone"));
        advance(MAX_AGE + TICK).await;
        readiness.on_probe(Ok(()));
        assert!(!readiness.watch_failed("gone"));
        assert!(readiness.check().unwrap_err().contains("gone"));
        readiness.watch_recovered();
        assert_eq!(readiness.check(), Ok(()));
    }
}
