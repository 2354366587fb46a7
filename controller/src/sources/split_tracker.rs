//! Infers which proxies follow a split that the mesh makes: from the requested split, and the
//! split that each proxy serves.

use std::time::Duration;

use serin_core::observation::Snapshot;
use serin_core::observation::health::ProxyName;
use serin_core::observation::inference::SplitInference;
use tokio::time::Instant;

use crate::sources::requested_split::{RequestedSplit, SplitRecord};

/// Compares the requested split with the splits that proxies serve.
#[derive(Debug)]
pub struct SplitTracker {
    requested: RequestedSplit,
    inference: SplitInference,
}

impl SplitTracker {
    /// A tracker of this request.
    #[must_use]
    pub fn new(requested: RequestedSplit, inference: SplitInference) -> Self {
        Self { requested, inference }
    }

    /// The last request.
    #[must_use]
    pub fn record(&self) -> SplitRecord {
        self.requested.read()
    }

    /// Puts the generation that the proxy follows into its snapshot. `at` is on a clock that began
    /// at `began`.
    pub fn infer(
        &mut self,
        record: &SplitRecord,
        (began, at): (Instant, Duration),
        name: &ProxyName,
        snapshot: &mut Snapshot,
    ) {
        self.inference.infer(at, name, snapshot, record.to_request(began));
    }

    /// Forgets all proxies but these.
    pub fn retain(&mut self, listed: impl Fn(&ProxyName) -> bool) {
        self.inference.retain(listed);
    }
}
