//! The HTTP server: like axum's own, but it does not wait for clients that say nothing.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

/// A connection is closed that sends no complete head of a request for so long; one that is kept for the next request too.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves all that connect, for as long as the future is polled. Connections that are open go on after that, until the process ends.
pub async fn serve(mut listener: TcpListener, router: Router) -> Infallible {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    loop {
        // axum's: waits out what can't be accepted now, such as for want of file descriptors.
        let (stream, _) = Listener::accept(&mut listener).await;
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // Whatever ends a connection is its client's affair.
        tokio::spawn(async move { connection.await.ok() });
    }
}
