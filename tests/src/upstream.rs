//! A sample version of a service: responds quickly, or with configured faults, and keeps exact
//! statistics.
//!
//! Tests compare verdicts with these statistics: "rolled back within n requests" counts from the
//! first request that hit a fault. An upstream serves HTTP/1.1 and HTTP/2 with prior knowledge on
//! one port. Stop and drop reset its connections, as the death of a process does.

mod fault;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

pub use self::fault::Fault;
use self::fault::{FaultOutcome, ResponseKind};
use crate::ports;
use crate::scripted_body::{ScriptedBody, Step};

/// Response header with the version, in each response of an upstream.
pub const VERSION_HEADER: &str = "x-upstream-version";
/// Response header that echoes the request's `x-serin-version`, if any: the filter's choice.
pub const ECHO_HEADER: &str = "x-echo-serin-version";

/// The default mean latency of an upstream.
const LATENCY: Duration = Duration::from_millis(2);

/// A running version.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    version: Arc<UpstreamVersion>,
    server: JoinHandle<()>,
}

/// The statistics of an upstream since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UpstreamStats {
    /// Requests with complete headers.
    pub requests: u64,
    /// Of those: requests that hit at least one fault.
    pub faults: u64,
    /// Requests in flight, including hanging ones.
    pub in_flight: u64,
    /// Arrival of the first request that hit a fault.
    pub first_fault: Option<Instant>,
    /// Arrival of the last request.
    pub last_request: Option<Instant>,
}

impl Upstream {
    /// Starts a version on a free port of 127.0.0.1, without faults and with a mean latency of 2
    /// ms.
    pub async fn start(version: &str) -> Self {
        Self::serve(ports::listen(), version)
    }

    /// Starts a version on this port of 127.0.0.1, to restart or replace another upstream.
    ///
    /// # Panics
    /// The port is in use.
    pub async fn start_on(port: u16, version: &str) -> Self {
        let listener = std::net::TcpListener::bind(ports::local(port));
        Self::serve(listener.unwrap_or_else(|error| panic!("port {port}: {error}")), version)
    }

    /// Starts a version at an address that other machines reach, in a pod.
    ///
    /// # Panics
    /// The address is in use.
    pub async fn start_at(address: SocketAddr, version: &str) -> Self {
        let listener = std::net::TcpListener::bind(address);
        Self::serve(listener.unwrap_or_else(|error| panic!("{address}: {error}")), version)
    }

    /// The address of the upstream.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Replaces the faults for later requests. An empty list removes all faults.
    pub fn set_faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.version.state().faults = faults.into_iter().collect();
    }

    /// Responds with status 500 to later requests of these users (`x-user-id: user-<n>`).
    pub fn fail_users(&self, users: impl IntoIterator<Item = u32>) {
        let named = users.into_iter().map(|user| format!("user-{user}"));
        self.version.state().failing_users = named.collect();
    }

    /// Sets the mean latency without faults. Latency is uniform from half to one and a half of the
    /// mean.
    pub fn set_latency(&self, mean: Duration) {
        self.version.state().latency = mean;
    }

    /// The present statistics.
    pub fn stats(&self) -> UpstreamStats {
        self.version.state().account
    }

    /// The headers of the last request, as the proxy sent them.
    ///
    /// # Panics
    /// No request has arrived.
    pub fn last_headers(&self) -> HeaderMap {
        self.version.state().last_headers.clone().expect("a request has arrived")
    }

    /// Stops the upstream; the port is closed when this returns.
    pub async fn stop(mut self) {
        self.server.abort();
        // The task was aborted, so its result has no meaning.
        let _ = (&mut self.server).await;
    }

    fn serve(listener: std::net::TcpListener, name: &str) -> Self {
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let listener = TcpListener::from_std(listener).expect("a listening socket");
        let address = listener.local_addr().expect("a bound socket has an address");
        let version = Arc::new(UpstreamVersion {
            name: HeaderValue::from_str(name).expect("a version's name fits a header"),
            state: Mutex::new(State {
                faults: vec![],
                failing_users: HashSet::new(),
                latency: LATENCY,
                account: UpstreamStats::default(),
                last_headers: None,
            }),
        });
        let server = tokio::spawn(accept(listener, version.clone()));
        Self { address, version, server }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Debug)]
struct UpstreamVersion {
    name: HeaderValue,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    faults: Vec<Fault>,
    failing_users: HashSet<String>,
    latency: Duration,
    account: UpstreamStats,
    last_headers: Option<HeaderMap>,
}

impl UpstreamVersion {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this lock")
    }

    /// Counts a request. It is in flight until the guard is dropped.
    fn arrive(self: &Arc<Self>, headers: &HeaderMap, is_grpc: bool) -> (InFlight, FaultOutcome) {
        let now = Instant::now();
        let mut state = self.state();
        let user = headers.get("x-user-id").and_then(|user| user.to_str().ok());
        let mut fate = match user.is_some_and(|user| state.failing_users.contains(user)) {
            true => FaultOutcome::roll(&mut [Fault::errors(1.0)], is_grpc),
            false => FaultOutcome::roll(&mut state.faults, is_grpc),
        };
        state.last_headers = Some(headers.clone());
        let account = &mut state.account;
        account.requests += 1;
        account.in_flight += 1;
        account.last_request = Some(now);
        if fate.is_faulty() {
            account.faults += 1;
            account.first_fault.get_or_insert(now);
        }
        fate.delay += state.latency.mul_f64(0.5 + fastrand::f64());
        (InFlight(self.clone()), fate)
    }
}

struct InFlight(Arc<UpstreamVersion>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.state().account.in_flight -= 1;
    }
}

/// Owns every connection, so that all connections end with it.
async fn accept(listener: TcpListener, version: Arc<UpstreamVersion>) {
    let mut connections = JoinSet::new();
    loop {
        // At worst, file descriptors are exhausted: a later accept may succeed.
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(connection(stream, version.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, version: Arc<UpstreamVersion>) {
    stream.set_nodelay(true).expect("a socket accepts options");
    // A close before the client's close appears as a reset.
    stream.set_zero_linger().expect("a socket accepts options");
    let reset = Arc::new(Notify::new());
    let service = {
        let reset = reset.clone();
        service_fn(move |request| answer(version.clone(), reset.clone(), request))
    };
    let server = auto::Builder::new(TokioExecutor::new());
    tokio::select! {
        // An error here means that the client disconnected.
        _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service) => {}
        () = reset.notified() => {}
    }
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn answer(
    version: Arc<UpstreamVersion>,
    reset: Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Answer, hyper::Error> {
    let grpc = request.headers().get(CONTENT_TYPE).cloned();
    let grpc = grpc.filter(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let (in_flight, fate) = version.arrive(request.headers(), grpc.is_some());
    let echo = request.headers().get("x-serin-version").cloned();
    let protocol = request.headers().get(UPGRADE).cloned();

    let mut answer = if let (ResponseKind::Answer, Some(protocol)) = (fate.ending, protocol) {
        sleep(fate.delay).await;
        tokio::spawn(echo_all(request, in_flight));
        switch_to(protocol)
    } else {
        request.into_body().collect().await?;
        sleep(fate.delay).await;
        match (fate.ending, grpc) {
            (ResponseKind::Answer, None) => Response::new(full("hello\n")),
            (ResponseKind::Answer, Some(kind)) => grpc_answer(kind, 0),
            (ResponseKind::Status(status), _) => {
                let mut answer = Response::new(full("fault\n"));
                *answer.status_mut() = StatusCode::from_u16(status).expect("a fault's status");
                answer
            }
            (ResponseKind::GrpcError(status), kind) => {
                let mut answer =
                    Response::new(Empty::new().map_err(|never| match never {}).boxed());
                answer.headers_mut().insert("grpc-status", HeaderValue::from(u16::from(status)));
                answer.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
                answer
            }
            (ResponseKind::GrpcTrailers(status), kind) => {
                grpc_answer(kind.expect("a fault of gRPC calls only"), status)
            }
            (ResponseKind::Break, kind) => {
                let mut answer = Response::new(breaking_body().boxed());
                answer.headers_mut().extend(kind.map(|kind| (CONTENT_TYPE, kind)));
                answer
            }
            (ResponseKind::Reset, _) => {
                reset.notify_one();
                std::future::pending().await
            }
            (ResponseKind::Hang, _) => std::future::pending().await,
        }
    };
    let headers = answer.headers_mut();
    headers.insert(VERSION_HEADER, version.name.clone());
    if let Some(echo) = echo {
        headers.insert(ECHO_HEADER, echo);
    }
    Ok(answer)
}

fn full(body: &'static str) -> BoxBody<Bytes, io::Error> {
    Full::from(body).map_err(|never| match never {}).boxed()
}

/// One empty message, and the end of the call in the trailers.
fn grpc_answer(kind: HeaderValue, status: u8) -> Answer {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(u16::from(status)));
    let message = Full::from(&[0_u8; 5][..]);
    let message = message.with_trailers(async { Some(Ok(trailers)) });
    let mut answer = Response::new(message.map_err(|never| match never {}).boxed());
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

fn switch_to(protocol: HeaderValue) -> Answer {
    let mut answer = Response::new(full(""));
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, protocol);
    answer
}

/// The upgraded protocol: echoes bytes until the client closes.
async fn echo_all(request: Request<Incoming>, _in_flight: InFlight) {
    if let Ok(stream) = hyper::upgrade::on(request).await {
        let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
        // The result has no meaning: the connection has ended.
        let _ = tokio::io::copy(&mut read, &mut write).await;
    }
}

/// A body that starts and then fails, which ends the connection (HTTP/1) or the stream (HTTP/2).
/// The pause lets the start arrive: a reset discards bytes that the receiver has not read.
fn breaking_body() -> ScriptedBody {
    const PAUSE: Duration = Duration::from_millis(50);
    ScriptedBody::new([(Duration::ZERO, Step::Data(b"hel".to_vec())), (PAUSE, Step::Reset)])
}
