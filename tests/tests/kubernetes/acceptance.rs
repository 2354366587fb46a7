//! The status that gateways write into a route, and the server's generations.

use kube::Client;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use serin::kubernetes::patches::acceptance::Acceptance;
use serin_tests::kube::objects;

use crate::samples::INVENTORY;
use crate::world::{name, patch, read, world};

#[tokio::test(flavor = "multi_thread")]
async fn a_route_is_accepted_once_its_gateway_has_observed_the_weights() {
    let Some(server) = world().await else { return };
    let admin = server.admin();
    let route = server.create(&INVENTORY.object()).await;
    let acceptance = async || Acceptance::of(&read(&admin, &route).await).expect("a route");
    let waits = |acceptance: Acceptance| matches!(acceptance, Acceptance::Waiting { .. });
    assert!(waits(acceptance().await));
    say(&admin, &route, "True", "ResolvedRefs").await;
    assert_eq!(acceptance().await, Acceptance::Accepted);

    // Other weights increment the generation.
    let now = read(&admin, &route).await;
    patch(&admin, &now, &INVENTORY.edits(&now, 30)).await.expect("the server accepts the patch");
    assert!(waits(acceptance().await));
    say(&admin, &route, "False", "BackendNotFound").await;
    let refused = Acceptance::Refused {
        parent: "Gateway internal".to_owned(),
        reason: "BackendNotFound".to_owned(),
        message: "as the test says".to_owned(),
    };
    assert_eq!(acceptance().await, refused);
}

/// A gateway's controller: it writes its state of the present generation.
async fn say(client: &Client, route: &Value, resolved: &str, reason: &str) {
    let generation = read(client, route).await["metadata"]["generation"].clone();
    let condition = |name: &str, status: &str| {
        json!({
            "type": name, "status": status, "reason": reason, "message": "as the test says",
            "observedGeneration": generation, "lastTransitionTime": "2026-11-26T00:00:00Z",
        })
    };
    let conditions = [condition("Accepted", "True"), condition("ResolvedRefs", resolved)];
    let parent = json!({
        "parentRef": {
            "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "internal", "namespace": "gateways",
        },
        "controllerName": "example.com/gateway",
        "conditions": conditions,
    });
    let status = Patch::Merge(json!({"status": {"parents": [parent]}}));
    let api = objects(client, route);
    api.patch_status(name(route), &PatchParams::default(), &status).await.expect("a status");
}
