//! A cheap upstream: on a machine with few cores, its CPU time would distort the figures.
//!
//! It responds to every request of a kept-alive HTTP/1 connection with the name of its version,
//! and counts the requests.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serin_tests::ports;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::http::heads;

/// Serves until dropped.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    answered: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

impl Backend {
    /// A version with a name of two bytes.
    pub(crate) async fn start(version: &'static str) -> Self {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, ports::free())).await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let answered = Arc::new(AtomicU64::new(0));
        let mut server = JoinSet::new();
        server.spawn(accept(listener, version, answered.clone()));
        Self { address, answered, _server: server }
    }

    /// Number of responses so far.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, version: &'static str, answered: Arc<AtomicU64>) {
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{version}", version.len());
    let answer: Arc<[u8]> = answer.into_bytes().into();
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        connections.spawn(serve(stream, answer.clone(), answered.clone()));
    }
}

async fn serve(mut stream: TcpStream, answer: Arc<[u8]>, answered: Arc<AtomicU64>) {
    stream.set_nodelay(true).expect("a socket accepts options");
    let mut unread = Vec::with_capacity(4096);
    while stream.read_buf(&mut unread).await.is_ok_and(|bytes| bytes > 0) {
        while let Some(head) = heads(&unread) {
            unread.drain(..head);
            answered.fetch_add(1, Ordering::Relaxed);
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }
}
