//! The program in a cluster's pods: `pod version NAME` is a sample version of a service, on port
//! 9080; `pod caller` is a caller of services, on port 8080, whose requests leave through the
//! pod's sidecar.
//!
//! A test on the machine controls both. It sends load to the caller, which forwards each request
//! to the host in the request. It sets the faults of a version, and reads its statistics, on port
//! 9081: `/faults?errors=0.1` and `/stats`.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use clap::{Parser, Subcommand};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use serin_tests::{Fault, Upstream};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Runs a version of a service, with this name in its responses.
    Version { name: String },
    /// Runs a caller of services.
    Caller,
}

#[tokio::main]
async fn main() {
    match Arguments::parse().role {
        Role::Version { name } => {
            let upstream = Arc::new(Upstream::start_at(on(9080), &name).await);
            let control = Router::new()
                .route("/faults", get(set_faults))
                .route("/stats", get(stats))
                .with_state(upstream);
            serve(9081, control).await;
        }
        Role::Caller => {
            let mut connector = HttpConnector::new();
            connector.set_nodelay(true);
            let client = Client::builder(TokioExecutor::new()).build(connector);
            serve(8080, Router::new().fallback(pass_on).with_state(client)).await;
        }
    }
}

fn on(port: u16) -> SocketAddr {
    (Ipv4Addr::UNSPECIFIED, port).into()
}

async fn serve(port: u16, router: Router) {
    let listener = TcpListener::bind(on(port)).await.expect("the port is free");
    axum::serve(listener, router).await.expect("the server does not end");
}

async fn set_faults(
    State(upstream): State<Arc<Upstream>>,
    Query(faults): Query<HashMap<String, f64>>,
) {
    upstream.set_faults(faults.iter().map(|(kind, &share)| match kind.as_str() {
        "errors" => Fault::errors(share),
        "resets" => Fault::resets(share),
        "slow" => Fault::delay(share, Duration::from_millis(300)),
        other => panic!("no fault {other}"),
    }));
}

async fn stats(State(upstream): State<Arc<Upstream>>) -> String {
    let stats = upstream.stats();
    json!({ "requests": stats.requests, "faults": stats.faults }).to_string()
}

/// Forwards a request to its host. Returns the response, or status 599 without one.
async fn pass_on(
    State(client): State<Client<HttpConnector, Body>>,
    mut request: Request,
) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let uri =
        Uri::builder().scheme("http").authority(host.unwrap_or_default()).path_and_query(path);
    let Ok(uri) = uri.build() else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = uri;
    match client.request(request).await {
        Ok(answer) => answer.map(Body::new),
        Err(error) => {
            let status = StatusCode::from_u16(599).expect("a status");
            (status, format!("{error:?}")).into_response()
        }
    }
}
