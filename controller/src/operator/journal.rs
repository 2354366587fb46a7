//! Keeps a rollout in the status of its object, and tells what happens as Events.

use std::time::Duration;

use jiff::Timestamp;
use serin_core::judge::Ruling;
use serin_core::ports::Observer;
use serin_core::rollout::event::Event;
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::progress::{Began, Moment, progressed, reported};
use crate::kubernetes::event_mapping::{Announcement, announcement};
use crate::operator::mailbox::Desk;
use crate::storage::status::{Store, StoreError};

/// How old what is stored of the evidence may be. Nothing is acted on in between: what was seen since is as if nobody had looked.
const REFRESH: Duration = Duration::from_secs(10);

/// The clerk of one object.
#[derive(Debug)]
pub(crate) struct Clerk {
    store: Store,
    desk: Desk,
    /// `spec` as the rollout began with it.
    spec: String,
    /// Whether replicas follow the weights.
    scales: bool,
    events: mpsc::Sender<Announcement>,
    /// Whether the status is another operator's.
    superseded: watch::Sender<bool>,
    written: Option<Instant>,
    /// What was done but could not be kept yet.
    unkept: Vec<Output>,
}

impl Clerk {
    /// A clerk for a rollout that began with this `spec`, and has replicas follow the weights or not.
    #[must_use]
    pub(crate) fn new(
        store: Store,
        desk: Desk,
        spec: String,
        scales: bool,
        events: mpsc::Sender<Announcement>,
    ) -> Self {
        let (superseded, _) = watch::channel(false);
        Self { store, desk, spec, scales, events, superseded, written: None, unkept: Vec::new() }
    }

    /// Becomes true when another operator has taken over.
    #[must_use]
    pub(crate) fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.subscribe()
    }

    /// Whether there is nothing that has to be stored before it is acted on, and what is stored is fresh enough.
    fn may_wait(&self, outputs: &[Output]) -> bool {
        let acts = |output: &Output| !matches!(output, Output::Record(_));
        let fresh = self.written.is_some_and(|written| written.elapsed() < REFRESH);
        fresh && self.unkept.is_empty() && !outputs.iter().any(acts) && self.desk.unsaid().is_none()
    }
}

impl Observer for Clerk {
    async fn keep(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), String> {
        if self.may_wait(outputs) {
            return Ok(());
        }
        let now = Timestamp::now();
        let ordered = |output: &Output| matches!(output, Output::Tell(event) if matches!(**event, Event::Ordered(_)));
        if outputs.iter().any(ordered) {
            self.desk.taken(now);
        }
        let told = outputs.iter().filter(|output| matches!(output, Output::Tell(_)));
        let waiting = self.unkept.len();
        self.unkept.extend(told.cloned());
        let moment = Moment { generation: self.desk.generation(), now };
        let report = self.desk.unsaid();
        let stored = self.store.status();
        let began = Began { spec: &self.spec, scales: self.scales };
        let status = progressed(stored, moment, began, at, rollout, &self.unkept);
        let status = status.map(|status| match &report {
            Some(report) => reported(&status, report.clone()),
            None => status,
        });
        let phase = status.as_ref().ok().map(|status| status.phase);
        let written = match status {
            Ok(status) => self.store.write(status).await,
            Err(why) => Err(StoreError::Failed(why)),
        };
        match written {
            Ok(()) => {
                self.unkept.clear();
                self.written = Some(Instant::now());
                report.iter().for_each(|report| self.desk.said(report));
                phase.iter().for_each(|phase| self.desk.stored(*phase));
                Ok(())
            }
            Err(error) => {
                if let StoreError::Superseded | StoreError::Gone = error {
                    self.superseded.send_replace(true);
                }
                // A rollback goes on, and is told later; the rest is not done.
                if !rollout.goes_back() {
                    self.unkept.truncate(waiting);
                }
                Err(error.to_string())
            }
        }
    }

    fn event(&mut self, _: Duration, event: &Event) {
        if let Some(announcement) = announcement(event) {
            // Whoever is too slow to tell them all tells the others: the status has what counts.
            let _ = self.events.try_send(announcement);
        }
    }

    /// The state has all that is needed of it.
    fn ruling(&mut self, _: &Ruling) {}
}
