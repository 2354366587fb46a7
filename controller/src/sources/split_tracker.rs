//! A mesh that splits by itself: what it was told, and which of its proxies follow.

use std::time::Duration;

use serin_core::observation::Snapshot;
use serin_core::observation::health::ProxyName;
use serin_core::observation::inference::SplitInference;
use tokio::time::Instant;

use crate::sources::requested_split::{RequestedSplit, SplitRecord};

/// What a mesh was told, beside what its proxies serve.
#[derive(Debug)]
pub struct SplitTracker {
    requested: RequestedSplit,
    inference: SplitInference,
}

impl SplitTracker {
    /// A mesh that follows the requested split.
    #[must_use]
    pub fn new(requested: RequestedSplit, inference: SplitInference) -> Self {
        Self { requested, inference }
    }

    /// What it was told last.
    #[must_use]
    pub fn record(&self) -> SplitRecord {
        self.requested.read()
    }

    /// Puts the generation into a snapshot that the proxy follows, given what the mesh was told. `at` is on a clock that began at `began`.
    pub fn infer(
        &mut self,
        note: &SplitRecord,
        (began, at): (Instant, Duration),
        name: &ProxyName,
        snapshot: &mut Snapshot,
    ) {
        self.inference.infer(at, name, snapshot, note.to_request(began));
    }

    /// Forgets all proxies but these.
    pub fn retain(&mut self, listed: impl Fn(&ProxyName) -> bool) {
        self.inference.retain(listed);
    }
}
