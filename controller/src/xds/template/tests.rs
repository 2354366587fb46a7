use prost::Message;

use super::*;

const SHIPPED: &str = include_str!("../../../../envoy/filter.json");

#[test]
fn the_shipped_file_is_served_with_another_configuration() {
    let template = FilterTemplate::parse(SHIPPED.as_bytes()).unwrap();
    assert_eq!(template.name(), "serin");
    assert_eq!(template.configuration(), r#"{"schema":1,"generation":0,"services":[]}"#);
    let resource = template.resource("7".to_owned(), "text".to_owned());
    assert_eq!((resource.name.as_str(), resource.version.as_str()), ("serin", "7"));
    assert_eq!(resource.body.type_url, super::super::protocol::TYPE_URL);
    let extension = TypedExtensionConfig::decode(&resource.body.value[..]).unwrap();
    let wasm = Wasm::decode(&extension.typed_config.unwrap().value[..]).unwrap();
    let plugin = wasm.config.unwrap();
    let Some(plugin_config::Vm::VmConfig(vm)) = &plugin.vm else { panic!() };
    assert_eq!(
        (extension.name.as_str(), plugin.name.as_str(), vm.vm_id.as_str(), vm.runtime.as_str()),
        ("serin", "serin", "serin", "envoy.wasm.runtime.v8")
    );
    let local = data_source::Specifier::Filename("/etc/envoy/serin/serin.wasm".to_owned());
    let Some(async_data_source::Specifier::Local(source)) = &vm.code.as_ref().unwrap().specifier
    else {
        panic!()
    };
    assert_eq!(source.specifier, Some(local));
    assert_eq!(plugin.failure_policy(), FailurePolicy::FailReload);
    let backoff = plugin.reload_config.unwrap().backoff.unwrap();
    assert_eq!(backoff.base_interval, Some(Duration { seconds: 0, nanos: 50_000_000 }));
    let text = plugin.configuration.unwrap();
    assert_eq!(text.type_url, "type.googleapis.com/google.protobuf.StringValue");
    assert_eq!(StringValue::decode(&text.value[..]).unwrap().value, "text");
}

#[test]
fn an_unknown_field_is_an_error_with_its_path() {
    let vm = "resources[0].typed_config.config.vm_config";
    for (from, to, expected) in [
        (
            "\"vm_id\":",
            "\"allow_precompiled\": true, \"vm_id\":",
            format!("{vm}.allow_precompiled: unknown field"),
        ),
        ("\"runtime\":", "\"run_time\":", format!("{vm}.run_time: unknown field")),
        (
            "\"filename\": \"",
            "\"filename\": 1, \"x\": \"",
            format!("{vm}.code.local.filename: invalid type"),
        ),
        (
            "\"version_info\":",
            "\"canary\": true, \"version_info\":",
            "canary: unknown field".to_owned(),
        ),
        (
            "FAIL_RELOAD",
            "FAIL_SOFT",
            "config.failure_policy: \"FAIL_SOFT\" is not a failure policy".to_owned(),
        ),
        ("0.05s", "0.001s", "backoff.base_interval: 0.001s: below 0.002s Envoy crashes".to_owned()),
        ("0.05s", "soon", "backoff.base_interval: ".to_owned()),
        (
            "http.wasm.v3.Wasm",
            "http.lua.v3.Lua",
            "resources[0].typed_config.@type: unknown variant".to_owned(),
        ),
    ] {
        let text = SHIPPED.replacen(from, to, 1);
        assert_ne!(text, SHIPPED);
        let error = FilterTemplate::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(&expected), "{error}");
    }
    assert!(FilterTemplate::parse(b"{\"resources\": []}").is_err());
    assert!(FilterTemplate::parse(b"").is_err());
}
