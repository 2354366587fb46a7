//! A registry with the filter's image, with the endpoints that a mesh uses.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A registry. Drop stops it.
pub(super) struct Registry {
    address: SocketAddr,
    server: JoinHandle<()>,
}

impl Registry {
    /// Serves `target/wasm-image` on a free port of this address.
    pub(super) async fn start(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("the cluster's link");
        let address = listener.local_addr().expect("a bound socket has an address");
        let router = Router::new()
            .route("/v2/", get(async || "{}"))
            .route("/v2/{name}/manifests/{reference}", get(manifest))
            .route(
                "/v2/{name}/blobs/{digest}",
                get(async |Path((_, digest)): Path<(String, String)>| blob(&digest)),
            );
        let server = tokio::spawn(async {
            axum::serve(listener, router).await.expect("the server does not end")
        });
        Self { address, server }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn layout() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/wasm-image")
}

/// The manifest with this digest, or else the only one.
async fn manifest(Path((_, reference)): Path<(String, String)>) -> Response {
    let index = std::fs::read(layout().join("index.json")).expect("`make wasm-image` has run");
    let index: Value = serde_json::from_slice(&index).expect("JSON");
    let manifest = &index["manifests"][0];
    let digest = manifest["digest"].as_str().expect("a digest");
    if reference.starts_with("sha256:") && reference != digest {
        return StatusCode::NOT_FOUND.into_response();
    }
    let kind = manifest["mediaType"].as_str().expect("a media type").to_owned();
    let headers =
        [(header::CONTENT_TYPE.as_str(), kind), ("docker-content-digest", digest.to_owned())];
    (headers, blob(digest)).into_response()
}

fn blob(digest: &str) -> Vec<u8> {
    let name =
        digest.strip_prefix("sha256:").filter(|name| name.bytes().all(|c| c.is_ascii_hexdigit()));
    name.and_then(|name| std::fs::read(layout().join("blobs/sha256").join(name)).ok())
        .unwrap_or_default()
}
