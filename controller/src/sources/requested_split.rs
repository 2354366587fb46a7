//! The split that was requested of a mesh, shared by the router that writes it and the source that
//! checks it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serin_core::observation::inference::SplitRequest;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::time::Instant;

/// The last requested split. Clones share it.
#[derive(Debug, Clone)]
pub struct RequestedSplit(Arc<Mutex<SplitRecord>>);

/// The last request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRecord {
    /// The rollout's generation of the split.
    pub generation: Generation,
    /// The candidate's share.
    pub weight: Weight,
    /// The candidate's share before; `None` if unknown.
    pub previous_weight: Option<Weight>,
    /// When the router wrote it into the mesh's objects.
    pub written_at: Instant,
    /// The version of the object after the write. An observation of an older one does not count.
    pub resource_version: u64,
    /// The reason why the objects no longer have this split, or are not accepted.
    pub problem: Option<String>,
    /// Whether the problem usually resolves itself.
    pub transient: bool,
    /// Why the object can't be watched. Its last known state stands until then.
    pub watch_error: Option<String>,
}

impl RequestedSplit {
    /// A split that was requested at this time.
    #[must_use]
    pub fn new(generation: Generation, weight: Weight) -> Self {
        Self(Arc::new(Mutex::new(SplitRecord {
            generation,
            weight,
            previous_weight: Some(weight),
            written_at: Instant::now(),
            resource_version: 0,
            problem: None,
            transient: false,
            watch_error: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, SplitRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last request.
    #[must_use]
    pub fn read(&self) -> SplitRecord {
        self.lock().clone()
    }

    /// Records another request.
    pub fn write(&self, record: SplitRecord) {
        *self.lock() = record;
    }

    /// Records why the mesh's object can't be watched; `None` when it can.
    pub fn set_watch_error(&self, error: Option<String>) {
        self.lock().watch_error = error;
    }

    /// Records whether the mesh's object, of this version, still has the split and is accepted.
    pub fn update(&self, version: u64, problem: Option<String>, transient: bool) {
        let mut record = self.lock();
        if version >= record.resource_version {
            (record.problem, record.transient) = (problem, transient);
        }
    }
}

impl SplitRecord {
    /// The problem to report, if any.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.problem.clone().filter(|_| !self.transient).or_else(|| self.watch_error.clone())
    }

    /// The same on a clock that began at `began`.
    #[must_use]
    pub(super) fn to_request(&self, began: Instant) -> SplitRequest {
        let sent_at = self.problem.is_none().then(|| self.written_at.duration_since(began));
        let Self { generation, weight, previous_weight, .. } = *self;
        SplitRequest { generation, weight, previous_weight, sent_at }
    }
}
