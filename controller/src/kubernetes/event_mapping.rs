//! Maps events of a rollout to Kubernetes Events.

use serin_core::rollout::event::Event;

/// A Kubernetes Event to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventNote {
    /// Whether its type is `Warning`.
    pub(crate) warning: bool,
    /// Its reason in CamelCase.
    pub(crate) reason: &'static str,
    /// Its message.
    pub(crate) note: String,
}

/// The API server rejects a note of more than 1,024 bytes.
const MAX_NOTE_BYTES: usize = 1_000;

/// The Kubernetes Event for an event; `None` for events that only concern the proxy or a hook
/// call.
#[must_use]
pub(crate) fn event_note(event: &Event) -> Option<EventNote> {
    if let Event::ProxyRestarted
    | Event::Progress(_)
    | Event::HookCalled { .. }
    | Event::HookSucceeded { .. } = event
    {
        return None;
    }
    let (warning, reason) = (event.is_warning(), event.reason());
    let note = truncate(
        std::iter::once(event.to_string()).chain(event.caveat()).collect::<Vec<_>>().join("; "),
    );
    Some(EventNote { warning, reason, note })
}

fn truncate(note: String) -> String {
    match note.len() > MAX_NOTE_BYTES {
        true => note.chars().take(MAX_NOTE_BYTES / 4).chain("...".chars()).collect(),
        false => note,
    }
}
