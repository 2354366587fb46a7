use serde_json::json;

use super::*;

fn condition(name: &str, status: &str, generation: u64) -> Value {
    json!({"type": name, "status": status, "observedGeneration": generation, "reason": "R", "message": "m"})
}

/// A status of one parent's controller, with conditions of generation 3.
fn parent_status(parent: Value, accepted: &str, resolved: &str) -> Value {
    json!({
        "parentRef": parent, "controllerName": "example.com/gateway",
        "conditions": [
            condition("Accepted", accepted, 3),
            condition("Programmed", "False", 3),
            condition("ResolvedRefs", resolved, 3),
        ],
    })
}

/// A route with two parents at generation 3.
fn of(statuses: Value) -> Acceptance {
    let object = json!({
        "metadata": {"namespace": "shop", "generation": 3},
        "spec": {"parentRefs": [{"name": "public", "sectionName": "https"}, {"group": "", "kind": "Service", "name": "store"}]},
        "status": {"parents": statuses},
    });
    Acceptance::of(&object).unwrap()
}

fn public() -> Value {
    json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "namespace": "shop", "name": "public", "sectionName": "https"})
}

fn mesh() -> Value {
    json!({"group": "", "kind": "Service", "name": "store"})
}

fn waits_for(acceptance: Acceptance, expected: &str) {
    assert_eq!(acceptance, Acceptance::Waiting { reason: expected.to_owned() });
}

#[test]
fn every_parent_has_to_accept() {
    let yes = |parent| parent_status(parent, "True", "True");
    assert_eq!(of(json!([yes(public()), yes(mesh())])), Acceptance::Accepted);
    let silent = "Service store has not reported on the route yet";
    waits_for(of(json!([yes(public())])), silent);
    // Another listener of the gateway is another parent.
    let mut other = public();
    other["sectionName"] = json!("http");
    let silent = "Gateway public (https) has not reported on the route yet";
    waits_for(of(json!([yes(other), yes(mesh())])), silent);
    waits_for(of(json!(null)), silent);
}

#[test]
fn a_refusal_by_any_controller_precedes_waiting() {
    let refused = |parent: &str| Acceptance::Refused {
        parent: parent.to_owned(),
        reason: "R".to_owned(),
        message: "m".to_owned(),
    };
    assert_eq!(of(json!([parent_status(mesh(), "True", "False")])), refused("Service store"));
    let two = json!([
        parent_status(public(), "True", "True"),
        parent_status(mesh(), "True", "True"),
        parent_status(public(), "False", "True")
    ]);
    assert_eq!(of(two), refused("Gateway public (https)"));
}

#[test]
fn a_status_of_another_generation_does_not_count() {
    for status in ["True", "False"] {
        let mut old = parent_status(mesh(), "True", "True");
        old["conditions"][2] = condition("ResolvedRefs", status, 2);
        waits_for(
            of(json!([parent_status(public(), "True", "True"), old])),
            "Service store has not observed generation 3 yet (ResolvedRefs is of 2)",
        );
    }
    let mut without_generation = parent_status(mesh(), "True", "True");
    without_generation["conditions"][0].as_object_mut().unwrap().remove("observedGeneration");
    let reason = "Service store has not observed generation 3 yet (Accepted is of 0)";
    waits_for(of(json!([parent_status(public(), "True", "True"), without_generation])), reason);
}

#[test]
fn an_unknown_or_missing_condition_waits() {
    let unknown =
        json!([parent_status(public(), "Unknown", "True"), parent_status(mesh(), "True", "True")]);
    waits_for(of(unknown), "Gateway public (https): Accepted is Unknown: m");
    let mut missing = parent_status(mesh(), "True", "True");
    missing["conditions"].as_array_mut().unwrap().pop();
    let reason = "Service store has not reported ResolvedRefs yet";
    waits_for(of(json!([parent_status(public(), "True", "True"), missing])), reason);
}

#[test]
fn the_status_of_a_removed_parent_does_not_count() {
    let gone = parent_status(json!({"name": "gone"}), "False", "False");
    let all = json!([
        parent_status(public(), "True", "True"),
        gone,
        parent_status(mesh(), "True", "True")
    ]);
    assert_eq!(of(all), Acceptance::Accepted);
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    let error = |object: Value| Acceptance::of(&object).unwrap_err().to_string();
    assert_eq!(error(json!({"metadata": {}, "spec": {}})), "spec.parentRefs: missing");
    let object = json!({"metadata": {}, "spec": {"parentRefs": []}, "status": {"parents": 1}});
    assert_eq!(error(object), "status.parents: not a list");
    let object = json!({"metadata": {"generation": "3"}});
    assert_eq!(error(object), "metadata.generation: not a whole number from 0 on");
}
