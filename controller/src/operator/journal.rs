//! Keeps a rollout in the status of its object, and tells what happens as Events.

use std::time::Duration;

use jiff::Timestamp;
use serin_core::judge::Ruling;
use serin_core::ports::Journal;
use serin_core::rollout::event::Event;
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::watch;
use tokio::time::Instant;

use super::progress::{StartedWith, StatusContext, command_status, progressed};
use super::reporter::RolloutReporter;
use super::scale_down::report_write;
use crate::operator::mailbox::CommandMailbox;
use crate::storage::status::{StatusError, StatusStore};

/// The maximum age of the stored evidence. Nothing is acted on in between: a crash loses only
/// observations.
const REFRESH: Duration = Duration::from_secs(10);

/// The clerk of one object.
#[derive(Debug)]
pub(crate) struct StatusJournal {
    store: StatusStore,
    mailbox: CommandMailbox,
    /// `spec` as the rollout began with it.
    spec: String,
    /// Whether replicas follow the weights.
    scales: bool,
    reporter: RolloutReporter,
    /// Whether the status is another operator's.
    superseded: watch::Sender<bool>,
    last_write: Option<Instant>,
    /// What was done but could not be kept yet.
    unpersisted: Vec<Output>,
}

impl StatusJournal {
    /// A clerk for a rollout that began with this `spec`, and has replicas follow the weights or not.
    #[must_use]
    pub(crate) fn new(
        store: StatusStore,
        mailbox: CommandMailbox,
        spec: String,
        scales: bool,
        reporter: RolloutReporter,
    ) -> Self {
        let (superseded, _) = watch::channel(false);
        Self {
            store,
            mailbox,
            spec,
            scales,
            reporter,
            superseded,
            last_write: None,
            unpersisted: Vec::new(),
        }
    }

    /// Becomes true when another operator has taken over.
    #[must_use]
    pub(crate) fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.subscribe()
    }

    /// Whether there is nothing that has to be stored before it is acted on, and what is stored is fresh enough.
    fn may_wait(&self, outputs: &[Output]) -> bool {
        let acts = |output: &Output| !matches!(output, Output::RecordRuling(_));
        let fresh = self.last_write.is_some_and(|written| written.elapsed() < REFRESH);
        fresh
            && self.unpersisted.is_empty()
            && !outputs.iter().any(acts)
            && self.mailbox.unreported().is_none()
    }
}

impl Drop for StatusJournal {
    fn drop(&mut self) {
        self.reporter.stopped();
    }
}

impl Journal for StatusJournal {
    async fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), String> {
        self.reporter.progress(rollout);
        if self.may_wait(outputs) {
            return Ok(());
        }
        let now = Timestamp::now();
        let ordered = |output: &Output| matches!(output, Output::Emit(event) if matches!(**event, Event::Command(_)));
        if outputs.iter().any(ordered) {
            self.mailbox.accept(now);
        }
        let told = outputs.iter().filter(|output| matches!(output, Output::Emit(_)));
        let waiting = self.unpersisted.len();
        self.unpersisted.extend(told.cloned());
        let moment = StatusContext { generation: self.mailbox.generation(), now };
        let report = self.mailbox.unreported();
        let stored = self.store.status();
        let began = StartedWith { spec: &self.spec, scales: self.scales };
        let status = progressed(stored, moment, began, at, rollout, &self.unpersisted);
        let status = status.map(|status| match &report {
            Some(report) => command_status(&status, report.clone()),
            None => status,
        });
        let phase = status.as_ref().ok().map(|status| status.phase);
        let written = match status {
            Ok(status) => self.store.write(status).await,
            Err(why) => Err(StatusError::Failed(why)),
        };
        self.reporter.store_write(written.is_ok());
        match written {
            Ok(()) => {
                self.unpersisted.clear();
                self.last_write = Some(Instant::now());
                report.iter().for_each(|report| self.mailbox.mark_reported(report));
                phase.iter().for_each(|phase| self.mailbox.set_phase(*phase));
                Ok(())
            }
            Err(error) => {
                report_write(&self.reporter, &error);
                if let StatusError::Superseded | StatusError::Gone = error {
                    self.superseded.send_replace(true);
                }
                // A rollback goes on and persists its events later; the rest is not done.
                if !rollout.is_rolling_back() {
                    self.unpersisted.truncate(waiting);
                }
                Err(error.to_string())
            }
        }
    }

    fn event(&mut self, _: Duration, event: &Event) {
        self.reporter.event(event);
    }

    fn on_poll(&mut self, late: Duration, took: Duration) {
        self.reporter.poll(late, took);
    }

    /// The state has all that is needed of it.
    fn ruling(&mut self, _: &Ruling) {}
}
