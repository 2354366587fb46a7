//! The journal of a rollout in the status of its object. Its events become Kubernetes Events.

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
use crate::storage::unpersisted::UnpersistedEvents;

/// The maximum age of the stored evidence. Nothing is acted on in between: a crash loses only
/// observations.
const REFRESH: Duration = Duration::from_secs(10);

/// The journal of one object.
#[derive(Debug)]
pub(crate) struct StatusJournal {
    store: StatusStore,
    mailbox: CommandMailbox,
    /// The `spec` that the rollout began with.
    spec: String,
    /// Whether replicas follow the weights.
    scales: bool,
    reporter: RolloutReporter,
    /// Becomes true when another operator has written the status.
    superseded: watch::Sender<bool>,
    last_write: Option<Instant>,
    unpersisted: UnpersistedEvents,
}

impl StatusJournal {
    /// The journal of a rollout that began with this `spec`. `scales` tells whether replicas follow
    /// the weights.
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
            unpersisted: UnpersistedEvents::default(),
        }
    }

    /// Becomes true when another operator has written the status, or the object is gone.
    #[must_use]
    pub(crate) fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.subscribe()
    }

    /// Whether no output needs the write before it is executed, and the stored state is recent.
    fn may_wait(&self, outputs: &[Output]) -> bool {
        let acts = |output: &Output| !matches!(output, Output::RecordRuling(_));
        let fresh = self.last_write.is_some_and(|written| written.elapsed() < REFRESH);
        fresh
            && self.unpersisted.is_empty()
            && !outputs.iter().any(acts)
            && self.mailbox.unreported().is_none()
    }
}

impl StatusJournal {
    /// Writes the status of the rollout, and the result of a command that is not reported yet.
    async fn write(
        &mut self,
        now: Timestamp,
        at: Duration,
        rollout: &Rollout,
    ) -> Result<(), StatusError> {
        let context = StatusContext { generation: self.mailbox.generation(), now };
        let started = StartedWith { spec: &self.spec, scales: self.scales };
        let (before, events) = (self.store.status(), self.unpersisted.events());
        let mut status = progressed(before, context, started, at, rollout, events)
            .map_err(StatusError::Failed)?;
        let report = self.mailbox.unreported();
        if let Some(report) = &report {
            status = command_status(&status, report.clone());
        }
        let phase = status.phase;
        self.store.write(status).await?;
        report.iter().for_each(|report| self.mailbox.mark_reported(report));
        self.mailbox.set_phase(phase);
        Ok(())
    }
}

impl Drop for StatusJournal {
    fn drop(&mut self) {
        self.reporter.stopped();
    }
}

impl Journal for StatusJournal {
    type Error = StatusError;

    async fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), StatusError> {
        self.reporter.progress(rollout);
        if self.may_wait(outputs) {
            return Ok(());
        }
        let now = Timestamp::now();
        let is_command = |output: &Output| matches!(output, Output::Emit(event) if matches!(**event, Event::Command(_)));
        if outputs.iter().any(is_command) {
            self.mailbox.accept(now);
        }
        self.unpersisted.add(outputs);
        let written = self.write(now, at, rollout).await;
        self.unpersisted.after_write(written.is_ok(), rollout);
        self.reporter.store_write(written.is_ok());
        match &written {
            Ok(()) => self.last_write = Some(Instant::now()),
            Err(error) => {
                report_write(&self.reporter, error);
                if let StatusError::Superseded | StatusError::Gone = error {
                    self.superseded.send_replace(true);
                }
            }
        }
        written
    }

    fn event(&mut self, _: Duration, event: &Event) {
        self.reporter.event(event);
    }

    fn on_poll(&mut self, late: Duration, took: Duration) {
        self.reporter.poll(late, took);
    }

    /// The persisted state contains the rulings' effects.
    fn ruling(&mut self, _: &Ruling) {}
}
