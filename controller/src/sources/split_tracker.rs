//! A mesh that splits by itself: what it was told, and which of its proxies follow.

use std::time::Duration;

use serin_core::observation::Snapshot;
use serin_core::observation::health::Name;
use serin_core::observation::inference::Served;
use tokio::time::Instant;

use crate::sources::requested_split::{Board, Note};

/// What a mesh was told, beside what its proxies serve.
#[derive(Debug)]
pub struct Told {
    board: Board,
    served: Served,
}

impl Told {
    /// A mesh that is told what is on the board.
    #[must_use]
    pub fn new(board: Board, served: Served) -> Self {
        Self { board, served }
    }

    /// What it was told last.
    #[must_use]
    pub fn note(&self) -> Note {
        self.board.read()
    }

    /// Puts the generation into a snapshot that the proxy follows, given what the mesh was told. `at` is on a clock that began at `began`.
    pub fn infer(
        &mut self,
        note: &Note,
        (began, at): (Instant, Duration),
        name: &Name,
        snapshot: &mut Snapshot,
    ) {
        self.served.infer(at, name, snapshot, note.asked(began));
    }

    /// Forgets all proxies but these.
    pub fn retain(&mut self, listed: impl Fn(&Name) -> bool) {
        self.served.retain(listed);
    }
}
