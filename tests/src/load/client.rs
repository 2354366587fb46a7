//! The callers: send one request and wait for its end.

use std::error::Error;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, TE};
use hyper::{Method, Request, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::report::{Outcome, Record};
use super::{LoadPlan, Protocol};
use crate::upstream::VERSION_HEADER;

/// An HTTP/2 client has one connection, and one Envoy worker serves a connection. This number of
/// clients, used in turn, spreads requests over all workers.
const HTTP2_CONNECTIONS: usize = 8;

pub(super) struct Caller {
    clients: Vec<Client<HttpConnector, Full<Bytes>>>,
    protocol: Protocol,
    uri: Uri,
    host: Option<&'static str>,
    users: Option<u32>,
    timeout: Duration,
}

impl Caller {
    pub(super) fn new(plan: &LoadPlan) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let mut builder = Client::builder(TokioExecutor::new());
        let connections = match plan.protocol {
            Protocol::Http1 => 1,
            Protocol::Http2 | Protocol::Grpc => HTTP2_CONNECTIONS,
        };
        builder.http2_only(plan.protocol != Protocol::Http1);
        // Clones of a client share their connections, so each client is built separately.
        let clients = (0..connections).map(|_| builder.build(connector.clone())).collect();
        let uri = uri(plan.target, plan.protocol);
        let LoadPlan { protocol, host, users, timeout, .. } = *plan;
        Self { clients, protocol, uri, host, users, timeout }
    }

    /// Sends the request of this number and waits for its end.
    pub(super) async fn call(&self, number: usize) -> Record {
        let user = self.users.map(|users| fastrand::u32(..users));
        let started = Instant::now();
        let exchange = self.exchange(number, user);
        let outcome = match tokio::time::timeout(self.timeout, exchange).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed { reason: chain(&*error) },
            Err(_) => Outcome::Failed { reason: format!("no answer within {:?}", self.timeout) },
        };
        Record { user, started, latency: started.elapsed(), outcome }
    }

    async fn exchange(&self, number: usize, user: Option<u32>) -> Result<Outcome, CallError> {
        let client = &self.clients[number % self.clients.len()];
        let (head, body) = client.request(self.request(user)).await?.into_parts();
        let trailers = body.collect().await?.trailers().cloned().unwrap_or_default();
        Ok(Outcome::Answered {
            status: head.status.as_u16(),
            version: text(&head.headers, VERSION_HEADER).map(str::to_owned),
            grpc_status: grpc_status(&head.headers).or_else(|| grpc_status(&trailers)),
        })
    }

    fn request(&self, user: Option<u32>) -> Request<Full<Bytes>> {
        let mut request = Request::builder().uri(self.uri.clone());
        if let Some(host) = self.host {
            request = request.header(HOST, host);
        }
        if let Some(user) = user {
            request = request.header("x-user-id", format!("user-{user}"));
        }
        match self.protocol {
            Protocol::Http1 => request.body(Full::default()),
            Protocol::Http2 => request.version(Version::HTTP_2).body(Full::default()),
            Protocol::Grpc => request
                .method(Method::POST)
                .version(Version::HTTP_2)
                .header(CONTENT_TYPE, "application/grpc")
                .header(TE, "trailers")
                // One empty message.
                .body(Full::from(&[0_u8; 5][..])),
        }
        .expect("a valid request")
    }
}

fn uri(target: SocketAddr, protocol: Protocol) -> Uri {
    let path = match protocol {
        Protocol::Http1 | Protocol::Http2 => "/",
        Protocol::Grpc => "/shop.Shop/Get",
    };
    format!("http://{target}{path}").parse().expect("a valid address")
}

pub(crate) fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    text(headers, "grpc-status")?.parse().ok()
}

pub(crate) fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

type CallError = Box<dyn Error + Send + Sync>;

/// An error with its causes, in one line: the last cause is the most specific.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
