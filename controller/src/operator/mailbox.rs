//! What the tasks of one object tell each other: orders on their way, and what became of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use crate::kubernetes::status::{OrderReport, Phase};

/// What lies on it. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Desk(Arc<Mutex<Papers>>);

#[derive(Debug, Default)]
struct Papers {
    generation: i64,
    phase: Phase,
    /// The text of an order that the rollout has been given.
    given: Option<String>,
    /// What is to be said of an order.
    report: Option<OrderReport>,
}

impl Desk {
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The object of this generation has been obeyed.
    pub(crate) fn observed(&self, generation: i64) {
        self.papers().generation = generation;
    }

    /// The generation of the object that was obeyed last.
    #[must_use]
    pub(crate) fn generation(&self) -> i64 {
        self.papers().generation
    }

    /// Where the rollout is, as it was stored last.
    #[must_use]
    pub(crate) fn phase(&self) -> Phase {
        self.papers().phase
    }

    /// What was stored last.
    pub(crate) fn stored(&self, phase: Phase) {
        self.papers().phase = phase;
    }

    /// An order is given to the rollout.
    pub(crate) fn give(&self, text: &str) {
        self.papers().given = Some(text.to_owned());
    }

    /// The rollout takes the order that it was given: that is stored together with what comes of it.
    pub(crate) fn taken(&self, now: Timestamp) {
        let mut papers = self.papers();
        if let Some(text) = papers.given.take() {
            papers.report = Some(OrderReport { text, at: now, refused: None });
        }
    }

    /// What became of an order that was not taken, or had nothing to change.
    pub(crate) fn report(&self, report: OrderReport) {
        let mut papers = self.papers();
        if papers.given.take().is_some() || report.refused.is_some() {
            papers.report = Some(report);
        }
    }

    /// What is to be said of an order, and is not stored yet.
    #[must_use]
    pub(crate) fn unsaid(&self) -> Option<OrderReport> {
        self.papers().report.clone()
    }

    /// This has been stored.
    pub(crate) fn said(&self, report: &OrderReport) {
        let mut papers = self.papers();
        if papers.report.as_ref() == Some(report) {
            papers.report = None;
        }
    }
}
