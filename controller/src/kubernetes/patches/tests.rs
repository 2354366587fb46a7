//! Patches change only the rollout's weights in real-world objects, as structures and as text.

mod faults;
mod property;
mod samples;

use serde_json::Value;
use serin_filter::table::Weight;

use self::samples::*;
use super::{http_route, virtual_service};

fn weight(ppm: u32) -> Weight {
    Weight::from_ppm(ppm).unwrap()
}

/// The lines that are in one text only, with a sign before them. A trailing comma does not count.
fn difference(before: &Value, after: &Value) -> Vec<String> {
    let text = |value| serde_json::to_string_pretty(value).unwrap();
    let (before, after) = (text(before), text(after));
    let mut rest = before.lines().map(|line| line.trim_end_matches(',')).peekable();
    let mut changed = Vec::new();
    for line in after.lines().map(|line| line.trim_end_matches(',')) {
        // These tests change or add lines, and never move or remove one.
        if rest.peek() == Some(&line) {
            rest.next();
            continue;
        }
        let weighs = |line: &str| line.trim().starts_with("\"weight\":");
        if weighs(line) && rest.peek().is_some_and(|line| weighs(line)) {
            changed.push(format!("- {}", rest.next().unwrap().trim()));
        }
        changed.push(format!("+ {}", line.trim()));
    }
    assert_eq!(rest.next(), None, "something is gone");
    changed
}

fn changes(sample: &Sample, percent: u32) -> Vec<String> {
    let object = sample.object();
    let edits = sample.edits(&object, percent);
    let edited = edits.applied(&object).unwrap();
    assert_eq!(sample.routes(&edited).unwrap().candidate(), Some(weight(percent * 10_000)));
    assert!(sample.edits(&edited, percent).is_empty());
    difference(&object, &edited)
}

#[test]
fn only_weights_change() {
    let swap =
        |from: u32, to: u32| [format!("- \"weight\": {from}"), format!("+ \"weight\": {to}")];
    let cases = [
        (reviews(), 30, vec![swap(80, 70), swap(20, 30)]),
        (storefront(), 30, vec![swap(5, 30), swap(95, 70), swap(95, 70), swap(5, 30)]),
        (delegates(), 1, vec![swap(100, 99), swap(0, 1)]),
        (database(), 0, vec![swap(70, 100), swap(30, 0)]),
        (store(), 50, vec![swap(995_000, 50), swap(5_000, 50), swap(1, 50), swap(0, 50)]),
        (inventory(), 25, vec![swap(1, 25), swap(9, 75)]),
    ];
    for (sample, percent, expected) in cases {
        assert_eq!(changes(&sample, percent), expected.concat());
    }
}

#[test]
fn an_absent_weight_is_written() {
    let expected = ["- \"weight\": 100", "+ \"weight\": 60", "+ \"weight\": 40"];
    assert_eq!(changes(&future(), 40), expected);
}

#[test]
fn the_present_split_is_read() {
    let routes = |sample: &Sample| sample.routes(&sample.object()).unwrap();
    assert_eq!(routes(&inventory()).candidate(), Some(weight(100_000)));
    let store = routes(&store());
    assert_eq!(store.candidate(), None);
    let each: Vec<_> =
        store.routes().iter().map(|r| (r.path(), r.candidate().unwrap().ppm())).collect();
    assert_eq!(
        each,
        [
            ("spec.rules[1].backendRefs".to_owned(), 5_000),
            ("spec.rules[2].backendRefs".to_owned(), 0)
        ]
    );
    let mut nobody = reviews().object();
    for index in [0, 1] {
        nobody["spec"]["http"][1]["route"][index]["weight"] = 0.into();
    }
    let nobody = reviews().routes(&nobody).unwrap();
    assert_eq!(nobody.routes()[0].candidate(), None);
}

#[test]
fn only_the_gateway_api_has_parts_per_million() {
    let fine = weight(2_500);
    assert_eq!(http_route::route_weights(fine).to_string(), "997500 and 2500");
    assert_eq!(http_route::route_weights(weight(250_000)).to_string(), "75 and 25");
    let error = serin_core::config::mesh::RouteWeights::percent(fine).unwrap_err().to_string();
    assert_eq!(
        error,
        "0.25 % is not a whole percentage, as Istio's weights are; change it, or use mode filter"
    );
}

#[test]
fn drift_is_reported_by_route() {
    let sample = storefront();
    let mut object = sample.object();
    assert_eq!(sample.routes(&object).unwrap().drift(sample.shares(5)), []);
    object["spec"]["http"][2]["route"][0]["weight"] = 100.into();
    let drift = sample.routes(&object).unwrap().drift(sample.shares(5));
    assert_eq!(
        drift.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["spec.http[2].route: the weights 95 and 5 were written, but 100 and 5 are there"]
    );
}

#[test]
fn a_patch_fails_after_another_write() {
    let sample = storefront();
    let mut object = sample.object();
    object["metadata"]["resourceVersion"] = "41".into();
    let edits = sample.edits(&object, 30);
    edits.applied(&object).unwrap();
    let mut newer = object.clone();
    newer["metadata"]["resourceVersion"] = "42".into();
    let mut third = object.clone();
    let entry = third["spec"]["http"][1]["route"][0].clone();
    third["spec"]["http"][1]["route"].as_array_mut().unwrap().push(entry);
    for other in [newer, third] {
        edits.applied(&other).unwrap_err();
    }
    // An empty patch tests nothing.
    assert_eq!(sample.routes(&object).unwrap().edits(sample.shares(5)).patch().len(), 0);
}
