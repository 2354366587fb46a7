use serde_json::{Value, json};

use crate::config::mesh::Versions;
use crate::rollout::plan::Step;
use crate::spec::tests::mesh::{changed, object};
use crate::spec::{Deployments, Spec};

/// A rollout by the weights of a VirtualService, from Deployment to Deployment.
fn scaled(change: impl Fn(&mut Value)) -> Result<Spec, String> {
    changed(|spec| {
        for version in spec["versions"].as_array_mut().unwrap() {
            version["deployment"] = format!("reviews-{}", version["name"].as_str().unwrap()).into();
        }
        spec["scale"] = true.into();
        change(spec);
    })
}

#[test]
fn versions_may_have_deployments() {
    assert_eq!(changed(|_| ()).unwrap().deployments, None);
    let names = Versions { baseline: "reviews-v1".to_owned(), candidate: "reviews-v2".to_owned() };
    let deployments = |scale| Some(Deployments { names: names.clone(), scale });
    assert_eq!(scaled(|_| ()).unwrap().deployments, deployments(true));
    let only_waited_for = scaled(|spec| spec["scale"] = false.into()).unwrap();
    assert_eq!(only_waited_for.deployments, deployments(false));
}

#[test]
fn in_a_mesh_a_rolling_rollout_moves_replicas_by_shares() {
    let weights = |rolling: Value| {
        let plan = scaled(|spec| spec["strategy"] = json!({ "rolling": rolling })).unwrap().plan;
        assert_eq!(plan.replacement, None);
        plan.steps
    };
    let percent = |steps: &[Step]| -> Vec<u32> {
        steps.iter().map(|step| step.weight().ppm() / 10_000).collect()
    };
    let steps = weights(json!({ "batch": "25%", "approval": true, "bake": { "time": "5s" } }));
    assert_eq!(percent(&steps), [25, 50, 75, 100]);
    assert!(steps.iter().all(|step| step.bake.as_secs() == 5 && step.instances().is_empty()));
    assert_eq!(steps.iter().filter(|step| step.approval).count(), 3);
    assert_eq!(percent(&weights(json!({ "batch": "30%" }))), [30, 60, 90, 100]);
}

/// Each message has the path of the field, and what to do.
#[test]
fn errors_name_the_field_and_the_value() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 12] = [
        (
            |s| s["versions"] = object()["versions"].clone(),
            "spec.versions[0].deployment: missing; spec.scale requires it",
        ),
        (
            |s| {
                s["scale"] = false.into();
                drop(s["versions"][1]["deployment"].take());
            },
            "spec.versions[1].deployment: missing; set it for all",
        ),
        (|s| s["versions"][2]["deployment"] = "".into(), "spec.versions[2].deployment: empty"),
        (
            |s| s["versions"][1]["deployment"] = "reviews-v1".into(),
            "spec.versions[1].deployment: \"reviews-v1\" already runs another version",
        ),
        (
            |s| {
                s["scale"] = false.into();
                s["strategy"] = json!({"rolling": {"batch": "25%"}});
            },
            "spec.strategy.rolling: requires spec.scale: true",
        ),
        (
            |s| s["strategy"] = json!({"rolling": {"batch": "25%", "instances": ["a", "b"]}}),
            "spec.strategy.rolling.instances: not supported in a mesh",
        ),
        (
            |s| {
                s["strategy"] = json!({"rolling": {"batch": "25%", "replace": {"url": "http://a"}}})
            },
            "spec.strategy.rolling.replace: not supported in a mesh",
        ),
        (
            |s| s["strategy"] = json!({"rolling": {}}),
            "spec.strategy.rolling.batch: missing; set the share of the replicas",
        ),
        (
            |s| s["strategy"] = json!({"rolling": {"batch": 2}}),
            "spec.strategy.rolling.batch: a number; in a mesh, set a share",
        ),
        (
            |s| s["strategy"] = json!({"rolling": {"batch": "100%"}}),
            "spec.strategy.rolling.batch: 100 % is not above 0 % and below 100 %",
        ),
        (
            |s| s["strategy"] = json!({"rolling": {"batch": "1%"}}),
            "spec.strategy.rolling.batch: 100 batches are more than 50",
        ),
        (
            |s| s["strategy"] = json!({"rolling": {"batch": "12.5%"}}),
            "spec.strategy: 12.5 % is not a whole percentage",
        ),
    ];
    for (change, expected) in cases {
        let error = scaled(change).unwrap_err();
        assert!(error.starts_with(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn plain_envoy_supports_no_scaling() {
    let in_envoy = |change: fn(&mut Value)| {
        let error = changed(|spec| {
            spec["istio"].take();
            spec["envoy"] =
                json!({"admin": "http://127.0.0.1:9901", "filterConfig": "/filter.json"});
            spec["versions"] =
                json!([{"name": "v1", "cluster": "a"}, {"name": "v2", "cluster": "b"}]);
            change(spec);
        });
        error.unwrap_err()
    };
    let error = in_envoy(|spec| spec["scale"] = true.into());
    assert!(error.starts_with("spec.scale: requires spec.istio or spec.gatewayApi"), "{error}");
    let error = in_envoy(|spec| spec["versions"][1]["deployment"] = "b".into());
    assert!(error.starts_with("spec.versions[1].deployment: requires spec.istio"), "{error}");
    let error = in_envoy(|spec| spec["strategy"] = json!({"rolling": {"batch": "25%"}}));
    assert!(error.starts_with("spec.strategy.rolling.replace: missing; set a url or"), "{error}");
}
