use serin_filter::names::Generation;

use super::*;

fn configuration(generation: u64) -> wire::Config {
    let config = json!({"schema": 1, "generation": generation, "services": [{
        "name": "reviews", "authorities": ["reviews", "reviews.bookinfo.svc.cluster.local"],
        "sticky": [{"header": "end-user"}, {"identityCookie": {"name": "u", "maxAgeSeconds": 60, "secure": true}}],
        "salt": "reviews",
        "versions": [{"name": "v1", "cluster": "outbound|9080|v1|reviews.bookinfo.svc.cluster.local"},
                     {"name": "v2", "cluster": "outbound|9080|v2|reviews.bookinfo.svc.cluster.local"}],
        "buckets": [{"version": "v2", "count": 10_000}, {"version": "v1", "count": 990_000}],
        "rules": [{"when": {"header": {"name": "x-team"}}, "then": {"version": "v2"}}],
        "tripwire": {"toleratedPpm": 50_000}}]});
    serde_json::from_value(config).unwrap()
}

fn plugin(labels: BTreeMap<String, String>) -> WasmPlugin {
    WasmPlugin {
        name: "serin".to_owned(),
        namespace: "bookinfo".to_owned(),
        url: "oci://registry.example/serin:1.0.0".to_owned(),
        labels,
        phase: None,
        priority: None,
    }
}

fn pods(labels: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    labels.iter().map(owned).collect()
}

/// Istio's conversion: a protobuf `Struct`, whose numbers are doubles and whose fields have no
/// order, as JSON.
fn handed_on(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<_, _> =
                fields.iter().map(|(name, v)| (name, handed_on(v))).collect();
            json!(sorted)
        }
        Value::Array(entries) => entries.iter().map(handed_on).collect(),
        Value::Number(number) => {
            let double = number.as_f64().unwrap();
            serde_json::from_str(&format!("{double}")).unwrap()
        }
        other => other.clone(),
    }
}

#[test]
fn the_filter_reads_istios_conversion() {
    for generation in [0, 7, MAX_EXACT_INTEGER] {
        let object = plugin(pods(&[])).object(&configuration(generation)).unwrap();
        let text = handed_on(&object["spec"]["pluginConfig"]).to_string();
        assert!(text.starts_with("{\"generation\":"), "{text}");
        let read = Config::parse(text.as_bytes()).unwrap();
        assert_eq!(read, Config::try_from(configuration(generation)).unwrap());
        assert_eq!(read.generation, Generation(generation));
    }
    let error =
        plugin(pods(&[])).object(&configuration(MAX_EXACT_INTEGER + 1)).unwrap_err().to_string();
    assert!(error.starts_with("spec.pluginConfig.generation: 9007199254740993 is more"), "{error}");
}

#[test]
fn a_plugin_acts_on_requests_that_its_pods_send() {
    let plugin = WasmPlugin {
        priority: Some(-5),
        phase: Some(PluginPhase::Stats),
        ..plugin(pods(&[("app", "productpage")]))
    };
    let mut object = plugin.object(&configuration(1)).unwrap();
    object["spec"]["pluginConfig"] = json!("above");
    assert_eq!(
        object,
        json!({
            "apiVersion": "extensions.istio.io/v1alpha1",
            "kind": "WasmPlugin",
            "metadata": {"name": "serin", "namespace": "bookinfo", "labels": {"app.kubernetes.io/managed-by": "serin"}},
            "spec": {
                "url": "oci://registry.example/serin:1.0.0",
                "imagePullPolicy": "IfNotPresent",
                "selector": {"matchLabels": {"app": "productpage"}},
                "match": [{"mode": "CLIENT"}],
                "phase": "STATS",
                "priority": -5,
                "failStrategy": "FAIL_OPEN",
                "pluginConfig": "above",
            },
        })
    );
}

#[test]
fn objects_that_istio_would_reject_are_rejected() {
    let url = |url: &str| WasmPlugin { url: url.to_owned(), ..plugin(pods(&[])) };
    for good in ["registry.example/serin:1", "https://a/b.wasm", "file:///opt/serin.wasm"] {
        url(good).object(&configuration(1)).unwrap();
    }
    let error = |plugin: WasmPlugin| plugin.object(&configuration(1)).unwrap_err().to_string();
    for bad in ["", "ftp://a/b.wasm"] {
        assert!(error(url(bad)).starts_with("spec.url: "), "{bad}");
    }
    assert!(error(plugin(pods(&[("app", "*")]))).starts_with("spec.selector.matchLabels: "));
    let mut config = configuration(1);
    config.services.extend(config.services.clone());
    let error = plugin(pods(&[])).object(&config).unwrap_err().to_string();
    assert_eq!(error, "spec.pluginConfig: services: duplicate \"reviews\"");
}

#[test]
fn only_the_configuration_of_a_plugin_changes() {
    let mut object = plugin(pods(&[])).object(&configuration(1)).unwrap();
    object["metadata"]["resourceVersion"] = json!("12");
    object["spec"]["sha256"] = json!("ab");
    object["spec"]["novel"] = json!([1.0, null]);
    assert!(edits(&object, &configuration(1)).unwrap().is_empty());
    let edited = edits(&object, &configuration(2)).unwrap().applied(&object).unwrap();
    assert_eq!(config(&edited).unwrap(), configuration(2));
    let mut expected = object.clone();
    expected["spec"]["pluginConfig"]["generation"] = json!(2);
    assert_eq!(edited.to_string(), expected.to_string());
}

#[test]
fn a_foreign_plugin_is_rejected() {
    let error = |object: &Value| edits(object, &configuration(1)).unwrap_err().to_string();
    assert_eq!(error(&json!({"kind": "Pod"})), "kind: \"Pod\" is not \"WasmPlugin\"");
    let mut object = plugin(pods(&[])).object(&configuration(1)).unwrap();
    object["spec"]["pluginConfig"] = json!({"rate": 5});
    let error = config(&object).unwrap_err().to_string();
    assert!(error.starts_with("spec.pluginConfig: "), "{error}");
}
