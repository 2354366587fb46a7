//! The OCI image of the module, in the format of Istio.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Media types of Istio's "compat" variant.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

#[test]
fn the_image_contains_the_module() {
    let directory = tempfile::tempdir().expect("a directory");
    let printed = build_image(&module(), directory.path()).expect("an image");
    let layout = json(&directory.path().join("oci-layout"));
    assert_eq!(layout["imageLayoutVersion"], "1.0.0");
    let index = json(&directory.path().join("index.json"));
    let [manifest] = &index["manifests"].as_array().expect("a list")[..] else {
        panic!("not one manifest: {index}")
    };
    assert_eq!(manifest["digest"], printed);
    let manifest = blob(directory.path(), manifest, MANIFEST);
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["mediaType"], MANIFEST);
    let [layer] = &manifest["layers"].as_array().expect("a list")[..] else {
        panic!("not one layer: {manifest}")
    };
    let config = blob(directory.path(), &manifest["config"], CONFIG);
    let config: Value = serde_json::from_slice(&config).expect("JSON");
    let layer = blob(directory.path(), layer, LAYER);
    let archive = directory.path().join("layer.tar.gz");
    std::fs::write(&archive, layer).expect("a file");
    let unzipped = output(Command::new("gzip").arg("-dc").arg(&archive));
    assert_eq!(config["rootfs"]["diff_ids"], serde_json::json!([digest(&unzipped)]));
    let plugin = output(Command::new("tar").arg("-xOzf").arg(&archive).arg("plugin.wasm"));
    assert!(plugin == std::fs::read(module()).expect("the module"));
}

#[test]
fn the_image_is_reproducible() {
    let [first, second] = [(), ()].map(|()| {
        let directory = tempfile::tempdir().expect("a directory");
        build_image(&module(), directory.path()).expect("an image")
    });
    assert_eq!(first, second);
}

#[test]
fn a_file_that_is_not_wasm_is_rejected() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().join("text");
    std::fs::write(&text, "text").expect("a file");
    let error = build_image(&text, &directory.path().join("image")).expect_err("rejected");
    assert!(error.contains("not a WebAssembly module"), "{error}");
}

/// Runs the script. Returns the digest that it prints, or its error output.
fn build_image(module: &Path, directory: &Path) -> Result<String, String> {
    let script = root().join("envoy/kubernetes/wasm-image.py");
    let output = Command::new("python3").arg(script).args([module, directory]).output();
    let output = output.expect("python3");
    let text = |bytes| String::from_utf8(bytes).expect("text").trim().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// Reads the blob of a descriptor and verifies media type, digest and size.
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
