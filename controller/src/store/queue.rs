//! Records that wait to be kept. Whoever comes to write takes all that wait into one transaction: the disk is waited for once, and not once
//! for each rollout, of which there may be a thousand that look every second.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, params};

use super::{StoreError, now, promotes, verdict, wall};
use crate::rollout::event::Stamped;
use crate::rollout::machine::{Output, Rollout};

/// What is to be kept of one rollout, made ready before anybody waits for it.
#[derive(Debug)]
pub(super) struct Record {
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

impl Record {
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
        let json = |why| StoreError::State { id, why };
        let at = at.as_secs_f64();
        let told = outputs.iter().filter_map(|output| match output {
            Output::Tell(event) => Some(serde_json::to_string(&Stamped { at, event: &**event })),
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
pub(super) struct Queue(Mutex<Vec<Waiting>>);

type Waiting = (Record, SyncSender<Result<(), StoreError>>);

impl Queue {
    /// Adds a record. The next who writes says what became of it.
    pub(super) fn add(&self, record: Record) -> Receiver<Result<(), StoreError>> {
        let (written, heard) = sync_channel(1);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((record, written));
        heard
    }

    /// Writes all that wait, in one transaction. If that fails each is tried by itself: what is wrong with one is no other's affair.
    pub(super) fn write(&self, connection: &mut Connection) {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let together = match &waiting[..] {
            [] => return,
            [_] => false,
            all => write(connection, all.iter().map(|(record, _)| record)).is_ok(),
        };
        for (record, written) in waiting {
            let result = match together {
                true => Ok(()),
                false => write(connection, [&record]),
            };
            // Whoever has gone does not want to know.
            let _ = written.send(result.map_err(StoreError::Sqlite));
        }
    }
}

/// All of these or none.
fn write<'r>(
    connection: &mut Connection,
    records: impl IntoIterator<Item = &'r Record>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    records.into_iter().try_for_each(|record| record.write(&transaction))?;
    transaction.commit()
}
