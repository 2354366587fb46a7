//! The rights that serin needs, and no others.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::DeleteParams;
use kube::{Api, Error};
use serin_tests::kube::{client, objects};

use crate::samples::REVIEWS;
use crate::world::{name, patch, read, world};

#[tokio::test(flavor = "multi_thread")]
async fn reading_and_patching_suffice() {
    let Some(server) = world().await else { return };
    let object = server.create(&REVIEWS.object()).await;
    let rule = PolicyRule {
        api_groups: Some(vec!["networking.istio.io".to_owned()]),
        resources: Some(vec!["virtualservices".to_owned()]),
        verbs: vec!["get".to_owned(), "patch".to_owned()],
        ..Default::default()
    };
    let serin = client(server.account("bookinfo", "serin", vec![rule]).await).await;
    let now = read(&serin, &object).await;
    let edits = REVIEWS.edits(&now, 50);
    patch(&serin, &now, &edits).await.expect("allowed");

    let forbidden = |error: Error| matches!(error, Error::Api(status) if status.code == 403);
    let deleted = objects(&serin, &object).delete(name(&object), &DeleteParams::default()).await;
    assert!(forbidden(deleted.expect_err("not allowed")));
    let secrets: Api<Secret> = Api::namespaced(serin.clone(), "bookinfo");
    assert!(forbidden(secrets.list(&Default::default()).await.expect_err("not allowed")));
    let mut elsewhere = object.clone();
    elsewhere["metadata"]["namespace"] = "default".into();
    assert!(forbidden(patch(&serin, &elsewhere, &edits).await.expect_err("not allowed")));
}
