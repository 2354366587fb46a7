//! Kubernetes conditions. Types and reasons are for programs, and stay stable.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The desired version runs.
pub(crate) const READY: &str = "Ready";
/// A rollout is under way.
pub(crate) const PROGRESSING: &str = "Progressing";
/// Something needs attention.
pub(crate) const DEGRADED: &str = "Degraded";

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Condition {
    /// The condition's type.
    #[serde(rename = "type")]
    pub(crate) type_: String,
    /// True, False or Unknown.
    pub(crate) status: String,
    /// The reason in CamelCase.
    pub(crate) reason: String,
    /// The message for people.
    #[serde(default)]
    pub(crate) message: String,
    /// When the status changed last.
    #[schemars(with = "String")]
    pub(crate) last_transition_time: Timestamp,
    /// The generation of the object that the condition describes.
    #[serde(default)]
    pub(crate) observed_generation: i64,
}

/// The present state of one condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConditionUpdate {
    /// The condition's type.
    pub(crate) type_: &'static str,
    /// Whether it is true.
    pub(crate) holds: bool,
    /// The reason in CamelCase.
    pub(crate) reason: String,
    /// The message for people.
    pub(crate) message: String,
}

/// Updates conditions. The time of a condition changes only with its status.
pub(crate) fn set(
    conditions: &mut Vec<Condition>,
    update: ConditionUpdate,
    generation: i64,
    now: Timestamp,
) {
    let ConditionUpdate { type_, holds, reason, message } = update;
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
    fn the_transition_time_follows_the_status() {
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
