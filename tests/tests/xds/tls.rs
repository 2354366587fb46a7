//! Mutual TLS: the server rejects a client without a certificate of the right authority.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair,
};
use serin::xds::tls::TlsFiles;
use serin_tests::Setup;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::client::{Client, hello};
use crate::world::{DiscoveryMode, Serin, Shop, acknowledged, bootstrap, template};

/// An authority.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name = called("an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for this name, and its key.
    fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
        params.distinguished_name = called(name);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

/// A certificate with the name of its authority would count as self-signed.
fn called(name: &str) -> DistinguishedName {
    let mut called = DistinguishedName::new();
    called.push(DnType::CommonName, name);
    called
}

/// A server that asks for certificates of `clients`.
fn start(directory: &Path, servers: &Authority, clients: &Authority) -> Serin {
    let write = |name: &str, text: &str| {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("the file can be written");
        path
    };
    let (certificate, key) = servers.certify("serin");
    Serin::with(Some(&TlsFiles {
        certificate: write("server.pem", &certificate),
        key: write("server.key", &key),
        client_ca: Some(write("clients.pem", &clients.pem)),
    }))
}

/// The sample with its lines about TLS uncommented.
fn with_tls(setup: Setup) -> Setup {
    let sample = std::fs::read_to_string(bootstrap()).expect("the sample");
    let begin = sample.find("      # transport_socket:").expect("the sample shows TLS");
    let lines = sample[begin..].lines().map_while(|line| line.strip_prefix("      # "));
    lines.fold(setup, |setup, line| {
        // The harness uses another directory.
        let text = line.split("/etc/envoy/serin").next().expect("a beginning");
        setup.replace(&format!("      # {text}"), &format!("      {text}"))
    })
}

/// The first response to a client with this certificate.
async fn first(serin: &Serin, tls: ClientTlsConfig) -> Result<String, String> {
    let endpoint = Endpoint::from_shared(format!("https://{}", serin.address));
    let endpoint = endpoint.expect("an address").tls_config(tls).expect("a configuration");
    let channel: Channel = endpoint.connect().await.map_err(|error| format!("{error:?}"))?;
    let mut client = Client::try_open(channel).await.map_err(|error| format!("{error:?}"))?;
    client.send(hello("edge-9"));
    let response = client.next().await.map_err(|status| format!("{status:?}"))?;
    Ok(response.version_info)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_without_the_right_certificate_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (servers, clients) = (Authority::new(), Authority::new());
    let serin = start(directory.path(), &servers, &clients);
    let shop = Shop::open().await;

    let (certificate, key) = clients.certify("edge-1");
    let secured = |setup: Setup| {
        let files =
            [("proxy.pem", certificate), ("proxy.key", key), ("ca.pem", servers.pem.clone())];
        with_tls(files.into_iter().fold(setup, |setup, (name, text)| setup.file(name, text)))
    };
    let envoy = shop.envoy_with(&serin, "edge-1", DiscoveryMode::Ecds, secured).await;
    serin.publish(&template(&envoy), 1, "v2");
    serin.until_acknowledged(&["edge-1"], "1").await;

    let trust = || {
        let authority = Certificate::from_pem(&servers.pem);
        ClientTlsConfig::new().ca_certificate(authority).domain_name("serin")
    };
    let with = |(certificate, key): (String, String)| {
        trust().identity(Identity::from_pem(certificate, key))
    };
    assert_eq!(first(&serin, with(clients.certify("edge-9"))).await.as_deref(), Ok("1"));
    for (tls, what) in [
        (trust(), "no certificate"),
        (with(Authority::new().certify("edge-9")), "one of another authority"),
    ] {
        let refused = first(&serin, tls).await;
        assert!(refused.is_err(), "{what}: {refused:?}");
    }
    let plain = Endpoint::from_shared(format!("http://{}", serin.address)).expect("an address");
    if let Ok(channel) = plain.connect().await {
        assert!(Client::try_open(channel).await.is_err(), "without TLS");
    }
    // No other client was connected, and the Envoy is still served.
    serin.publish(&template(&envoy), 2, "v1");
    serin
        .until("the Envoy is served", |proxies| {
            proxies.iter().map(|proxy| proxy.node.as_str()).eq(["edge-1", "edge-9"])
                && acknowledged(&proxies[0]) == Some("2")
        })
        .await;
}
