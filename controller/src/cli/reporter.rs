//! Tells events from a thread of its own: whoever reads them may be slow, or stop reading (a pager, a terminal on hold), and a rollback
//! must not wait for that.

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use serin_core::rollout::event::Event;

use super::report::{Format, Reporter};

/// Events that may wait to be told. What comes when so many wait is not told.
const CHANNEL_CAPACITY: usize = 1_000;

/// How long the end waits for a reader.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A reporter in a thread.
pub(super) struct BackgroundReporter {
    events: SyncSender<(Duration, Event)>,
    /// Closed when everything has been told.
    done: Receiver<()>,
}

impl BackgroundReporter {
    pub(super) fn new(format: Format) -> Self {
        let (events, waiting) = sync_channel::<(Duration, Event)>(CHANNEL_CAPACITY);
        let (telling, done) = channel();
        thread::spawn(move || {
            let _telling = telling;
            let mut reporter = Reporter::new(format);
            for (at, event) in waiting {
                reporter.event(at, &event);
            }
        });
        Self { events, done }
    }

    /// Tells an event as soon as somebody reads.
    pub(super) fn report(&self, at: Duration, event: &Event) {
        match self.events.try_send((at, event.clone())) {
            // Nobody reads: there is nobody to be told that, either.
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    /// Waits until everything has been told, but not for ever.
    pub(super) fn finish(self) {
        drop(self.events);
        let _ = self.done.recv_timeout(FLUSH_TIMEOUT);
    }
}
