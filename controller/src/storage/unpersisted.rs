//! Events that were published but not persisted: a rollback continues while its store is down.

use serin_core::rollout::machine::{Output, Rollout};

/// The maximum number of events that wait for the store. The oldest are dropped.
const MAX_EVENTS: usize = 1_000;

/// The events of a rollout that its store does not contain yet.
#[derive(Debug, Default)]
pub(crate) struct UnpersistedEvents {
    events: Vec<Output>,
    /// The number of events from before the present write.
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

    /// Records the result of a write. A rollback executes its outputs even after a failed write,
    /// so the next write includes their events. Other outputs are not executed, and their events
    /// are dropped.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serin_core::rollout::machine::Input;
    use serin_core::spec::Spec;
    use serin_core::split::Split;
    use serin_filter::names::Generation;

    use super::*;

    #[test]
    fn only_a_rollback_keeps_the_events_of_a_failed_write() {
        let plan = Spec::parse(include_str!("../../../envoy/rollout.yaml")).unwrap().plan;
        let (mut rollout, outputs) =
            Rollout::start(plan, Split::baseline(Generation(7)), "1".to_owned());
        let mut unpersisted = UnpersistedEvents::default();
        unpersisted.add(&outputs);
        unpersisted.after_write(false, &rollout);
        assert!(unpersisted.is_empty());
        let newest = rollout.step(Duration::ZERO, Input::Interrupt);
        for _ in 0..MAX_EVENTS {
            unpersisted.add(&outputs);
            unpersisted.after_write(false, &rollout);
        }
        unpersisted.add(&newest);
        unpersisted.after_write(false, &rollout);
        assert_eq!(unpersisted.events().len(), MAX_EVENTS);
        let last_event = newest.iter().rfind(|output| matches!(output, Output::Emit(_)));
        assert_eq!(unpersisted.events().last(), last_event);
        unpersisted.after_write(true, &rollout);
        assert!(unpersisted.is_empty());
    }
}
