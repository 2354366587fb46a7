//! The HTTP server: axum's, with a limit for clients that send no request.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;

/// Time for the head of a request, on new and on idle connections.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves connections while the future is polled. Open connections last until the process ends.
pub async fn serve(mut listener: TcpListener, router: Router) -> Infallible {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    loop {
        // axum's: retries when accept fails, such as with no file descriptor left.
        let (stream, _) = Listener::accept(&mut listener).await;
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection closed");
            }
        });
    }
}
