//! Versions that answer as a test says: redirects, streams, and statuses in bodies and trailers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::Value;
use serin_tests::scripted_body::ScriptedBody;
pub(crate) use serin_tests::scripted_body::Step;
use serin_tests::upstream::VERSION_HEADER;
use serin_tests::{Envoy, Setup, Upstream};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::world::{World, generation};

/// A response.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<(Duration, Step)>,
}

impl Reply {
    /// A response with this status and `content-type`.
    pub(crate) fn new(status: u16, content_type: &str) -> Self {
        let headers = vec![("content-type", content_type.to_owned())];
        Self { status, headers, body: vec![] }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// Adds a step after a pause.
    pub(crate) fn after(mut self, pause: Duration, step: Step) -> Self {
        self.body.push((pause, step));
        self
    }

    /// Adds a chunk.
    pub(crate) fn data(self, data: impl Into<Vec<u8>>) -> Self {
        self.after(Duration::ZERO, Step::Data(data.into()))
    }

    /// Adds trailers.
    pub(crate) fn trailers(self, trailers: &'static [(&'static str, &'static str)]) -> Self {
        self.after(Duration::ZERO, Step::Trailers(trailers))
    }
}

/// Selects the reply of a version to a request.
pub(crate) trait Script:
    Fn(&str, &Request<Incoming>) -> Reply + Send + Sync + 'static
{
}
impl<S: Fn(&str, &Request<Incoming>) -> Reply + Send + Sync + 'static> Script for S {}

/// The shipped bootstrap, as changed, in front of two versions that follow the script.
pub(crate) async fn world(
    services: Value,
    change: impl FnOnce(Setup) -> Setup,
    script: impl Script,
) -> World {
    let script = Arc::new(script);
    let (v1, v2) = (serve("v1", script.clone()).await, serve("v2", script).await);
    let setup = change(Setup::new(v1, v2).configuration(generation(1, &services)));
    World {
        envoy: Envoy::start(&setup).await,
        v1: Upstream::start("unused").await,
        v2: Upstream::start("unused").await,
    }
}

async fn serve(version: &'static str, script: Arc<impl Script>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let script = script.clone();
            let service = service_fn(move |request| reply(version, script.clone(), request));
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

async fn reply(
    version: &'static str,
    script: Arc<impl Script>,
    request: Request<Incoming>,
) -> Result<Response<ScriptedBody>, hyper::Error> {
    let Reply { status, headers, body } = script(version, &request);
    let _ = request.into_body().collect().await?;
    let mut response = Response::builder().status(status).header(VERSION_HEADER, version);
    for (name, value) in headers {
        response = response.header(name, value);
    }
    Ok(response.body(ScriptedBody::new(body)).expect("a response"))
}

/// Sends a POST over HTTP/2 and returns the response as it begins. The connection lasts as long as
/// the second value.
pub(crate) async fn post(
    target: SocketAddr,
    headers: &[(&str, &str)],
) -> (Response<Incoming>, JoinSet<hyper::Result<()>>) {
    let stream = TcpStream::connect(target).await.expect("a connection");
    let (mut sender, driver) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("HTTP/2");
    let mut connection = JoinSet::new();
    connection.spawn(driver);
    let mut request = Request::post("http://shop.example/").version(hyper::Version::HTTP_2);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    // One empty message.
    let is_text = headers.iter().any(|(_, value)| value.ends_with("-text"));
    let body: &[u8] = if is_text { b"AAAAAAA=" } else { &[0; 5] };
    let request = request.body(Full::new(Bytes::from_static(body))).expect("a request");
    (sender.send_request(request).await.expect("a response"), connection)
}

/// The bootstrap with a filter before serin or after it. `config` is the type of its configuration,
/// and the other fields.
pub(crate) fn with_filter(setup: Setup, name: &str, config: &str, before: bool) -> Setup {
    let filter = format!(
        "                  - name: {name}\n                    typed_config: {{ \"@type\": type.googleapis.com/{config} }}\n"
    );
    let place = match before {
        true => "                  - name: serin\n",
        false => "                  - name: envoy.filters.http.router\n",
    };
    setup.replace(place, &format!("{filter}{place}"))
}

/// The bootstrap with a limit of one request in the interval, before serin or after it.
pub(crate) fn with_rate_limit(setup: Setup, interval: &str, before: bool) -> Setup {
    let all = "{ default_value: { numerator: 100 } }";
    let config = format!(
        "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, stat_prefix: limit, \
         token_bucket: {{ max_tokens: 1, tokens_per_fill: 1, fill_interval: {interval} }}, \
         filter_enabled: {all}, filter_enforced: {all}"
    );
    with_filter(setup, "envoy.filters.http.local_ratelimit", &config, before)
}
