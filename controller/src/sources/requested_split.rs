//! The split that was requested of a mesh, shared by the router that writes it and the source that
//! checks it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serin_core::observation::inference::SplitRequest;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::time::Instant;

/// The last split that the mesh was told. Clones show the same.
#[derive(Debug, Clone)]
pub struct RequestedSplit(Arc<Mutex<SplitRecord>>);

/// What is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRecord {
    /// The rollout's number for the split.
    pub generation: Generation,
    /// The candidate's share.
    pub weight: Weight,
    /// Its share before; `None` if it is not known.
    pub previous_weight: Option<Weight>,
    /// When it was written into the mesh's objects.
    pub written_at: Instant,
    /// The version of the object then. What is seen of an older one says nothing of it.
    pub resource_version: u64,
    /// Why the objects do not say so any more, or are not taken over, if that is so.
    pub problem: Option<String>,
    /// Whether that is what may be expected for a while.
    pub transient: bool,
}

impl RequestedSplit {
    /// A mesh that was told this long ago, by whomever.
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
        })))
    }

    fn lock(&self) -> MutexGuard<'_, SplitRecord> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on it now.
    #[must_use]
    pub fn read(&self) -> SplitRecord {
        self.lock().clone()
    }

    /// Puts another split on it.
    pub fn write(&self, note: SplitRecord) {
        *self.lock() = note;
    }

    /// Says whether the mesh's object, of this version, still says so, and is taken over.
    pub fn update(&self, version: u64, trouble: Option<String>, waiting: bool) {
        let mut note = self.lock();
        if version >= note.resource_version {
            (note.problem, note.transient) = (trouble, waiting);
        }
    }
}

impl SplitRecord {
    /// What is worth telling of that.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.problem.clone().filter(|_| !self.transient)
    }

    /// The same on a clock that began at `began`.
    #[must_use]
    pub(super) fn to_request(&self, began: Instant) -> SplitRequest {
        let sent_at = self.problem.is_none().then(|| self.written_at.duration_since(began));
        let Self { generation, weight, previous_weight, .. } = *self;
        SplitRequest { generation, weight, previous_weight, sent_at }
    }
}
