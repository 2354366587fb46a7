use std::io::Write;

use super::*;

const ROLLOUT: &str = "
apiVersion: serin.dev/v1alpha1
kind: ServiceRollout
metadata: { name: reviews, namespace: bookinfo }
spec:
  service: reviews
  versions:
    - { name: stable, destination: { host: reviews, subset: v1 } }
    - { name: next, destination: { host: reviews, subset: v2 } }
  baseline: stable
  candidate: next
  strategy: { canary: { weight: 10% } }
  istio:
    mode: filter
    port: 9080
    proxies: { matchLabels: { app: productpage } }
";

fn made(rollout: &str) -> Result<Vec<Value>, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(rollout.as_bytes()).unwrap();
    let documents = documents(file.path(), "oci://registry.example/serin-filter:1")?;
    Ok(documents.iter().map(|document| serde_saphyr::from_str(document).unwrap()).collect())
}

#[test]
fn objects_for_the_filter() {
    let objects = made(ROLLOUT).unwrap();
    let [rule, service, plugin] = objects.as_slice() else { panic!("{objects:?}") };
    let host = "reviews.bookinfo.svc.cluster.local";
    assert_eq!(rule["spec"]["host"], host);
    assert_eq!(rule["spec"]["subsets"][1], json!({"name": "v2", "labels": {"version": "v2"}}));
    assert_eq!(service["metadata"], json!({"name": "reviews", "namespace": "bookinfo"}));
    let [next, rest] = service["spec"]["http"].as_array().unwrap().as_slice() else { panic!() };
    // The name of the version, which is not that of the subset.
    assert_eq!(next["match"][0]["headers"], json!({"x-serin-version": {"exact": "next"}}));
    assert_eq!(next["route"][0]["destination"]["subset"], "v2");
    assert_eq!(rest["route"][0]["destination"]["subset"], "v1");
    assert_eq!(plugin["spec"]["pluginConfig"]["services"], json!([]));
    assert_eq!(plugin["spec"]["failStrategy"], "FAIL_OPEN");
    assert_eq!(plugin["spec"]["selector"]["matchLabels"]["app"], "productpage");
}

#[test]
fn objects_for_the_mesh() {
    let mesh = ROLLOUT.replace("mode: filter", "mode: mesh\n    virtualService: ours");
    let objects = made(&mesh).unwrap();
    let [_, service, plugin] = objects.as_slice() else { panic!("{objects:?}") };
    assert_eq!(service["metadata"]["name"], "ours");
    let shares = service["spec"]["http"][0]["route"].as_array().unwrap();
    let weights: Vec<_> = shares.iter().map(|share| share["weight"].as_u64()).collect();
    assert_eq!(weights, [Some(100), Some(0)]);
    let observed = &plugin["spec"]["pluginConfig"]["services"][0];
    assert_eq!(observed["split"], "mesh");
    let cluster = "outbound|9080|v2|reviews.bookinfo.svc.cluster.local";
    assert_eq!(observed["versions"][1], json!({"name": "next", "cluster": cluster}));
}

#[test]
fn unsupported_rollouts_are_rejected() {
    let two = ROLLOUT.replace("host: reviews, subset: v2", "host: reviews-v2");
    let error = made(&two).unwrap_err();
    assert!(error.starts_with("spec.versions: reviews.bookinfo"), "{error}");
    let bad = ROLLOUT.replace("mode: filter", "mode: neither");
    assert!(made(&bad).unwrap_err().contains("spec.istio.mode"));
}
