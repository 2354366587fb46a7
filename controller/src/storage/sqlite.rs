//! The store of rollouts with their states and histories: one SQLite file, used by one process at
//! a time.
//!
//! The supervisor writes the state before the engine executes its outputs (write-ahead log,
//! synchronous = FULL: a completed write is on the disk). After a crash it reads the state,
//! applies its split again under the same generation, and resumes.

mod entry;
mod queue;

use std::fs::{OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::{Timestamp, Unit};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use serin_core::rollout::command::Command;
use serin_core::rollout::event::{Event, RolloutVerdict, TimedEvent};
use serin_core::rollout::machine::{Output, Rollout};
use serin_core::rollout::plan::Plan;
use thiserror::Error;
use tokio::task::spawn_blocking;

pub use self::entry::{QueueState, RolloutEntry};
use self::entry::{SELECT_ENTRY, entry};
use self::queue::{PendingWrite, WriteQueue};
use crate::routers::SinkConfig;
use crate::routers::xds_group::{GroupStore, GroupStoreError};

/// The permissions of the store's files.
const OWNER_ONLY: u32 = 0o600;

/// The schema as a list of migrations. A released migration never changes.
const MIGRATIONS: [&str; 3] = [
    "
    CREATE TABLE rollouts (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        service TEXT NOT NULL,
        spec TEXT NOT NULL,
        phase TEXT NOT NULL CHECK (phase IN ('queued', 'running', 'ended', 'failed')),
        -- The state machine as JSON, its time in seconds, and the wall clock at that time in
        -- seconds since 1970.
        state TEXT,
        at REAL NOT NULL DEFAULT 0,
        wall REAL NOT NULL DEFAULT 0,
        -- The verdict, or the reason why the rollout could not start.
        outcome TEXT
    ) STRICT;
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        rollout INTEGER NOT NULL REFERENCES rollouts (id),
        event TEXT NOT NULL
    ) STRICT;
    CREATE INDEX events_of_rollout ON events (rollout, sequence);
",
    "
    ALTER TABLE rollouts ADD COLUMN baseline TEXT NOT NULL DEFAULT '';
    ALTER TABLE rollouts ADD COLUMN candidate TEXT NOT NULL DEFAULT '';
    -- UTC times as RFC 3339: of its addition, of the opening of its last gate, and of its end.
    ALTER TABLE rollouts ADD COLUMN created TEXT NOT NULL DEFAULT '1970-01-01T00:00:00Z';
    ALTER TABLE rollouts ADD COLUMN promoted TEXT;
    ALTER TABLE rollouts ADD COLUMN ended TEXT;
    -- The rollout that it retries.
    ALTER TABLE rollouts ADD COLUMN retry_of INTEGER;
",
    "
    -- The configuration that the proxies of each group receive by xDS, as JSON.
    CREATE TABLE served (group_name TEXT PRIMARY KEY, served TEXT NOT NULL) STRICT;
",
];

/// The store is unusable.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum StoreError {
    #[error("{}: another serin has this store", .0.display())]
    Locked(PathBuf),
    #[error(
        "{}: schema {found} is newer than schema {} of this serin; use a newer serin",
        path.display(),
        MIGRATIONS.len()
    )]
    NewerSchema { path: PathBuf, found: u32 },
    #[error("{}: damaged ({reason}); restore a copy, or move it away to start with an empty store", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{}: can't be written ({reason}); check that its directory exists and that this user may write to it", path.display())]
    Unwritable { path: PathBuf, reason: String },
    #[error("the store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the store: rollout {id} has a state that can't be read: {reason}")]
    State { id: i64, reason: serde_json::Error },
    #[error("the store: the writer stopped before this write")]
    WriterFailed,
}

/// The last persisted state of a running rollout.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The state machine.
    pub rollout: Rollout,
    /// The rollout's time: its time at the write, plus the wall-clock time since then. A clock
    /// that was set back adds nothing.
    pub at: Duration,
}

/// The store.
#[derive(Debug)]
pub struct Store {
    connection: Mutex<Connection>,
    /// The pending writes.
    queue: WriteQueue,
}

impl Store {
    /// Opens the store, and creates it if it does not exist.
    ///
    /// # Errors
    /// Another process has the store open, the file is damaged, or its schema is unknown.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Self::connect(path).map_err(|error| match error {
            StoreError::Sqlite(error) => user_message(path, error),
            other => other,
        })
    }

    fn connect(path: &Path) -> Result<Self, StoreError> {
        restrict(path);
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        let found: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
        let Some(missing) = MIGRATIONS.get(found as usize..) else {
            return Err(StoreError::NewerSchema { path: path.to_owned(), found });
        };
        // The transaction also takes the lock, which SQLite then keeps.
        let migration = connection.transaction()?;
        for sql in missing {
            migration.execute_batch(sql)?;
        }
        migration.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        migration.commit()?;
        let check: String = connection.pragma_query_value(None, "quick_check", |row| row.get(0))?;
        match check.as_str() {
            "ok" => Ok(Self { connection: Mutex::new(connection), queue: WriteQueue::default() }),
            _ => Err(StoreError::Damaged { path: path.to_owned(), reason: check }),
        }
    }

    /// Makes all writes fail, or succeed again.
    #[cfg(test)]
    pub(crate) fn set_read_only(&self, read_only: bool) {
        self.connection().pragma_update(None, "query_only", read_only).unwrap();
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic rolls its transaction back, so the connection is still valid.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a queued rollout and returns its number.
    ///
    /// # Errors
    /// The write failed.
    pub fn add(&self, plan: &Plan, spec: &str) -> Result<i64, StoreError> {
        add(&self.connection(), plan, spec, None)
    }

    /// Adds a retry of a rollout, records the command, and returns the number of the retry.
    ///
    /// # Errors
    /// The write failed.
    pub fn retry(
        &self,
        id: i64,
        plan: &Plan,
        spec: &str,
        command: Command,
    ) -> Result<i64, StoreError> {
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let retry = add(&transaction, plan, spec, Some(id))?;
        insert_event(&transaction, retry, 0.0, &Event::Command(command))?;
        transaction.commit()?;
        Ok(retry)
    }

    /// Records that a rollout could not start.
    ///
    /// # Errors
    /// The write failed.
    pub fn fail(&self, id: i64, reason: &str) -> Result<(), StoreError> {
        const SQL: &str =
            "UPDATE rollouts SET phase = 'failed', outcome = ?, ended = ? WHERE id = ?";
        self.connection().execute(SQL, params![reason, now(), id])?;
        Ok(())
    }

    /// Writes a rollout's state and events in one transaction.
    ///
    /// # Errors
    /// The write failed; the previous state remains.
    pub fn commit(
        &self,
        id: i64,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), StoreError> {
        let write = PendingWrite::new(id, at, rollout, outputs)?;
        Ok(queue::write(&mut self.connection(), [&write])?)
    }

    /// Writes a rollout's state and events, in one transaction with other pending writes.
    ///
    /// # Errors
    /// The write failed; the previous state remains.
    pub async fn commit_batched(
        self: &Arc<Self>,
        id: i64,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), StoreError> {
        let (written, start_writer) = self.queue.add(PendingWrite::new(id, at, rollout, outputs)?);
        if start_writer {
            let store = self.clone();
            spawn_blocking(move || store.write_queue());
        }
        written.await.unwrap_or(Err(StoreError::WriterFailed))
    }

    /// Writes until the queue is empty.
    fn write_queue(&self) {
        let _writing = self.queue.writing();
        while let Some(batch) = self.queue.take() {
            batch.write(&mut self.connection());
        }
    }

    /// Rewrites a stored value to check that the store can be written.
    ///
    /// # Errors
    /// The write failed.
    pub fn try_to_write(&self) -> Result<(), StoreError> {
        // SQLite writes and syncs even an unchanged value.
        self.connection().pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
        Ok(())
    }

    /// The last persisted state of a rollout; `None` if it has not started.
    ///
    /// # Errors
    /// The read failed.
    pub fn checkpoint(&self, id: i64) -> Result<Option<Checkpoint>, StoreError> {
        const SQL: &str = "SELECT state, at, wall FROM rollouts WHERE id = ? AND state IS NOT NULL";
        let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?));
        let found: Option<(String, f64, f64)> =
            self.connection().query_row(SQL, [id], read).optional()?;
        let Some((state, at, wall_then)) = found else { return Ok(None) };
        let rollout =
            serde_json::from_str(&state).map_err(|reason| StoreError::State { id, reason })?;
        let at =
            Duration::try_from_secs_f64(at + (wall() - wall_then).max(0.0)).unwrap_or_default();
        Ok(Some(Checkpoint { rollout, at }))
    }

    /// All rollouts, the newest first.
    ///
    /// # Errors
    /// The read failed.
    pub fn list(&self) -> Result<Vec<RolloutEntry>, StoreError> {
        let connection = self.connection();
        let mut statement =
            connection.prepare_cached(&format!("{SELECT_ENTRY} ORDER BY id DESC"))?;
        let entries = statement.query_map([], entry)?;
        Ok(entries.collect::<Result<_, _>>()?)
    }

    /// One rollout.
    ///
    /// # Errors
    /// The read failed.
    pub fn get(&self, id: i64) -> Result<Option<RolloutEntry>, StoreError> {
        let sql = format!("{SELECT_ENTRY} WHERE id = ?");
        Ok(self.connection().query_row(&sql, [id], entry).optional()?)
    }

    /// Deletes the rollouts that ended before this time, except the last promoted one of each
    /// service: it records the running version.
    ///
    /// # Errors
    /// The deletion failed.
    pub fn purge(&self, before: Timestamp) -> Result<(), StoreError> {
        const OLD: &str =
            "SELECT id FROM rollouts WHERE datetime(ended) < datetime(?1) AND id NOT IN
            (SELECT MAX(id) FROM rollouts WHERE outcome = 'promoted' GROUP BY service)";
        let mut connection = self.connection();
        let transaction = connection.transaction()?;
        let before = before.to_string();
        transaction.execute(&format!("DELETE FROM events WHERE rollout IN ({OLD})"), [&before])?;
        transaction.execute(&format!("DELETE FROM rollouts WHERE id IN ({OLD})"), [&before])?;
        transaction.commit()?;
        Ok(())
    }

    /// The events of a rollout after this sequence number, as JSON, in order.
    ///
    /// # Errors
    /// The read failed.
    pub fn events(&self, id: i64, after: i64) -> Result<Vec<(i64, String)>, StoreError> {
        const SQL: &str = "SELECT sequence, event FROM events WHERE rollout = ? AND sequence > ? ORDER BY sequence";
        let connection = self.connection();
        let mut statement = connection.prepare_cached(SQL)?;
        let events = statement.query_map([id, after], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(events.collect::<Result<_, _>>()?)
    }
}

impl GroupStore for Store {
    fn load(&self) -> Result<Vec<(String, SinkConfig)>, GroupStoreError> {
        let connection = self.connection();
        let read = || {
            let mut statement = connection.prepare("SELECT group_name, served FROM served")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            rows.collect::<Result<Vec<(String, String)>, _>>()
        };
        let rows = read().map_err(GroupStoreError::new)?;
        let parse = |(group, served): (String, String)| {
            Ok((group, serde_json::from_str(&served).map_err(GroupStoreError::new)?))
        };
        rows.into_iter().map(parse).collect()
    }

    fn save(&self, group: &str, config: &SinkConfig) -> Result<(), GroupStoreError> {
        const SQL: &str = "INSERT OR REPLACE INTO served (group_name, served) VALUES (?, ?)";
        let served = serde_json::to_string(config).map_err(GroupStoreError::new)?;
        let written = self.connection().execute(SQL, params![group, served]);
        written.map(drop).map_err(GroupStoreError::new)
    }
}

/// Restricts the file to its owner: rollouts contain tokens. SQLite creates its other files with the
/// same permissions. If the file can't be created or changed, SQLite reports the reason.
fn restrict(path: &Path) {
    let created = OpenOptions::new().append(true).create(true).mode(OWNER_ONLY).open(path);
    if let Ok(file) = created {
        let _ = file.set_permissions(Permissions::from_mode(OWNER_ONLY));
    }
}

fn add(
    connection: &Connection,
    plan: &Plan,
    spec: &str,
    retry_of: Option<i64>,
) -> Result<i64, StoreError> {
    const SQL: &str =
        "INSERT INTO rollouts (name, service, baseline, candidate, spec, created, retry_of, phase)
        VALUES (?, ?, ?, ?, ?, ?, ?, 'queued')";
    let Plan { name, service, baseline, candidate, .. } = plan;
    let (service, baseline, candidate) = (service.as_str(), baseline.as_str(), candidate.as_str());
    connection.execute(SQL, params![name, service, baseline, candidate, spec, now(), retry_of])?;
    Ok(connection.last_insert_rowid())
}

fn insert_event(
    connection: &Connection,
    id: i64,
    at: f64,
    event: &Event,
) -> Result<(), StoreError> {
    const SQL: &str = "INSERT INTO events (rollout, event) VALUES (?, ?)";
    let event = serde_json::to_string(&TimedEvent { at, event });
    connection
        .execute(SQL, params![id, event.map_err(|reason| StoreError::State { id, reason })?])?;
    Ok(())
}

fn verdict(output: &Output) -> Option<&'static str> {
    let Output::Emit(event) = output else { return None };
    let Event::Ended(summary) = &**event else { return None };
    Some(match summary.verdict {
        RolloutVerdict::Promoted => "promoted",
        RolloutVerdict::RolledBack => "rolledBack",
        RolloutVerdict::Interrupted => "interrupted",
    })
}

fn promotes(output: &Output) -> bool {
    let promotion =
        matches!(output, Output::Emit(event) if matches!(**event, Event::Promoted { .. }));
    promotion || verdict(output) == Some("promoted")
}

/// The present time in the store's format.
fn now() -> String {
    Timestamp::now().round(Unit::Second).unwrap_or_default().to_string()
}

/// Seconds since 1970.
fn wall() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

fn user_message(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::Locked(path.to_owned())
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            StoreError::Damaged { path: path.to_owned(), reason: error.to_string() }
        }
        Some(
            ErrorCode::ReadOnly
            | ErrorCode::CannotOpen
            | ErrorCode::PermissionDenied
            | ErrorCode::SystemIoFailure,
        ) => StoreError::Unwritable { path: path.to_owned(), reason: error.to_string() },
        _ => StoreError::Sqlite(error),
    }
}

#[cfg(test)]
mod tests;
