//! A Deployment: its replicas, present and desired.
//!
//! The number is written through the subresource `scale`, which grants no right to change the
//! pods.

use serde_json::{Value, json};
use serin_core::rollout::plan::Exposure;
use serin_filter::table::Weight;

use super::field::Field;
use super::{Edits, FieldError};

/// The replicas of a Deployment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replicas {
    /// The desired replicas.
    pub desired: u32,
    /// The replicas of the present pod template that are certainly ready.
    pub ready: u32,
}

/// The replicas for these requests if the baseline has so many; a preview takes one.
#[must_use]
pub fn required_replicas(exposure: &Exposure, baseline: u32) -> u32 {
    let ppm = u64::from(exposure.weight().ppm()) * u64::from(baseline);
    // No share exceeds all replicas.
    u32::try_from(ppm.div_ceil(u64::from(Weight::ALL.ppm()))).unwrap_or(baseline).max(1)
}

/// The replicas of a Deployment as it was read.
///
/// # Errors
/// The object is not a Deployment.
pub fn replicas(object: &Value) -> Result<Replicas, FieldError> {
    let root = Field::root(object);
    let desired = root.required("spec")?.get("replicas").map_or(Ok(1), |field| field.number())?;
    let status = root.get("status");
    let count = |name| {
        let field = status.as_ref().and_then(|status| status.get(name));
        field.map_or(Ok(0), |field| field.number())
    };
    let (all, updated, ready) =
        (count("replicas")?, count("updatedReplicas")?, count("readyReplicas")?);
    // The ready replicas may be those of an older template.
    let ready = ready.saturating_sub(all.saturating_sub(updated));
    let observed = status.as_ref().and_then(|status| status.value.get("observedGeneration"));
    let observed = observed.and_then(Value::as_i64).unwrap_or(0);
    let present = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or(0);
    Ok(Replicas { desired, ready: if observed < present { 0 } else { ready } })
}

/// Raises a Deployment, by its `scale`, to at least so many replicas.
///
/// # Errors
/// The object is not a scale.
pub fn scale_up(scale: &Value, replicas: u32) -> Result<Edits, FieldError> {
    scale_edits(scale, |present| present.max(replicas))
}

/// Scales a Deployment to 0, by its `scale`.
///
/// # Errors
/// The object is not a scale.
pub fn scale_to_zero(scale: &Value) -> Result<Edits, FieldError> {
    scale_edits(scale, |_| 0)
}

fn scale_edits(scale: &Value, desired: impl Fn(u32) -> u32) -> Result<Edits, FieldError> {
    let root = Field::root(scale);
    let spec = root.required("spec")?;
    // A scale omits 0.
    let present = spec.get("replicas").map_or(Ok(0), |field| field.number())?;
    let desired = desired(present);
    let mut edits = Edits::of(&root);
    if desired != present {
        edits.add(spec.path.with_trailing_token("replicas"), json!(desired));
    }
    Ok(edits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(percent: u32, baseline: u32) -> u32 {
        required_replicas(&Exposure::Share(Weight::from_ppm(percent * 10_000).unwrap()), baseline)
    }

    #[test]
    fn a_share_requires_its_part_of_the_replicas_and_at_least_one() {
        assert_eq!((takes(50, 4), takes(50, 5), takes(1, 100), takes(100, 7)), (2, 3, 1, 7));
        assert_eq!(required_replicas(&Exposure::Share(Weight::from_ppm(1).unwrap()), 10), 1);
        assert_eq!(required_replicas(&Exposure::Share(Weight::from_ppm(500_001).unwrap()), 10), 6);
        assert_eq!((takes(0, 10), takes(50, 0), takes(100, 0)), (1, 1, 1));
        assert_eq!(required_replicas(&Exposure::Share(Weight::ALL), u32::MAX), u32::MAX);
    }

    fn deployment(status: Value) -> Value {
        json!({"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status})
    }

    fn ready(status: Value) -> u32 {
        replicas(&deployment(status)).unwrap().ready
    }

    #[test]
    fn only_replicas_of_the_present_template_are_ready() {
        let status = |observed: i64, all: u32, updated: u32, ready: u32| json!({"observedGeneration": observed, "replicas": all, "updatedReplicas": updated, "readyReplicas": ready});
        assert_eq!(ready(status(2, 3, 3, 3)), 3);
        assert_eq!(ready(status(2, 3, 3, 1)), 1);
        // One of four is outdated: it may be among the three.
        assert_eq!(ready(status(2, 4, 3, 3)), 2);
        assert_eq!(ready(status(2, 3, 0, 3)), 0);
        // The template has changed since.
        assert_eq!(ready(status(1, 3, 3, 3)), 0);
        assert_eq!((ready(json!({})), ready(Value::Null)), (0, 0));
        let one = json!({"spec": {}, "status": {}});
        assert_eq!(replicas(&one).unwrap(), Replicas { desired: 1, ready: 0 });
    }

    #[test]
    fn an_error_has_the_path() {
        let error = replicas(&json!({"spec": {"replicas": "many"}})).unwrap_err().to_string();
        assert_eq!(error, "spec.replicas: not a whole number from 0 on");
        assert_eq!(scale_up(&json!({}), 1).unwrap_err().to_string(), "spec: missing");
    }

    #[test]
    fn scaling_never_removes_replicas_but_to_zero() {
        let scale = |spec: Value| json!({"metadata": {"resourceVersion": "7"}, "spec": spec});
        let written =
            |edits: Edits, scale: &Value| edits.applied(scale).unwrap()["spec"]["replicas"].clone();
        let (empty, three) = (scale(json!({})), scale(json!({"replicas": 3})));
        assert_eq!(written(scale_up(&empty, 2).unwrap(), &empty), 2);
        assert_eq!(written(scale_up(&three, 5).unwrap(), &three), 5);
        assert!(scale_up(&three, 2).unwrap().is_empty());
        assert_eq!(written(scale_to_zero(&three).unwrap(), &three), 0);
        assert!(scale_to_zero(&empty).unwrap().is_empty());
        // Another writer was first.
        let mut changed = three.clone();
        changed["metadata"]["resourceVersion"] = "8".into();
        scale_to_zero(&three).unwrap().applied(&changed).unwrap_err();
    }
}
