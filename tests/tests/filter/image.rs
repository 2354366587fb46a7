//! The module as an OCI image: what Istio looks for is in it, and the same module always gives the same one.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The kinds of content by which Istio knows an image of the "compat" variant.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn istio_finds_the_module() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = made(&module(), directory.path()).expect("an image");
    let layout = json(&directory.path().join("oci-layout"));
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    let index = json(&directory.path().join("index.json"));
    let [manifest] = &index["manifests"].as_array().expect("a list")[..] else {
        panic!("not one manifest: {index}")
    };
    assert_eq!(manifest["digest"], said);
    let manifest = blob(directory.path(), manifest, MANIFEST);
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["mediaType"], MANIFEST);
    let [layer] = &manifest["layers"].as_array().expect("a list")[..] else {
        panic!("not one layer: {manifest}")
    };
    let config = blob(directory.path(), &manifest["config"], CONFIG);
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let layer = blob(directory.path(), layer, LAYER);
    let packed = directory.path().join("layer.tar.gz");
    std::fs::write(&packed, layer).expect("a file");
    let archive = output(Command::new("gzip").arg("-dc").arg(&packed));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([digest(&archive)]));
    let module_in_it = output(Command::new("tar").arg("-xOzf").arg(&packed).arg("plugin.wasm"));
    assert!(module_in_it == std::fs::read(module()).expect("the module"));
}

#[test]
fn the_same_module_gives_the_same_digest() {
    let [first, second] = [(), ()].map(|()| {
        let directory = tempfile::tempdir().expect("a directory");
        made(&module(), directory.path()).expect("an image")
    });
    assert_eq!(first, second);
}

#[test]
fn what_is_no_module_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().join("text");
    std::fs::write(&text, "no module").expect("a file");
    let error = made(&text, &directory.path().join("image")).expect_err("refused");
    assert!(error.contains("not a WebAssembly module"), "{error}");
}

/// Runs the script, and gives the digest that it prints or else what it complains of.
fn made(module: &Path, directory: &Path) -> Result<String, String> {
    let script = root().join("envoy/kubernetes/wasm-image.py");
    let output = Command::new("python3").arg(script).args([module, directory]).output();
    let output = output.expect("python3");
    let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// What a descriptor describes: of this kind, and it must be what it says.
fn blob(directory: &Path, descriptor: &Value, kind: &str) -> Vec<u8> {
    assert_eq!(descriptor["mediaType"], kind);
    let name = descriptor["digest"].as_str().expect("a digest");
    let data = std::fs::read(directory.join("blobs").join(name.replace(':', "/"))).expect("a blob");
    assert_eq!(digest(&data), name);
    assert_eq!(descriptor["size"], data.len());
    data
}

fn digest(data: &[u8]) -> String {
    let hash = hmac_sha256::Hash::hash(data);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.output().expect("the command");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("JSON")
}

fn module() -> PathBuf {
    std::env::var_os("SERIN_WASM").map_or_else(|| root().join("target/serin.wasm"), PathBuf::from)
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
