//! The journal of a rollout in the store.

use std::sync::Arc;
use std::time::Duration;

use serin_core::judge::Ruling;
use serin_core::ports::Journal;
use serin_core::rollout::command::Command;
use serin_core::rollout::event::{Event, RolloutStatus};
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::watch;

use super::readiness::Readiness;
use crate::storage::sqlite::{Store, StoreError};
use crate::storage::unpersisted::UnpersistedEvents;
use crate::telemetry::RolloutMetrics;

/// The journal of one rollout.
pub(super) struct SqliteJournal {
    pub(super) id: i64,
    pub(super) store: Arc<Store>,
    pub(super) new_events: watch::Sender<u64>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) metrics: Arc<RolloutMetrics>,
    pub(super) status: watch::Sender<Option<RolloutStatus>>,
    pub(super) unpersisted: UnpersistedEvents,
    /// Whether the last write failed and an error was logged.
    pub(super) failing: bool,
}

impl SqliteJournal {
    /// Records that the rollout was abandoned while the proxies' state is unknown.
    pub(super) fn abandon(&self, command: &Command) -> Result<(), StoreError> {
        self.store.fail(self.id, &abandon_reason(command))?;
        self.new_events.send_modify(|times| *times += 1);
        Ok(())
    }
}

/// The outcome of an abandoned rollout.
pub(super) fn abandon_reason(command: &Command) -> String {
    format!("abandoned, with the proxies unchanged: {command}")
}

impl Journal for SqliteJournal {
    type Error = StoreError;

    async fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), StoreError> {
        self.unpersisted.add(outputs);
        // The write may take long; other rollouts run meanwhile.
        let events = self.unpersisted.events();
        let written = self.store.commit_batched(self.id, at, rollout, events).await;
        self.unpersisted.after_write(written.is_ok(), rollout);
        self.metrics.on_store_write(written.is_ok());
        self.readiness.record_write(written.as_ref().map(drop).map_err(ToString::to_string));
        match &written {
            Ok(()) => {
                self.failing = false;
                self.new_events.send_modify(|times| *times += 1);
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "store write failed; the rollout waits");
                }
            }
        }
        written
    }

    fn event(&mut self, _: Duration, event: &Event) {
        self.metrics.on_event(event);
        if let Event::Progress(status) = event {
            self.status.send_replace(Some(status.clone()));
        }
    }

    /// The persisted state contains the rulings' effects.
    fn ruling(&mut self, _: &Ruling) {}

    fn on_poll(&mut self, late: Duration, took: Duration) {
        self.metrics.on_poll(late, took);
    }
}

#[cfg(test)]
mod tests {
    use serin_core::rollout::event::RolloutVerdict;
    use serin_core::spec::Spec;
    use tempfile::TempDir;

    use super::*;
    use crate::storage::journal_contract::{JournalFixture, StoredRollout, check};
    use crate::storage::sqlite::QueueState;

    const SPEC: &str = include_str!("../../../../envoy/rollout.yaml");

    struct Fixture {
        _directory: TempDir,
        journal: SqliteJournal,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Arc::new(Store::open(&directory.path().join("serin.db")).unwrap());
            let id = store.add(&Spec::parse(SPEC).unwrap().plan, SPEC).unwrap();
            let journal = SqliteJournal {
                id,
                store,
                new_events: watch::Sender::new(0),
                readiness: Arc::default(),
                metrics: Arc::default(),
                status: watch::Sender::new(None),
                unpersisted: UnpersistedEvents::default(),
                failing: false,
            };
            Self { _directory: directory, journal }
        }
    }

    impl JournalFixture for Fixture {
        type Journal = SqliteJournal;

        fn journal(&mut self) -> &mut SqliteJournal {
            &mut self.journal
        }

        fn set_writable(&mut self, writable: bool) {
            self.journal.store.set_read_only(!writable);
        }

        fn stored(&self) -> StoredRollout {
            let SqliteJournal { id, store, .. } = &self.journal;
            let entry = store.get(*id).unwrap().unwrap();
            match (entry.phase, store.checkpoint(*id).unwrap()) {
                (QueueState::Ended, _) => {
                    assert_eq!(entry.outcome.as_deref(), Some("interrupted"));
                    StoredRollout::Ended(RolloutVerdict::Interrupted)
                }
                (_, Some(checkpoint)) => StoredRollout::Running(Box::new(checkpoint.rollout)),
                (_, None) => StoredRollout::None,
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_store_keeps_the_contract_of_journals() {
        check(Fixture::new).await;
    }
}
