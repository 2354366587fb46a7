//! The readiness of a server.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::storage::sqlite::Store;

/// A write's result is valid for this long. Running rollouts refresh it with their writes;
/// otherwise a readiness check writes at most once in this time.
const CACHE_TTL: Duration = Duration::from_secs(10);

/// The time and the result of the last write.
type LastWrite = Option<(Instant, Result<(), String>)>;

/// The readiness of a supervisor.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    taken_over: AtomicBool,
    written: Mutex<LastWrite>,
}

impl Readiness {
    /// Records that the stored rollouts are resumed or queued.
    pub(super) fn taken_over(&self) {
        self.taken_over.store(true, Ordering::Relaxed);
    }

    /// Records the result of a write.
    pub(super) fn record_write(&self, result: Result<(), String>) {
        *self.written() = Some((Instant::now(), result));
    }

    fn written(&self) -> MutexGuard<'_, LastWrite> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// The reason why the server is not ready.
    pub(super) fn check(&self, store: &Store) -> Result<(), String> {
        if !self.taken_over.load(Ordering::Relaxed) {
            return Err("the stored rollouts are not resumed yet".to_owned());
        }
        let mut written = self.written();
        match &*written {
            Some((at, result)) if at.elapsed() < CACHE_TTL => result.clone(),
            _ => {
                let result = store.try_to_write().map_err(|error| error.to_string());
                written.insert((Instant::now(), result)).1.clone()
            }
        }
    }
}
