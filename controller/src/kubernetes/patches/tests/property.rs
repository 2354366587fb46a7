//! Invariants for every object and every weight.

use json_patch::Patch;
use proptest::prelude::*;
use serde_json::json;
use serin_core::config::mesh::RouteWeights;

use super::*;

/// An object with arbitrary weights, some absent.
fn object() -> impl Strategy<Value = (usize, Value)> {
    let weights = proptest::collection::vec(proptest::option::of(0_u32..2_000_000), 8);
    (0..samples().len(), weights).prop_map(|(index, weights)| {
        let mut object = samples()[index].object();
        object["metadata"]["resourceVersion"] = json!("7");
        let mut weights = weights.into_iter();
        for list in lists(&object) {
            for entry in object.pointer_mut(&list).and_then(Value::as_array_mut).unwrap() {
                let entry = entry.as_object_mut().unwrap();
                match weights.next().flatten() {
                    Some(weight) => entry.insert("weight".to_owned(), weight.into()),
                    None => entry.remove("weight"),
                };
            }
        }
        (index, object)
    })
}

/// Pointers to the lists of weighted entries.
fn lists(object: &Value) -> Vec<String> {
    let list = |routes: &str, entries: &str| {
        let count = object["spec"][routes].as_array().map_or(0, Vec::len);
        let pointers = (0..count).map(|index| format!("/spec/{routes}/{index}/{entries}"));
        pointers.filter(|pointer| object.pointer(pointer).is_some()).collect::<Vec<_>>()
    };
    [list("http", "route"), list("rules", "backendRefs")].concat()
}

/// Removes the weights, and the added entries of the candidate.
fn without_weights(object: &Value, like: &Value) -> Value {
    let mut object = object.clone();
    for pointer in lists(like) {
        let count = like.pointer(&pointer).and_then(Value::as_array).unwrap().len();
        let list = object.pointer_mut(&pointer).and_then(Value::as_array_mut).unwrap();
        list.truncate(count);
        for entry in list {
            entry.as_object_mut().unwrap().shift_remove("weight");
        }
    }
    object
}

/// Applies a patch by an independent implementation.
fn carried_out(patch: &Patch, object: &Value) -> Value {
    let mut object = object.clone();
    for operation in serde_json::to_value(patch).unwrap().as_array().unwrap() {
        let path = operation["path"].as_str().unwrap();
        let (parent, last) = path.rsplit_once('/').unwrap();
        let value = operation["value"].clone();
        match (operation["op"].as_str().unwrap(), object.pointer_mut(parent).unwrap()) {
            ("test", parent) => assert_eq!(parent[last], value),
            ("replace", Value::Object(parent)) => parent[last] = value,
            ("add", Value::Object(parent)) => {
                assert_eq!(parent.insert(last.to_owned(), value), None);
            }
            ("add", Value::Array(parent)) => parent.insert(last.parse().unwrap(), value),
            other => panic!("{other:?}"),
        }
    }
    object
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_edit_sets_only_the_weights((index, object) in object(), percent in 0_u32..=100) {
        let sample = &samples()[index];
        let shares = sample.shares(percent);
        let edits = sample.routes(&object).unwrap().edits(shares);
        let edited = edits.applied(&object).unwrap();
        prop_assert_eq!(carried_out(&edits.patch(), &object).to_string(), edited.to_string());
        prop_assert_eq!(
            without_weights(&edited, &object).to_string(),
            without_weights(&object, &object).to_string()
        );
        let routes = sample.routes(&edited).unwrap();
        prop_assert_eq!(routes.candidate(), Some(weight(percent * 10_000)));
        prop_assert_eq!(routes.drift(shares), vec![]);
        // A repetition changes nothing.
        prop_assert!(routes.edits(shares).is_empty());
        prop_assert_eq!(edits.is_empty(), edited == object);
    }

    #[test]
    fn weights_add_up(ppm in 0_u32..=1_000_000) {
        let candidate = weight(ppm);
        let shares = http_route::route_weights(candidate);
        let sum = shares.baseline + shares.candidate;
        prop_assert!([100, 1_000_000].contains(&sum));
        prop_assert_eq!(u64::from(shares.candidate) * 1_000_000, u64::from(ppm) * u64::from(sum));
        let percent = RouteWeights::percent(candidate).ok();
        prop_assert_eq!(percent.is_some(), ppm % 10_000 == 0);
        prop_assert!(percent.is_none_or(|percent| percent == shares && sum == 100));
    }
}
