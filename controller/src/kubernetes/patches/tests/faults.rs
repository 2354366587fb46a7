//! Rejected objects: the error names the field and the fix.

use serde_json::json;
use serin_core::config::mesh::{Backend, Versions};

use super::*;

/// The error after a change to a sample.
fn fault(sample: &Sample, change: impl FnOnce(&mut Value)) -> String {
    let mut object = sample.object();
    change(&mut object);
    sample.routes(&object).unwrap_err().to_string()
}

#[test]
fn a_third_destination_is_rejected() {
    let entry = json!({"destination": {"host": "reviews", "subset": "v3"}, "weight": 0});
    let error = fault(&reviews(), |object| {
        object["spec"]["http"][1]["route"].as_array_mut().unwrap().insert(1, entry);
    });
    assert_eq!(
        error,
        "spec.http[1].route[1]: neither reviews (subset v1) nor reviews (subset v2): a rollout has two versions. \
         Move the others to another route"
    );
}

#[test]
fn a_duplicate_version_is_rejected() {
    let mut object = store().object();
    let backends = &mut object["spec"]["rules"][2]["backendRefs"];
    let again = backends[0].clone();
    backends.as_array_mut().unwrap().push(again);
    let error = store().routes(&object).unwrap_err().to_string();
    assert_eq!(error, "spec.rules[2].backendRefs[2]: store-v1 has two entries. Merge them");
    // A route without the other version is not serin's.
    object["spec"]["rules"][2]["backendRefs"].as_array_mut().unwrap().remove(1);
    assert_eq!(store().routes(&object).unwrap().routes().len(), 1);
}

#[test]
fn two_versions_of_one_destination_are_rejected() {
    let sample = store_of(Versions {
        candidate: Backend { port: Some(8080), ..services("store-v1", "").baseline },
        baseline: services("store-v1", "").baseline,
    });
    assert_eq!(
        fault(&sample, |_| {}),
        "spec.rules[1].backendRefs[0]: store-v1 and store-v1:8080 both match this entry. Use distinct names"
    );
}

#[test]
fn an_object_without_the_versions_is_rejected() {
    assert_eq!(
        fault(&first(), |_| {}),
        "spec.http: no route has both greeter (subset stable) and greeter (subset next). \
         Add greeter (subset next) to spec.http[1].route, with weight 0"
    );
    let other = store_of(services("shop-v1", "shop-v2"));
    assert_eq!(
        fault(&other, |_| {}),
        "spec.rules: no route has both shop-v1 and shop-v2. Check the object and the names of both versions"
    );
}

#[test]
fn a_field_of_the_wrong_type_is_named() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 9] = [
        (|o| o["kind"] = json!("Gateway"), r#"kind: "Gateway" is not VirtualService"#),
        (|o| o["apiVersion"] = json!("v1"), r#"apiVersion: "v1" is not of networking.istio.io"#),
        (|o| o["spec"] = json!(null), "spec: missing"),
        (|o| o["spec"]["http"] = json!({}), "spec.http: not a list"),
        (|o| o["spec"]["http"][0]["route"] = json!("x"), "spec.http[0].route: not a list"),
        (
            |o| o["spec"]["http"][0]["route"] = json!([{}]),
            "spec.http[0].route[0].destination: missing",
        ),
        (
            |o| o["spec"]["http"][1]["route"][0]["destination"]["host"] = json!(5),
            "spec.http[1].route[0].destination.host: not a string",
        ),
        (
            |o| o["spec"]["http"][1]["route"][1]["weight"] = json!(-1),
            "spec.http[1].route[1].weight: not a whole number from 0 on",
        ),
        (
            |o| o["spec"]["http"][1]["route"][1]["weight"] = json!("20"),
            "spec.http[1].route[1].weight: not a whole number from 0 on",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(fault(&reviews(), change), expected);
    }
}

#[test]
fn hosts_are_completed_as_istio_does() {
    let found = |host: &str, namespace: Value| {
        let mut object = reviews().object();
        object["metadata"]["namespace"] = namespace;
        let versions = subsets(host, "v1", "v2");
        virtual_service::routes(&object, &versions).is_ok()
    };
    for host in
        ["reviews", "reviews.bookinfo.svc.cluster.local", "reviews.bookinfo.svc.corp.example"]
    {
        assert!(found(host, json!("bookinfo")), "{host}");
    }
    for host in [
        "reviews.other.svc.cluster.local",
        "reviews.bookinfo",
        "review",
        "reviews.bookinfo.example",
    ] {
        assert!(!found(host, json!("bookinfo")), "{host}");
    }
    assert!(!found("reviews.bookinfo.svc.cluster.local", json!(null)));
}

#[test]
fn a_port_and_a_namespace_distinguish_entries() {
    let found = |port, namespace: Option<&str>| {
        let backend = |name: &str| Backend {
            name: name.to_owned(),
            namespace: namespace.map(str::to_owned),
            port: Some(port),
        };
        let versions = Versions { baseline: backend("store-v1"), candidate: backend("store-v2") };
        http_route::routes(&store().object(), &versions).is_ok()
    };
    assert!(found(8080, None) && found(8080, Some("shop")));
    assert!(!found(8081, None) && !found(8080, Some("gateways")));
}
