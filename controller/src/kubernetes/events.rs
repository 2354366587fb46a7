//! Publishes the events of an object as Kubernetes Events. A failure to publish delays nothing
//! else.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Client;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tracing::warn;

use crate::kubernetes::event_mapping::EventNote;
use crate::telemetry::operator::OperatorMetrics;

/// `reportingController` of the Events.
const CONTROLLER: &str = "serin.dev/operator";

/// The API server rejects a longer action, in bytes.
const MAX_ACTION_BYTES: usize = 128;

/// Aggregates equal Events of all objects.
#[must_use]
pub(crate) fn recorder(client: Client, identity: &str) -> Recorder {
    let (controller, instance) = (CONTROLLER.to_owned(), Some(identity.to_owned()));
    Recorder::new(client, Reporter { controller, instance })
}

/// Publishes the notes of one object until their channel closes.
pub(crate) async fn publish_events(
    recorder: Recorder,
    regarding: ObjectReference,
    metrics: Arc<OperatorMetrics>,
    mut notes: mpsc::Receiver<EventNote>,
) {
    while let Some(note) = notes.recv().await {
        if let Err(error) = recorder.publish(&event(note), &regarding).await {
            metrics.error("EventNotPublished");
            let (namespace, rollout) = (&regarding.namespace, &regarding.name);
            warn!(rollout, namespace, reason = "EventNotPublished", "{error}");
        }
    }
}

fn event(note: EventNote) -> Event {
    let EventNote { warning, reason, note } = note;
    // The recorder keeps the first note of a series, and starts a series per action and reason.
    // The note doubles as the action so that no note is lost.
    let action = note.get(..note.floor_char_boundary(MAX_ACTION_BYTES)).filter(|it| !it.is_empty());
    Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason: reason.to_owned(),
        action: action.unwrap_or(reason).to_owned(),
        note: Some(note),
        secondary: None,
    }
}
