use serin_core::rollout::machine::Input;
use serin_core::spec::Spec;
use serin_core::split::Split;
use serin_filter::names::Generation;

use super::*;

const SPEC: &str = include_str!("../../../../envoy/rollout.yaml");

fn plan() -> Plan {
    Spec::parse(SPEC).unwrap().plan
}

fn started() -> (Rollout, Vec<Output>) {
    Rollout::start(plan(), Split::baseline(Generation(7)), "1".to_owned())
}

fn open() -> (tempfile::TempDir, PathBuf, Store) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("serin.db");
    let store = Store::open(&path).unwrap();
    (directory, path, store)
}

#[test]
fn a_state_survives_reopening() {
    let (_directory, path, store) = open();
    let id = store.add(&plan(), SPEC).unwrap();
    assert_eq!(
        (store.get(id).unwrap().unwrap().phase, store.checkpoint(id).unwrap()),
        (QueueState::Queued, None)
    );
    let (rollout, outputs) = started();
    store.commit(id, Duration::from_secs(5), &rollout, &outputs).unwrap();
    drop(store);
    let store = Store::open(&path).unwrap();
    let checkpoint = store.checkpoint(id).unwrap().unwrap();
    assert_eq!(checkpoint.rollout, rollout);
    assert!(checkpoint.at >= Duration::from_secs(5) && checkpoint.at < Duration::from_secs(60));
    let entry = store.get(id).unwrap().unwrap();
    assert_eq!((entry.phase, entry.spec.as_str()), (QueueState::Running, SPEC));
    let events = store.events(id, 0).unwrap();
    assert!(
        events[0].1.starts_with(r#"{"at":5.0,"event":"started","service":"shop""#),
        "{events:?}"
    );
    assert_eq!(store.events(id, events[0].0).unwrap(), events[1..]);
}

#[test]
fn an_end_is_stored_with_its_verdict() {
    let (_directory, _, store) = open();
    let id = store.add(&plan(), SPEC).unwrap();
    let (mut rollout, _) = started();
    let mut outputs = rollout.step(Duration::ZERO, Input::Interrupt);
    outputs.extend(rollout.step(Duration::ZERO, Input::Interrupt));
    store.commit(id, Duration::ZERO, &rollout, &outputs).unwrap();
    let entry = store.list().unwrap().remove(0);
    assert_eq!((entry.phase, entry.outcome.as_deref()), (QueueState::Ended, Some("interrupted")));
}

/// The stored wall clock is an hour ahead of the present time, or behind it.
#[test]
fn a_clock_that_was_set_back_adds_no_time() {
    let (_directory, _, store) = open();
    let id = store.add(&plan(), SPEC).unwrap();
    let (rollout, _) = started();
    for (jump, least, most) in [(3_600.0, 5, 6), (-3_600.0, 3_605, 3_660)] {
        store.commit(id, Duration::from_secs(5), &rollout, &[]).unwrap();
        let moved = store.connection().execute("UPDATE rollouts SET wall = wall + ?", [jump]);
        assert_eq!(moved.unwrap(), 1);
        let at = store.checkpoint(id).unwrap().unwrap().at.as_secs();
        assert!((least..most).contains(&at), "{at}");
    }
}

#[test]
fn only_its_owner_can_read_the_store() {
    let (_directory, path, store) = open();
    store.add(&plan(), SPEC).unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for suffix in ["", "-wal"] {
        assert_eq!(mode(&PathBuf::from(format!("{}{suffix}", path.display()))), 0o600);
    }
    drop(store);
    std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    drop(Store::open(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn one_process_opens_the_store_at_a_time() {
    let (_directory, path, store) = open();
    let second = Store::open(&path).unwrap_err().to_string();
    assert!(second.ends_with("another serin has this store"), "{second}");
    drop(store);
    Store::open(&path).unwrap();
}

#[test]
fn a_file_of_another_format_is_rejected_and_unchanged() {
    let (directory, path, store) = open();
    store.connection().pragma_update(None, "user_version", 99).unwrap();
    drop(store);
    let newer = Store::open(&path).unwrap_err().to_string();
    assert!(newer.contains("schema 99 is newer than schema 3"), "{newer}");
    let other = directory.path().join("other.db");
    let text = "not a database at all, but long enough to have a header ".repeat(40);
    std::fs::write(&other, &text).unwrap();
    let damaged = Store::open(&other).unwrap_err().to_string();
    assert!(damaged.contains("damaged (") && damaged.contains("restore a copy"), "{damaged}");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), text);
    let unwritable =
        Store::open(&directory.path().join("none").join("x.db")).unwrap_err().to_string();
    assert!(unwritable.contains("x.db: can't be written ("), "{unwritable}");
}

#[test]
fn an_unreadable_state_is_reported_with_its_rollout() {
    let (_directory, _, store) = open();
    let id = store.add(&plan(), SPEC).unwrap();
    store.connection().execute("UPDATE rollouts SET state = '{}'", []).unwrap();
    let error = store.checkpoint(id).unwrap_err().to_string();
    assert!(error.starts_with("the store: rollout 1 has a state that can't be read: "), "{error}");
}

#[test]
fn a_store_of_the_first_schema_is_migrated() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("serin.db");
    let first = Connection::open(&path).unwrap();
    first.execute_batch(MIGRATIONS[0]).unwrap();
    first.pragma_update(None, "user_version", 1).unwrap();
    let old = "INSERT INTO rollouts (name, service, spec, phase, outcome) VALUES ('a', 'shop', '', 'ended', 'promoted')";
    first.execute(old, []).unwrap();
    drop(first);
    let entry = Store::open(&path).unwrap().get(1).unwrap().unwrap();
    assert_eq!(
        (entry.name.as_str(), entry.created, entry.promoted),
        ("a", Timestamp::UNIX_EPOCH, None)
    );
}

#[test]
fn promotions_are_dated_and_a_purge_keeps_the_last_one() {
    let (_directory, _, store) = open();
    let promote = || {
        let id = store.add(&plan(), SPEC).unwrap();
        let (mut rollout, _) = started();
        let mut outputs = rollout.step(Duration::ZERO, Input::Interrupt);
        outputs.extend(rollout.step(Duration::ZERO, Input::Interrupt));
        for output in &mut outputs {
            if let Output::Emit(event) = output
                && let Event::Ended(summary) = &mut **event
            {
                summary.verdict = RolloutVerdict::Promoted;
            }
        }
        store.commit(id, Duration::ZERO, &rollout, &outputs).unwrap();
        id
    };
    let (first, second) = (promote(), promote());
    store.fail(store.add(&plan(), SPEC).unwrap(), "a mistake").unwrap();
    let queued = store.add(&plan(), SPEC).unwrap();
    let entry = store.get(first).unwrap().unwrap();
    assert!(
        entry.promoted.is_some()
            && entry.promoted == entry.ended
            && entry.created <= entry.ended.unwrap()
    );
    let ids = || store.list().unwrap().iter().map(|entry| entry.id).collect::<Vec<_>>();
    store.purge(Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(ids().len(), 4);
    store.purge(Timestamp::MAX).unwrap();
    assert_eq!(ids(), [queued, second]);
    assert!(
        store.events(first, 0).unwrap().is_empty() && !store.events(second, 0).unwrap().is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_of_a_batch_does_not_affect_the_others() {
    let (_directory, path, store) = open();
    let store = Arc::new(store);
    let ids: Vec<_> = (0..50).map(|_| store.add(&plan(), SPEC).unwrap()).collect();
    let (rollout, outputs) = started();
    let commit = |id| store.commit_batched(id, Duration::from_secs(5), &rollout, &outputs);
    let (written, unknown) = tokio::join!(
        futures_util::future::join_all(ids.iter().map(|id| commit(*id))),
        commit(1_000)
    );
    assert!(written.iter().all(Result::is_ok), "{written:?}");
    // The foreign key of its events fails: the rollout does not exist.
    assert!(unknown.is_err());
    commit(ids[0]).await.unwrap();
    // The writer drops its handle shortly after it sends the results.
    while Arc::strong_count(&store) > 1 {
        tokio::task::yield_now().await;
    }
    drop(store);
    let store = Store::open(&path).unwrap();
    for id in ids {
        assert_eq!(store.checkpoint(id).unwrap().unwrap().rollout, rollout);
    }
}
