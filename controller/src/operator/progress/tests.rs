use std::collections::BTreeMap;

use serde_json::json;
use serin_core::observation::Observation;
use serin_core::rollout::command::{Action, Command};
use serin_core::rollout::machine::Input;
use serin_core::spec::manifest::Manifest;
use serin_core::split::Split;
use serin_filter::names::Generation;
use serin_filter::table::Weight;

use super::*;

fn context(second: i64) -> StatusContext {
    StatusContext { generation: 3, now: Timestamp::from_second(second).unwrap() }
}

/// A rollout from v1 to v2 that has just started.
fn started() -> (Rollout, Vec<Output>) {
    let destination =
        |name: &str| json!({"name": name, "destination": {"host": "shop", "subset": name}});
    let spec = json!({
        "service": "shop",
        "versions": [destination("v1"), destination("v2")],
        "baseline": "v1",
        "candidate": "v2",
        "strategy": {"canary": {"weight": "10%"}},
        "istio": {
            "mode": "mesh", "virtualService": "shop", "port": 80,
            "proxies": {"matchLabels": {"app": "edge"}},
        },
    });
    let manifest = Manifest::read("shop", "default", &spec).unwrap();
    let spec = manifest.parse("v1".parse().unwrap(), "v2".parse().unwrap()).unwrap();
    Rollout::start(spec.plan, Split::baseline(Generation(7)), "1".to_owned())
}

fn condition<'s>(status: &'s ObjectStatus, type_: &str) -> (&'s str, &'s str) {
    let found = status.conditions.iter().find(|condition| condition.type_ == type_).unwrap();
    (&found.status, &found.reason)
}

fn after(rollout: &Rollout, outputs: &[Output], before: &ObjectStatus) -> ObjectStatus {
    let started = StartedWith { spec: "{}", scales: true };
    progressed(before, context(60), started, Duration::from_secs(5), rollout, outputs).unwrap()
}

#[test]
fn a_stored_status_restores_its_rollout() {
    let (rollout, outputs) = started();
    let status = after(&rollout, &outputs, &ObjectStatus::default());
    assert_eq!(
        (status.phase, &*status.step, &*status.weight),
        (RolloutPhase::Progressing, "1/2", "10 %")
    );
    assert_eq!(status.weights.values().collect::<Vec<_>>(), ["90 %", "10 %"]);
    assert_eq!((status.generation, status.observed_generation), (8, 3));
    assert_eq!(condition(&status, READY), ("False", "Progressing"));
    assert_eq!(condition(&status, PROGRESSING), ("True", "StepShifting"));
    assert_eq!(condition(&status, DEGRADED), ("False", "AsExpected"));
    let text = serde_json::to_string(&status).unwrap();
    let read: ObjectStatus = serde_json::from_str(&text).unwrap();
    assert_eq!(read, status);
    let restored: Rollout = serde_json::from_str(&read.checkpoint.unwrap().state).unwrap();
    assert_eq!(restored, rollout);
}

#[test]
fn a_blocker_is_a_condition_with_its_reason_and_message() {
    let (mut rollout, _) = started();
    let observation = Observation::Unreachable { reason: "there is no proxy".to_owned() };
    let outputs = rollout.step(Duration::from_secs(5), Input::Observation(observation));
    let status = after(&rollout, &outputs, &ObjectStatus::default());
    assert_eq!(condition(&status, DEGRADED), ("True", "Unreachable"));
    assert!(status.message.contains("there is no proxy"), "{}", status.message);
}

#[test]
fn an_end_sets_the_stable_version_and_enters_the_history() {
    let (mut rollout, outputs) = started();
    let before = after(&rollout, &outputs, &ObjectStatus::default());
    let command = Command {
        action: Action::Abort,
        by: "ann".to_owned(),
        reason: None,
        step: None,
        seconds: None,
        force: true,
    };
    let outputs = rollout.execute(Duration::from_secs(9), command).unwrap();
    let mut status = after(&rollout, &outputs, &before);
    assert_eq!((status.phase, &status.checkpoint), (RolloutPhase::Stopped, &None));
    assert_eq!(status.stable.as_ref().unwrap().as_str(), "v1");
    assert_eq!(status.rejected.as_ref().unwrap().as_str(), "v2");
    assert_eq!(condition(&status, DEGRADED), ("True", "Stopped"));
    assert_eq!(status.history[0].reason.as_deref(), Some("aborted by ann"));
    for _ in 0..2 * MAX_HISTORY {
        status = after(&rollout, &outputs, &status);
    }
    assert_eq!(status.history.len(), MAX_HISTORY);
    // The message stays until the phase changes.
    let idle = idle_status(&status, context(90), RolloutPhase::Stopped);
    assert_eq!(idle.message, status.message);
    let stable = idle_status(&idle, context(99), RolloutPhase::Stable);
    assert_eq!(condition(&stable, READY), ("True", "Stable"));
    // A later rollout may then try v2 again.
    assert_eq!((&idle.rejected, &stable.rejected), (&status.rejected, &None));
    assert_eq!(idle_status(&stable, context(120), RolloutPhase::Stable), stable);
}

#[test]
fn the_version_without_users_is_scaled_down_at_the_end() {
    let (rollout, _) = started();
    let summary = |verdict, confirmed| Summary {
        verdict,
        reason: None,
        service: "shop".parse().unwrap(),
        baseline: "v1".parse().unwrap(),
        candidate: "v2".parse().unwrap(),
        weight: Weight::ZERO,
        generation: Generation(9),
        confirmed,
        duration: Duration::from_secs(5),
        candidate_requests: 0,
        candidate_failures: BTreeMap::new(),
    };
    let scaled_down = |verdict, confirmed, scales| {
        let ended = Output::Emit(Box::new(Event::Ended(summary(verdict, confirmed))));
        let (before, at) = (ObjectStatus::default(), Duration::from_secs(5));
        let started = StartedWith { spec: "{}", scales };
        let status = progressed(&before, context(60), started, at, &rollout, &[ended]).unwrap();
        status.pending_scale_down.map(|pending| pending.version.to_string())
    };
    assert_eq!(scaled_down(RolloutVerdict::Promoted, true, true).as_deref(), Some("v1"));
    assert_eq!(scaled_down(RolloutVerdict::RolledBack, true, true).as_deref(), Some("v2"));
    assert_eq!(scaled_down(RolloutVerdict::Interrupted, true, true).as_deref(), Some("v2"));
    // An unconfirmed version may still have traffic.
    assert_eq!(scaled_down(RolloutVerdict::RolledBack, false, true), None);
    assert_eq!(scaled_down(RolloutVerdict::Promoted, true, false), None);
    // A rollout in progress may need any version.
    let version = "v1".parse().unwrap();
    let pending_scale_down = Some(PendingScaleDown { version, problem: None });
    let before = ObjectStatus { pending_scale_down, ..ObjectStatus::default() };
    assert_eq!(after(&rollout, &[], &before).pending_scale_down, None);
}

#[test]
fn an_error_sets_the_reason_and_the_message() {
    let status =
        error_status(&ObjectStatus::default(), context(1), "ObjectMissing", "it is not there");
    assert_eq!((status.phase, &*status.message), (RolloutPhase::Pending, "it is not there"));
    assert_eq!(condition(&status, DEGRADED), ("True", "ObjectMissing"));
    assert_eq!(error_status(&status, context(2), "ObjectMissing", "it is not there"), status);
}

#[test]
fn a_state_is_much_shorter_than_the_limit() {
    let (rollout, outputs) = started();
    let state = serde_json::to_string(&rollout).unwrap();
    assert!(state.len() < MAX_STATE_BYTES / 8, "{}", state.len());
    after(&rollout, &outputs, &ObjectStatus::default());
}
