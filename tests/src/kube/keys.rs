//! A certificate authority for one server and its administrator, and the key that signs the tokens
//! of service accounts.

use std::path::Path;

use kube::config::Kubeconfig;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};

/// The keys of one server.
pub(super) struct Keys {
    authority: CertifiedIssuer<'static, KeyPair>,
    accounts: KeyPair,
}

impl Keys {
    pub(super) fn generate() -> Self {
        let mut params = named("test-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, key()).expect("a certificate");
        Self { authority, accounts: key() }
    }

    /// Writes the server's files: `ca.crt`, `server.crt`, `server.key`, and `accounts.key` and
    /// `accounts.pub` for tokens.
    pub(super) fn write(&self, directory: &Path) {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let (certificate, key) = self.signed(params);
        let files = [
            ("ca.crt", self.authority.pem()),
            ("server.crt", certificate),
            ("server.key", key),
            ("accounts.key", self.accounts.serialize_pem()),
            ("accounts.pub", self.accounts.public_key_pem()),
        ];
        for (name, text) in files {
            std::fs::write(directory.join(name), text).expect("a file");
        }
    }

    /// The administrator's credentials for the server at `url`: a certificate.
    pub(super) fn admin(&self, url: &str) -> Kubeconfig {
        let mut params = named("admin");
        // Kubernetes maps the organization to a group.
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let (certificate, key) = self.signed(params);
        let user = json!({
            "client-certificate-data": base64(&certificate),
            "client-key-data": base64(&key),
        });
        self.kubeconfig(url, user)
    }

    /// A kubeconfig that authenticates with a token.
    pub(super) fn with_token(&self, url: &str, token: &str) -> Kubeconfig {
        self.kubeconfig(url, json!({ "token": token }))
    }

    fn kubeconfig(&self, url: &str, user: Value) -> Kubeconfig {
        let cluster =
            json!({"server": url, "certificate-authority-data": base64(&self.authority.pem())});
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        });
        serde_json::from_value(config).expect("a kubeconfig")
    }

    /// A certificate and its key.
    fn signed(&self, params: CertificateParams) -> (String, String) {
        let key = key();
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

fn named(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn base64(text: &str) -> String {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec())).as_str().expect("text").to_owned()
}
