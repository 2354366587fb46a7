//! What a mesh was told, by whoever tells it, for whoever looks whether it does that.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serin_core::observation::inference::Asked;
use serin_filter::names::Generation;
use serin_filter::table::Weight;
use tokio::time::Instant;

/// The last split that the mesh was told. Clones show the same.
#[derive(Debug, Clone)]
pub struct Board(Arc<Mutex<Note>>);

/// What is on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The rollout's number for the split.
    pub generation: Generation,
    /// The candidate's share.
    pub weight: Weight,
    /// Its share before; `None` if it is not known.
    pub before: Option<Weight>,
    /// When it was written into the mesh's objects.
    pub written: Instant,
    /// The version of the object then. What is seen of an older one says nothing of it.
    pub version: u64,
    /// Why the objects do not say so any more, or are not taken over, if that is so.
    pub trouble: Option<String>,
    /// Whether that is what may be expected for a while.
    pub waiting: bool,
}

impl Board {
    /// A mesh that was told this long ago, by whomever.
    #[must_use]
    pub fn new(generation: Generation, weight: Weight) -> Self {
        Self(Arc::new(Mutex::new(Note {
            generation,
            weight,
            before: Some(weight),
            written: Instant::now(),
            version: 0,
            trouble: None,
            waiting: false,
        })))
    }

    fn note(&self) -> MutexGuard<'_, Note> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is on it now.
    #[must_use]
    pub fn read(&self) -> Note {
        self.note().clone()
    }

    /// Puts another split on it.
    pub fn write(&self, note: Note) {
        *self.note() = note;
    }

    /// Says whether the mesh's object, of this version, still says so, and is taken over.
    pub fn see(&self, version: u64, trouble: Option<String>, waiting: bool) {
        let mut note = self.note();
        if version >= note.version {
            (note.trouble, note.waiting) = (trouble, waiting);
        }
    }
}

impl Note {
    /// What is worth telling of that.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.trouble.clone().filter(|_| !self.waiting)
    }

    /// The same on a clock that began at `began`.
    #[must_use]
    pub(super) fn asked(&self, began: Instant) -> Asked {
        let told = self.trouble.is_none().then(|| self.written.duration_since(began));
        let Self { generation, weight, before, .. } = *self;
        Asked { generation, weight, before, told }
    }
}
