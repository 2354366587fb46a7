//! Whether a server can do what it is there for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::storage::sqlite::Store;

/// That the store could be written, or not, holds for so long. While rollouts are under way it is known from what they keep; else it is
/// tried, which gives the disk little to do however often somebody asks.
const CACHE_TTL: Duration = Duration::from_secs(10);

/// When something was to be written last, and what came of it.
type LastWrite = Option<(Instant, Result<(), String>)>;

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    taken_over: AtomicBool,
    written: Mutex<LastWrite>,
}

impl Readiness {
    /// What was in the store is under way again, or waits for what is.
    pub(super) fn taken_over(&self) {
        self.taken_over.store(true, Ordering::Relaxed);
    }

    /// Something was to be written, and was or was not.
    pub(super) fn record_write(&self, result: Result<(), String>) {
        *self.written() = Some((Instant::now(), result));
    }

    fn written(&self) -> MutexGuard<'_, LastWrite> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// Why it is not ready.
    pub(super) fn check(&self, store: &Store) -> Result<(), String> {
        if !self.taken_over.load(Ordering::Relaxed) {
            return Err("rollouts of the store are still being taken over".to_owned());
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
