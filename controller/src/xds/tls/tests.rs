use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

use super::*;

struct Files {
    directory: tempfile::TempDir,
    files: TlsFiles,
}

/// A valid certificate, its key and an authority.
fn files() -> Files {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["serin".into()]).unwrap();
    std::fs::write(path("cert.pem"), cert.pem()).unwrap();
    std::fs::write(path("key.pem"), signing_key.serialize_pem()).unwrap();
    std::fs::write(path("ca.pem"), cert.pem()).unwrap();
    let files = TlsFiles {
        certificate: path("cert.pem"),
        key: path("key.pem"),
        client_ca: Some(path("ca.pem")),
    };
    Files { directory, files }
}

fn outcome(files: &TlsFiles) -> Result<(), String> {
    files.secure(Server::builder()).map(drop).map_err(|error| error.to_string())
}

#[test]
fn valid_files_are_accepted() {
    let Files { directory: _directory, files } = files();
    outcome(&files).unwrap();
    outcome(&TlsFiles { client_ca: None, ..files }).unwrap();
}

#[test]
fn errors_name_the_file() {
    let Files { directory, files } = files();
    let path = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let other_key = path("other.pem", &KeyPair::generate().unwrap().serialize_pem());
    let empty = path("empty.pem", "");
    let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let broken = path("broken.pem", broken);
    let missing = directory.path().join("missing.pem");
    for (files, expected) in [
        (TlsFiles { certificate: missing.clone(), ..files.clone() }, "missing.pem: No such file"),
        (TlsFiles { key: missing.clone(), ..files.clone() }, "missing.pem: No such file"),
        (TlsFiles { client_ca: Some(missing), ..files.clone() }, "missing.pem: No such file"),
        (TlsFiles { certificate: files.key.clone(), ..files.clone() }, "key.pem: no certificate"),
        (TlsFiles { key: files.certificate.clone(), ..files.clone() }, "cert.pem: no private key"),
        (TlsFiles { client_ca: Some(empty), ..files.clone() }, "empty.pem: no certificate"),
        (TlsFiles { client_ca: Some(broken), ..files.clone() }, "broken.pem: no usable authority"),
        (TlsFiles { key: other_key, ..files.clone() }, "other.pem do not form a pair"),
    ] {
        let error = outcome(&files).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}
