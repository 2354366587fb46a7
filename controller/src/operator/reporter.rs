//! Reports one rollout: log lines, metrics and Events.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serin_core::rollout::event::Event;
use serin_core::rollout::machine::Rollout;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{info, warn};

use super::progress::blocker_reason;
use crate::kubernetes::event_mapping::{EventNote, event_note};
use crate::telemetry::operator::{OperatorMetrics, RolloutLabels};

/// An unchanged error is logged and published again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Reports one rollout. Clones share their state.
#[derive(Debug, Clone)]
pub(crate) struct RolloutReporter(Arc<ReporterState>);

#[derive(Debug)]
struct ReporterState {
    labels: RolloutLabels,
    metrics: Arc<OperatorMetrics>,
    events: mpsc::Sender<EventNote>,
    /// The last message of each reason, and the time of its report.
    reported: Mutex<HashMap<String, (String, Instant)>>,
}

impl RolloutReporter {
    /// A reporter of the rollout with this namespace and name.
    #[must_use]
    pub(crate) fn new(
        labels: RolloutLabels,
        metrics: Arc<OperatorMetrics>,
        events: mpsc::Sender<EventNote>,
    ) -> Self {
        Self(Arc::new(ReporterState { labels, metrics, events, reported: Mutex::default() }))
    }

    /// Counts a reconcile.
    pub(crate) fn reconcile(&self) {
        self.0.metrics.reconcile();
    }

    /// Counts an error. Logs and publishes it if its message is new or due again.
    pub(crate) fn error(&self, reason: &'static str, message: &str) {
        if self.warn(reason, message) {
            self.publish(EventNote { warning: true, reason, note: message.to_owned() });
        }
    }

    /// Counts an error, and logs it if it is due. Returns true if it was logged.
    fn warn(&self, reason: &str, message: &str) -> bool {
        let ReporterState { labels, metrics, reported, .. } = &*self.0;
        metrics.error(reason);
        let now = Instant::now();
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = reported.get(reason).is_some_and(|(last, at)| {
            last == message && now.saturating_duration_since(*at) < REPEAT_AFTER
        });
        if !recent {
            reported.insert(reason.to_owned(), (message.to_owned(), now));
            let RolloutLabels { namespace, rollout } = labels;
            warn!(rollout, namespace, reason, "{message}");
        }
        !recent
    }

    /// Publishes a note as an Event. A full queue drops it: the status has the same content.
    pub(crate) fn publish(&self, note: EventNote) {
        if self.0.events.try_send(note).is_err() {
            self.0.metrics.error("EventDropped");
        }
    }

    /// Reports an event of the rollout.
    pub(crate) fn event(&self, event: &Event) {
        let RolloutLabels { namespace, rollout } = &self.0.labels;
        let note = event_note(event);
        match (event, &note) {
            (Event::Blocked { blocker, message }, _) => {
                self.warn(&blocker_reason(blocker), message);
            }
            (_, Some(EventNote { warning, reason, note })) => match warning {
                true => warn!(rollout, namespace, reason, "{note}"),
                false => info!(rollout, namespace, reason, "{note}"),
            },
            (_, None) => {}
        }
        self.0.metrics.rollouts.on_event(event);
        note.into_iter().for_each(|note| self.publish(note));
    }

    /// Sets the metrics of the rollout in progress.
    pub(crate) fn progress(&self, rollout: &Rollout) {
        self.0.metrics.set_status(&self.0.labels, Some(rollout.status()));
    }

    /// Removes the metrics of a rollout that this operator no longer runs.
    pub(crate) fn stopped(&self) {
        self.0.metrics.set_status(&self.0.labels, None);
    }

    /// Counts a poll: its delay after it was due, and its duration.
    pub(crate) fn poll(&self, late: Duration, took: Duration) {
        self.0.metrics.rollouts.on_poll(late, took);
    }

    /// Counts a write of the rollout's state to the status, and whether it succeeded.
    pub(crate) fn store_write(&self, written: bool) {
        self.0.metrics.rollouts.on_store_write(written);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_repeated_error_is_counted_but_not_published() {
        let (events, mut published) = mpsc::channel(10);
        let metrics = Arc::new(OperatorMetrics::default());
        let labels = RolloutLabels { namespace: "a".to_owned(), rollout: "b".to_owned() };
        let reporter = RolloutReporter::new(labels, metrics.clone(), events);
        for message in ["one", "one", "two"] {
            reporter.error("Forbidden", message);
        }
        advance(REPEAT_AFTER).await;
        reporter.error("Forbidden", "two");
        let mut notes = Vec::new();
        while let Ok(note) = published.try_recv() {
            notes.push(note.note);
        }
        assert_eq!(notes, ["one", "two", "two"]);
        let counted = "serin_operator_errors_total{reason=\"Forbidden\"} 4";
        assert!(metrics.page().unwrap().contains(counted));
    }
}
