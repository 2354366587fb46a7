//! Events that were published but not persisted: a rollback goes on while its store is down.

use serin_core::rollout::machine::{Output, Rollout};

/// The maximum number of events that wait for the store. The oldest are dropped.
const MAX_EVENTS: usize = 1_000;

/// The events of a rollout that its store does not contain yet.
#[derive(Debug, Default)]
pub(crate) struct UnpersistedEvents {
    events: Vec<Output>,
    /// How many of them waited before the present write.
    waiting: usize,
}

impl UnpersistedEvents {
    /// Adds the events among these outputs, which are about to be written.
    pub(crate) fn add(&mut self, outputs: &[Output]) {
        let is_event = |output: &&Output| matches!(output, Output::Emit(_));
        self.waiting = self.events.len();
        self.events.extend(outputs.iter().filter(is_event).cloned());
    }

    /// The events, in order.
    #[must_use]
    pub(crate) fn events(&self) -> &[Output] {
        &self.events
    }

    /// Records the result of a write. After a failed write a rollback executes its outputs all the
    /// same, so their events are kept for the next write; other outputs are not executed.
    pub(crate) fn after_write(&mut self, written: bool, rollout: &Rollout) {
        if written {
            self.events.clear();
        } else if rollout.is_rolling_back() {
            let excess = self.events.len().saturating_sub(MAX_EVENTS);
            self.events.drain(..excess);
        } else {
            self.events.truncate(self.waiting);
        }
    }

    /// Whether the store contains all events.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
