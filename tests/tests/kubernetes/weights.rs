//! Patches change only weights.

use kube::api::PostParams;
use serde_json::{Value, json};
use serin_tests::kube::{dynamic, objects};

use crate::samples::{SAMPLES, weight};
use crate::world::{name, patch, read, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_patch_changes_only_weights() {
    let Some(server) = world().await else { return };
    for sample in &SAMPLES {
        let before = server.create(&sample.object()).await;
        let edits = sample.edits(&before, 35);
        let answer = patch(&server.admin(), &before, &edits).await.expect(sample.name);
        let after = read(&server.admin(), &before).await;
        assert_eq!(answer, after, "{}", sample.name);
        assert_eq!(sample.routes(&after).candidate(), Some(weight(35)), "{}", sample.name);
        let expected = edits.applied(&before).expect("the object that was read");
        assert_eq!(written(&after), written(&expected), "{}", sample.name);
        assert_eq!(weightless(&after, &before), weightless(&before, &before), "{}", sample.name);
        assert_eq!(generation(&after), generation(&before) + 1, "{}", sample.name);
        assert!(sample.edits(&after, 35).is_empty(), "{}", sample.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replacing_the_object_has_the_same_effect() {
    let Some(server) = world().await else { return };
    for sample in &SAMPLES {
        let before = server.create(&sample.object()).await;
        let expected =
            sample.edits(&before, 35).applied(&before).expect("the object that was read");
        let api = objects(&server.admin(), &before);
        let after = api.replace(name(&before), &PostParams::default(), &dynamic(&expected)).await;
        let after = json!(after.expect(sample.name));
        assert_eq!(written(&after), written(&expected), "{}", sample.name);
    }
}

/// The object without fields that the server maintains.
fn written(object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    for name in ["resourceVersion", "generation", "managedFields"] {
        metadata.remove(name);
    }
    object
}

/// The same without the weights of entries, and without entries that another object lacks.
fn weightless(object: &Value, like: &Value) -> Value {
    let mut object = written(object);
    for (routes, entries) in [("http", "route"), ("rules", "backendRefs")] {
        let lists = object["spec"][routes].as_array_mut().into_iter().flatten();
        for (index, route) in lists.enumerate() {
            let count = like["spec"][routes][index][entries].as_array().map_or(0, Vec::len);
            let Some(list) = route[entries].as_array_mut() else { continue };
            list.truncate(count);
            for entry in list {
                entry.as_object_mut().expect("an entry").remove("weight");
            }
        }
    }
    object
}

fn generation(object: &Value) -> u64 {
    object["metadata"]["generation"].as_u64().expect("a generation")
}
