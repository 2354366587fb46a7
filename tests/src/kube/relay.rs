//! A relay between an operator and the API server. It records writes, and holds one write, so that
//! a test can kill the operator right before or right after it.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use kube::config::Kubeconfig;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::ports;

/// The moment at which the relay holds a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HoldPoint {
    /// Before the server gets it.
    Before,
    /// After the server has stored it, and before the response.
    After,
}

/// The write to hold. The relay never resumes it.
#[derive(Debug, Clone, Copy)]
pub struct HeldWrite {
    /// Its number among the status writes of ServiceRollouts, from one.
    pub write: usize,
    /// The moment.
    pub moment: HoldPoint,
}

/// The progress of the write to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Progress {
    #[default]
    Awaited,
    Reached,
    Held,
}

/// An operator's view of the API server. Drop ends the relay.
pub struct ApiRelay {
    address: String,
    state: Arc<RelayState>,
    _connections: JoinSet<()>,
}

/// The recorded requests.
struct RelayState {
    server: Client,
    hold: Option<HeldWrite>,
    counters: Mutex<RelayCounters>,
    progress: watch::Sender<Progress>,
}

#[derive(Default)]
struct RelayCounters {
    /// The number of status writes of ServiceRollouts so far.
    statuses: usize,
    written: Vec<Value>,
}

impl ApiRelay {
    /// Forwards every request to the server with the credentials of this client.
    ///
    /// # Panics
    /// No port is free.
    pub fn start(server: Client, hold: Option<HeldWrite>) -> Self {
        let listener = ports::listen();
        let address = listener.local_addr().expect("a bound socket has an address");
        listener.set_nonblocking(true).expect("a socket accepts options");
        let listener = TcpListener::from_std(listener).expect("a socket");
        let (counters, progress) = (Mutex::default(), watch::Sender::default());
        let state = Arc::new(RelayState { server, hold, counters, progress });
        let mut connections = JoinSet::new();
        connections.spawn(accept(listener, state.clone()));
        Self { address: format!("http://{address}"), state, _connections: connections }
    }

    /// The operator's credentials. The relay has the rights.
    ///
    /// # Panics
    /// Never: the configuration is valid.
    pub fn login(&self) -> Kubeconfig {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": { "server": self.address } }],
            "users": [{ "name": "user", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "user" } }],
            "current-context": "test",
        });
        serde_json::from_value(config).expect("a kubeconfig")
    }

    /// Waits until the relay holds the write.
    ///
    /// # Panics
    /// Never: the relay owns the sender.
    pub async fn held(&self) {
        let mut progress = self.state.progress.subscribe();
        progress.wait_for(|now| *now == Progress::Held).await.expect("the relay is open");
    }

    /// Whether the write to hold has arrived. The server may still be processing it.
    pub fn reached(&self) -> bool {
        *self.state.progress.borrow() != Progress::Awaited
    }

    /// The objects that the server stored through this relay, in order of its responses.
    pub fn written(&self) -> Vec<Value> {
        self.state.counters().written.clone()
    }
}

impl RelayState {
    fn counters(&self) -> MutexGuard<'_, RelayCounters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The moment at which to hold this request, if any.
    fn held(&self, request: &Request<Incoming>) -> Option<HoldPoint> {
        let path = request.uri().path();
        let status = path.contains("/servicerollouts/") && path.ends_with("/status");
        if !status || request.method() == Method::GET {
            return None;
        }
        let mut pages = self.counters();
        pages.statuses += 1;
        let hold = self.hold.filter(|hold| hold.write == pages.statuses)?;
        self.progress.send_replace(Progress::Reached);
        Some(hold.moment)
    }

    /// Holds a request forever, and reports it.
    async fn hold_forever(&self) -> ! {
        self.progress.send_replace(Progress::Held);
        pending().await
    }
}

/// Owns every connection, so that all connections end with it.
async fn accept(listener: TcpListener, book: Arc<RelayState>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        connections.spawn(connection(stream, book.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, book: Arc<RelayState>) {
    let service = service_fn(move |request| pass_on(book.clone(), request));
    // An error here means that the client disconnected.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

type Answer = Response<UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>>;

async fn pass_on(book: Arc<RelayState>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let moment = book.held(&request);
    if moment == Some(HoldPoint::Before) {
        book.hold_forever().await;
    }
    let writes = request.method() != Method::GET;
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(unavailable("no body".to_owned())) };
    let request = Request::from_parts(head, Body::from(body.to_bytes()));
    let answer = match book.server.send(request).await {
        Ok(answer) if writes => book.record(answer).await,
        Ok(answer) => answer.map(|body| body.map_err(Into::into).boxed_unsync()),
        Err(error) => unavailable(error.to_string()),
    };
    if moment == Some(HoldPoint::After) {
        book.hold_forever().await;
    }
    Ok(answer)
}

impl RelayState {
    /// Records the object in a response.
    async fn record(&self, answer: Response<Body>) -> Answer {
        let (head, body) = answer.into_parts();
        let body = match body.collect_bytes().await {
            Ok(body) => body,
            Err(error) => return unavailable(error.to_string()),
        };
        if head.status.is_success()
            && let Ok(object) = serde_json::from_slice(&body)
        {
            self.counters().written.push(object);
        }
        Response::from_parts(head, whole(body))
    }
}

fn unavailable(reason: String) -> Answer {
    let mut answer = Response::new(whole(reason.into()));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    answer
}

fn whole(body: Bytes) -> UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    http_body_util::Full::new(body).map_err(|never| match never {}).boxed_unsync()
}
