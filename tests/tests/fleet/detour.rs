//! A relay to a server that can replace every answer by garbage.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serin_tests::http;
use tokio::net::TcpListener;

#[derive(Clone)]
pub(crate) struct Detour {
    target: SocketAddr,
    garbled: Arc<AtomicBool>,
}

impl Detour {
    /// A relay to `target`, and its address.
    pub(crate) async fn start(target: SocketAddr) -> (Self, SocketAddr) {
        let detour = Self { target, garbled: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(pass).with_state(detour.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (detour, address)
    }

    pub(crate) fn garble(&self, garbled: bool) {
        self.garbled.store(garbled, Ordering::SeqCst);
    }
}

async fn pass(State(detour): State<Detour>, request: Request) -> Response {
    if detour.garbled.load(Ordering::SeqCst) {
        return Response::new(Body::from("<html>welcome</html>"));
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    // Without the headers of the original connection.
    let (status, body) = match http::get(detour.target, path).await {
        Ok(answer) => (answer.status(), Body::from(answer.into_body())),
        Err(why) => (StatusCode::BAD_GATEWAY, Body::from(why)),
    };
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}
