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

/// An error that stays the same is logged and published again after this time.
const REPEAT_AFTER: Duration = Duration::from_secs(60);

/// Reports one rollout. Clones share their state.
#[derive(Debug, Clone)]
pub(crate) struct RolloutReporter(Arc<ReporterState>);

#[derive(Debug)]
struct ReporterState {
    labels: RolloutLabels,
    metrics: Arc<OperatorMetrics>,
    events: mpsc::Sender<EventNote>,
    /// The last message of each reason, and when it was reported.
    reported: Mutex<HashMap<String, (String, Instant)>>,
}

impl RolloutReporter {
    /// Reports the rollout of this namespace and name.
    #[must_use]
    pub(crate) fn new(
        labels: RolloutLabels,
        metrics: Arc<OperatorMetrics>,
        events: mpsc::Sender<EventNote>,
    ) -> Self {
        Self(Arc::new(ReporterState { labels, metrics, events, reported: Mutex::default() }))
    }

    /// A reconcile begins.
    pub(crate) fn reconcile(&self) {
        self.0.metrics.reconcile();
    }

    /// Counts an error; logs and publishes it when its message is new, or old enough to be repeated.
    pub(crate) fn error(&self, reason: &'static str, message: &str) {
        if self.warn(reason, message) {
            self.publish(EventNote { warning: true, reason, note: message.to_owned() });
        }
    }

    /// Counts an error, and logs it when its message is new; whether it is.
    fn warn(&self, reason: &str, message: &str) -> bool {
        let ReporterState { labels, metrics, reported, .. } = &*self.0;
        metrics.error(reason);
        let now = Instant::now();
        let mut reported = reported.lock().unwrap_or_else(PoisonError::into_inner);
        let known = reported.get(reason).is_some_and(|(last, at)| {
            last == message && now.saturating_duration_since(*at) < REPEAT_AFTER
        });
        if !known {
            reported.insert(reason.to_owned(), (message.to_owned(), now));
            let RolloutLabels { namespace, rollout } = labels;
            warn!(rollout, namespace, reason, "{message}");
        }
        !known
    }

    /// Publishes a note. A full queue drops it: the status has the same content.
    pub(crate) fn publish(&self, note: EventNote) {
        if self.0.events.try_send(note).is_err() {
            self.0.metrics.error("EventDropped");
        }
    }

    /// Reports what happened in a rollout under way.
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

    /// The metrics of a rollout under way.
    pub(crate) fn progress(&self, rollout: &Rollout) {
        self.0.metrics.set_status(&self.0.labels, Some(rollout.status()));
    }

    /// The rollout is not under way here any more.
    pub(crate) fn stopped(&self) {
        self.0.metrics.set_status(&self.0.labels, None);
    }

    /// A poll began this much later than due, and took this long.
    pub(crate) fn poll(&self, late: Duration, took: Duration) {
        self.0.metrics.rollouts.on_poll(late, took);
    }

    /// The state of the rollout was written to the status, or could not be.
    pub(crate) fn store_write(&self, written: bool) {
        self.0.metrics.rollouts.on_store_write(written);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_error_is_counted_each_time_and_published_when_its_message_changes() {
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
