//! Another client writes to the same object.

use std::time::Duration;

use serde_json::json;

use crate::samples::{REVIEWS, weight};
use crate::world::{merge, patch, read, stale, world};

#[tokio::test(flavor = "multi_thread")]
async fn edits_of_an_older_object_are_rejected() {
    let Some(server) = world().await else { return };
    let admin = server.admin();
    let before = server.create(&REVIEWS.object()).await;
    let edits = REVIEWS.edits(&before, 50);
    // Even a change outside of serin's fields counts: the writer may be another serin.
    merge(&admin, &before, json!({"metadata": {"labels": {"team": "a"}}})).await;
    let error = patch(&admin, &before, &edits).await.expect_err("the object has changed");
    assert!(stale(&error), "{error}");
    let now = read(&admin, &before).await;
    assert_eq!(now["spec"], before["spec"]);
    patch(&admin, &now, &REVIEWS.edits(&now, 50)).await.expect("the object is current");
    // An equal weight does not make an equal object.
    let now = read(&admin, &before).await;
    let edits = REVIEWS.edits(&now, 60);
    for percent in [70, 50] {
        let now = read(&admin, &before).await;
        patch(&admin, &now, &REVIEWS.edits(&now, percent)).await.expect("the object is current");
    }
    assert!(stale(&patch(&admin, &now, &edits).await.expect_err("the object has changed twice")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_writer_ten_times_a_second_loses_no_write() {
    const ROUNDS: usize = 20;
    let Some(server) = world().await else { return };
    let admin = server.admin();
    let object = server.create(&REVIEWS.object()).await;
    let (other, its_object) = (admin.clone(), object.clone());
    let writer = tokio::spawn(async move {
        for round in 0..ROUNDS {
            let notes = json!({(format!("note-{round}")): "kept"});
            merge(&other, &its_object, json!({"metadata": {"annotations": notes}})).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let mut written = 0;
    while written < 50 || !writer.is_finished() {
        let now = read(&admin, &object).await;
        let percent = 1 + written % 99;
        match patch(&admin, &now, &REVIEWS.edits(&now, percent)).await {
            Ok(patched) => {
                assert_eq!(REVIEWS.routes(&patched).candidate(), Some(weight(percent)));
                written += 1;
            }
            Err(error) => assert!(stale(&error), "{error}"),
        }
    }
    writer.await.expect("the other writer ends");
    let now = read(&admin, &object).await;
    let notes = now["metadata"]["annotations"].as_object().expect("annotations");
    assert_eq!(notes.len(), ROUNDS);
}
