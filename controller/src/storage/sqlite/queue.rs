//! The queue of pending writes. One thread writes all of them in one transaction: a thousand
//! rollouts that poll every second share each sync of the disk, and no other thread waits for it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};
use serin_core::rollout::event::TimedEvent;
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::oneshot;

use super::{StoreError, now, promotes, verdict, wall};

/// The pending write of one rollout, serialized before it enters the queue.
#[derive(Debug)]
pub(super) struct PendingWrite {
    id: i64,
    /// The rollout's time in seconds, and the wall clock at that time.
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
    /// A rollout's state and events.
    ///
    /// # Errors
    /// Serialization as JSON failed.
    pub(super) fn new(
        id: i64,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<Self, StoreError> {
        let json = |reason| StoreError::State { id, reason };
        let at = at.as_secs_f64();
        let events = outputs.iter().filter_map(|output| match output {
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
            events: events.collect::<Result<_, _>>().map_err(json)?,
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

/// Pending writes, each with the channel for its result.
#[derive(Debug, Default)]
pub(super) struct WriteQueue(Mutex<WriteQueueState>);

#[derive(Debug, Default)]
struct WriteQueueState {
    waiting: Vec<(PendingWrite, Reply)>,
    /// Whether a writer is active.
    writing: bool,
}

type Reply = oneshot::Sender<Result<(), StoreError>>;

/// The writes of one transaction.
pub(super) struct WriteBatch(Vec<(PendingWrite, Reply)>);

impl WriteQueue {
    /// Adds a write. Returns the receiver of its result, and true if the caller must start the
    /// writer.
    pub(super) fn add(
        &self,
        record: PendingWrite,
    ) -> (oneshot::Receiver<Result<(), StoreError>>, bool) {
        let (reply, written) = oneshot::channel();
        let mut state = self.state();
        state.waiting.push((record, reply));
        (written, !std::mem::replace(&mut state.writing, true))
    }

    /// Takes all pending writes; `None` marks the writer as inactive.
    pub(super) fn take(&self) -> Option<WriteBatch> {
        let mut state = self.state();
        state.writing = !state.waiting.is_empty();
        state.writing.then(|| WriteBatch(std::mem::take(&mut state.waiting)))
    }

    /// The guard of the active writer. If the writer panics, the next one takes over.
    pub(super) fn writing(&self) -> WriterGuard<'_> {
        WriterGuard(self)
    }

    fn state(&self) -> MutexGuard<'_, WriteQueueState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a writer as active.
pub(super) struct WriterGuard<'q>(&'q WriteQueue);

impl Drop for WriterGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().writing = false;
        }
    }
}

impl WriteBatch {
    /// Writes all in one transaction. If that fails, writes each in its own transaction, so that
    /// one failure does not affect the others.
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
            // The send fails only if the caller no longer waits.
            let _ = reply.send(result.map_err(StoreError::Sqlite));
        }
    }
}

/// Writes all or nothing.
pub(super) fn write<'r>(
    connection: &mut Connection,
    records: impl IntoIterator<Item = &'r PendingWrite>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    records.into_iter().try_for_each(|record| record.write(&transaction))?;
    transaction.commit()
}
