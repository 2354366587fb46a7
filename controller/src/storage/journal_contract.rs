//! The contract of every journal, as tests of an implementation.

use std::time::Duration;

use serin_core::ports::Journal;
use serin_core::rollout::event::RolloutVerdict;
use serin_core::rollout::machine::{Input, Output, Rollout};
use serin_core::spec::Spec;
use serin_core::split::Split;
use serin_filter::names::Generation;

const SPEC: &str = include_str!("../../../envoy/rollout.yaml");

/// A journal with its store.
pub(crate) trait JournalFixture {
    /// The implementation under test.
    type Journal: Journal;

    /// The journal of one rollout.
    fn journal(&mut self) -> &mut Self::Journal;

    /// Makes writes succeed or fail.
    fn set_writable(&mut self, writable: bool);

    /// The rollout that a restarted process reads.
    fn stored(&self) -> StoredRollout;
}

/// A rollout as its store contains it.
#[derive(Debug, PartialEq)]
pub(crate) enum StoredRollout {
    /// No state is stored.
    None,
    /// It is in progress.
    Running(Box<Rollout>),
    /// It has ended with this verdict.
    Ended(RolloutVerdict),
}

/// Checks an implementation. `fixture` returns a new journal with an empty store.
pub(crate) async fn check<F: JournalFixture>(fixture: impl Fn() -> F) {
    a_committed_state_is_stored(&mut fixture()).await;
    a_failed_commit_changes_nothing(&mut fixture()).await;
    a_dropped_end_is_not_stored_later(&mut fixture()).await;
    a_rollback_is_stored_by_a_later_commit(&mut fixture()).await;
}

fn started() -> (Rollout, Vec<Output>) {
    let plan = Spec::parse(SPEC).unwrap().plan;
    Rollout::start(plan, Split::baseline(Generation(7)), "1".to_owned())
}

fn running(rollout: &Rollout) -> StoredRollout {
    StoredRollout::Running(Box::new(rollout.clone()))
}

const INTERRUPTED: StoredRollout = StoredRollout::Ended(RolloutVerdict::Interrupted);

async fn a_committed_state_is_stored(fixture: &mut impl JournalFixture) {
    let (mut rollout, outputs) = started();
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap();
    assert_eq!(fixture.stored(), running(&rollout));
    for stored_as_ended in [false, true] {
        let outputs = rollout.step(Duration::ZERO, Input::Interrupt);
        fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap();
        let expected = if stored_as_ended { INTERRUPTED } else { running(&rollout) };
        assert_eq!(fixture.stored(), expected);
    }
}

async fn a_failed_commit_changes_nothing(fixture: &mut impl JournalFixture) {
    let (mut rollout, outputs) = started();
    fixture.set_writable(false);
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap_err();
    assert_eq!(fixture.stored(), StoredRollout::None);
    fixture.set_writable(true);
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap();
    let before = rollout.clone();
    let outputs = rollout.step(Duration::ZERO, Input::Interrupt);
    fixture.set_writable(false);
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap_err();
    assert_eq!(fixture.stored(), running(&before));
}

/// Without a rollback the outputs of a failed commit are not executed, so they must not be stored.
async fn a_dropped_end_is_not_stored_later(fixture: &mut impl JournalFixture) {
    let (rollout, outputs) = started();
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap();
    let mut ended = rollout.clone();
    ended.step(Duration::ZERO, Input::Interrupt);
    let end = ended.step(Duration::ZERO, Input::Interrupt);
    fixture.set_writable(false);
    fixture.journal().commit(Duration::ZERO, &ended, &end).await.unwrap_err();
    fixture.set_writable(true);
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap();
    assert_eq!(fixture.stored(), running(&rollout));
}

/// A rollback continues while its store is down.
async fn a_rollback_is_stored_by_a_later_commit(fixture: &mut impl JournalFixture) {
    let (mut rollout, outputs) = started();
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap();
    let outputs = rollout.step(Duration::ZERO, Input::Interrupt);
    assert!(rollout.is_rolling_back());
    fixture.set_writable(false);
    fixture.journal().commit(Duration::ZERO, &rollout, &outputs).await.unwrap_err();
    fixture.set_writable(true);
    fixture.journal().commit(Duration::ZERO, &rollout, &[]).await.unwrap();
    assert_eq!(fixture.stored(), running(&rollout));
}
