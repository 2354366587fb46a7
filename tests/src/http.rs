//! One plain HTTP request on a new connection, for admin pages and single responses.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::load::chain;

/// GETs `http://{address}{path}`.
///
/// # Errors
/// The reason for an incomplete response.
pub async fn get(address: SocketAddr, path: &str) -> Result<Response<Bytes>, String> {
    send(
        Request::get(format!("http://{address}{path}"))
            .body(Full::default())
            .expect("a valid path"),
    )
    .await
}

/// Sends any request to its absolute URI.
///
/// # Errors
/// The reason for an incomplete response.
pub async fn send(request: Request<Full<Bytes>>) -> Result<Response<Bytes>, String> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.map_err(|error| chain(&error))?.into_parts();
    let body = body.collect().await.map_err(|error| chain(&error))?.to_bytes();
    Ok(Response::from_parts(head, body))
}
