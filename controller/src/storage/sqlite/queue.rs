//! Records that wait to be kept. One thread writes, and takes all that wait into one transaction: the disk is waited for once, and not once
//! for each rollout, of which there may be a thousand that look every second, and no other thread waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};
use serin_core::rollout::event::TimedEvent;
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::oneshot;

use super::{StoreError, now, promotes, verdict, wall};

/// What is to be kept of one rollout, made ready before anybody waits for it.
#[derive(Debug)]
pub(super) struct PendingWrite {
    id: i64,
    /// Time of the rollout, in seconds, and the wall clock's then.
    at: f64,
    wall: f64,
    phase: &'static str,
    state: String,
    outcome: Option<&'static str>,
    promoted: Option<String>,
    ended: Option<String>,
    events: Vec<String>,
}

impl PendingWrite {
    /// A rollout's state, and what is told of it.
    ///
    /// # Errors
    /// They can't be written as JSON.
    pub(super) fn new(
        id: i64,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<Self, StoreError> {
        let json = |reason| StoreError::State { id, reason };
        let at = at.as_secs_f64();
        let told = outputs.iter().filter_map(|output| match output {
            Output::Emit(event) => Some(serde_json::to_string(&TimedEvent { at, event: &**event })),
            _ => None,
        });
        Ok(Self {
            id,
            at,
            wall: wall(),
            phase: if rollout.ended() { "ended" } else { "running" },
            state: serde_json::to_string(rollout).map_err(json)?,
            outcome: outputs.iter().find_map(verdict),
            promoted: outputs.iter().any(promotes).then(now),
            ended: rollout.ended().then(now),
            events: told.collect::<Result<_, _>>().map_err(json)?,
        })
    }

    fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        const STATE: &str =
            "UPDATE rollouts SET phase = ?, state = ?, at = ?, wall = ?, outcome = ?,
            promoted = COALESCE(promoted, ?), ended = ? WHERE id = ?";
        const EVENT: &str = "INSERT INTO events (rollout, event) VALUES (?, ?)";
        let Self { id, at, wall, phase, state, outcome, promoted, ended, events } = self;
        connection
            .prepare_cached(STATE)?
            .execute(params![phase, state, at, wall, outcome, promoted, ended, id])?;
        for event in events {
            connection.prepare_cached(EVENT)?.execute(params![id, event])?;
        }
        Ok(())
    }
}

/// Records, each with where to say what became of it.
#[derive(Debug, Default)]
pub(super) struct WriteQueue(Mutex<WriteQueueState>);

#[derive(Debug, Default)]
struct WriteQueueState {
    waiting: Vec<(PendingWrite, Reply)>,
    /// Whether somebody takes what comes.
    writing: bool,
}

type Reply = oneshot::Sender<Result<(), StoreError>>;

/// What is written together.
pub(super) struct WriteBatch(Vec<(PendingWrite, Reply)>);

impl WriteQueue {
    /// Adds a record: where to hear what became of it, and whether nobody writes, so that whoever adds it has to see that somebody does.
    pub(super) fn add(
        &self,
        record: PendingWrite,
    ) -> (oneshot::Receiver<Result<(), StoreError>>, bool) {
        let (reply, written) = oneshot::channel();
        let mut state = self.state();
        state.waiting.push((record, reply));
        (written, !std::mem::replace(&mut state.writing, true))
    }

    /// Everything that waits; with `None` nobody writes any more.
    pub(super) fn take(&self) -> Option<WriteBatch> {
        let mut state = self.state();
        state.writing = !state.waiting.is_empty();
        state.writing.then(|| WriteBatch(std::mem::take(&mut state.waiting)))
    }

    /// What whoever writes holds: should he panic, the next takes his place.
    pub(super) fn writing(&self) -> WriterGuard<'_> {
        WriterGuard(self)
    }

    fn state(&self) -> MutexGuard<'_, WriteQueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody writes.
pub(super) struct WriterGuard<'q>(&'q WriteQueue);

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().writing = false;
        }
    }
}

impl WriteBatch {
    /// Writes all, in one transaction. If that fails each is tried by itself: what is wrong with one is no other's affair.
    pub(super) fn write(self, connection: &mut Connection) {
        let together = match &self.0[..] {
            [_] => false,
            all => write(connection, all.iter().map(|(record, _)| record)).is_ok(),
        };
        for (record, reply) in self.0 {
            let result = match together {
                true => Ok(()),
                false => write(connection, [&record]),
            };
            // Whoever has gone does not want to know.
            let _ = reply.send(result.map_err(StoreError::Sqlite));
        }
    }
}

/// All of these or none.
pub(super) fn write<'r>(
    connection: &mut Connection,
    records: impl IntoIterator<Item = &'r PendingWrite>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    records.into_iter().try_for_each(|record| record.write(&transaction))?;
    transaction.commit()
}
