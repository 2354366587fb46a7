//! Prints events from a separate thread: a reader that is slow or stops (a pager, a paused
//! terminal) must not delay a rollback.

use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use serin_core::rollout::event::Event;

use super::event_printer::EventPrinter;
use super::output::OutputFormat;

/// Events that wait for the reader. Later ones are dropped.
const CHANNEL_CAPACITY: usize = 1_000;

/// Time for the reader to take the last events.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A reporter in a thread.
pub(super) struct BackgroundReporter {
    events: SyncSender<(Duration, Event)>,
    /// Closed after the last event.
    done: Receiver<()>,
}

impl BackgroundReporter {
    pub(super) fn new(format: OutputFormat) -> Self {
        let (events, waiting) = sync_channel::<(Duration, Event)>(CHANNEL_CAPACITY);
        let (printing, done) = channel();
        thread::spawn(move || {
            let _printing = printing;
            let mut printer = EventPrinter::live(format);
            for (at, event) in waiting {
                printer.event(at, &event);
            }
        });
        Self { events, done }
    }

    /// Queues an event, or drops it if the queue is full.
    pub(super) fn report(&self, at: Duration, event: &Event) {
        let _ = self.events.try_send((at, event.clone()));
    }

    /// Waits until the reader has taken all events, for two seconds at most.
    pub(super) fn finish(self) {
        drop(self.events);
        let _ = self.done.recv_timeout(FLUSH_TIMEOUT);
    }
}
