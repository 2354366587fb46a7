use super::*;
use crate::spec::tests::mesh::object;

fn version(name: &str) -> VersionName {
    name.parse().unwrap()
}

#[test]
fn the_running_version_is_the_baseline() {
    let manifest = Manifest::read("reviews", "bookinfo", &object()).unwrap();
    assert_eq!((manifest.baseline().as_str(), manifest.candidate().as_str()), ("v1", "v2"));
    let spec = manifest.parse(version("v2"), version("v3")).unwrap();
    assert_eq!((spec.plan.baseline, spec.plan.candidate), (version("v2"), version("v3")));
    let clusters: Vec<_> = spec.service.versions.into_iter().map(|v| v.cluster).collect();
    assert_eq!(
        clusters,
        [
            "outbound|9080|v2|reviews.bookinfo.svc.cluster.local",
            "outbound|9080|v3|reviews.bookinfo.svc.cluster.local"
        ]
    );
}

/// Each message has the path of the field, as in a file.
#[test]
fn errors_name_the_field_and_the_value() {
    let mut unknown = object();
    unknown["istio"]["modus"] = "mesh".into();
    let error = Manifest::read("reviews", "bookinfo", &unknown).err().unwrap().to_string();
    assert!(error.starts_with("spec.istio.modus: unknown field `modus`"), "{error}");
    let mut commands = object();
    commands["hooks"] = json!({ "after": [{ "command": ["./done"] }] });
    let manifest = Manifest::read("reviews", "bookinfo", &commands).unwrap();
    let error = manifest.parse(version("v1"), version("v2")).unwrap_err().to_string();
    assert!(error.starts_with("spec.hooks: ./done: commands"), "{error}");
    let mut secret = object();
    let hook = |file: &str| json!({ "after": [{ "url": "https://a/", "secretFile": file }] });
    secret["hooks"] = hook("/etc/serin/secrets/shop/key");
    let manifest = Manifest::read("reviews", "bookinfo", &secret).unwrap();
    let error = manifest.parse(version("v1"), version("v2")).unwrap_err().to_string();
    assert_eq!(
        error,
        "spec.hooks: /etc/serin/secrets/shop/key is outside of /etc/serin/secrets/bookinfo; move it there"
    );
    secret["hooks"] = hook("/etc/serin/secrets/bookinfo/key");
    let manifest = Manifest::read("reviews", "bookinfo", &secret).unwrap();
    manifest.parse(version("v1"), version("v2")).unwrap();
    let mut file = object();
    file["istio"].take();
    file["envoy"] = json!({ "admin": "http://127.0.0.1:9901", "filterConfig": "/filter.json" });
    for version in file["versions"].as_array_mut().unwrap() {
        let name = version["name"].as_str().unwrap().to_owned();
        *version = json!({ "name": name, "cluster": name });
    }
    let manifest = Manifest::read("reviews", "bookinfo", &file).unwrap();
    let error = manifest.parse(version("v1"), version("v2")).unwrap_err().to_string();
    assert!(error.starts_with("spec.envoy: not supported in a cluster"), "{error}");
}
