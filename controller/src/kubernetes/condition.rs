//! Conditions, as Kubernetes has them. Types and reasons are for programs, and stay as they are.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version that is wanted runs.
pub(crate) const READY: &str = "Ready";
/// A rollout is under way.
pub(crate) const PROGRESSING: &str = "Progressing";
/// Something is not as it should be.
pub(crate) const DEGRADED: &str = "Degraded";

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// Its name.
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// True, False or Unknown.
    pub(crate) status: String,
    /// Why, as a word.
    pub(crate) reason: String,
    /// Why, as a sentence.
    #[serde(default)]
    pub(crate) message: String,
    /// Since when the status is what it is.
    #[schemars(with = "String")]
    pub(crate) last_transition_time: Timestamp,
    /// The generation of the object that it is about.
    #[serde(default)]
    pub(crate) observed_generation: i64,
}

/// What is so now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionUpdate {
    /// The condition's name.
    pub(crate) type_: &'static str,
    /// Whether it holds.
    pub(crate) holds: bool,
    /// Why, as a word.
    pub(crate) reason: String,
    /// Why, as a sentence.
    pub(crate) message: String,
}

/// Brings conditions up to date. The time of one changes only when its status does.
pub(crate) fn set(
    conditions: &mut Vec<Condition>,
    finding: ConditionUpdate,
    generation: i64,
    now: Timestamp,
) {
    let ConditionUpdate { type_, holds, reason, message } = finding;
    let status = if holds { "True" } else { "False" };
    let before = conditions.iter().position(|condition| condition.type_ == type_);
    let since = before.and_then(|index| conditions.get(index));
    let since = since.filter(|condition| condition.status == status);
    let condition = Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason,
        message,
        last_transition_time: since.map_or(now, |condition| condition.last_transition_time),
        observed_generation: generation,
    };
    match before.and_then(|index| conditions.get_mut(index)) {
        Some(place) => *place = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(holds: bool, reason: &str) -> ConditionUpdate {
        ConditionUpdate { type_: READY, holds, reason: reason.to_owned(), message: String::new() }
    }

    #[test]
    fn the_time_is_that_of_the_last_change_of_the_status() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut conditions = Vec::new();
        set(&mut conditions, finding(false, "Progressing"), 1, at(10));
        set(&mut conditions, finding(false, "Paused"), 2, at(20));
        let [paused] = &conditions[..] else { panic!("{conditions:?}") };
        assert_eq!((&*paused.reason, paused.last_transition_time), ("Paused", at(10)));
        assert_eq!(paused.observed_generation, 2);
        set(&mut conditions, finding(true, "Stable"), 2, at(30));
        assert_eq!(conditions[0].last_transition_time, at(30));
        set(
            &mut conditions,
            ConditionUpdate { type_: DEGRADED, ..finding(true, "Drifted") },
            2,
            at(40),
        );
        assert_eq!(conditions.len(), 2);
    }
}
