//! A TCP relay that tests close and open, to separate two live processes, such as the controller
//! and Envoy's admin interface.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::ports;

/// A relay from its own port to one target. Drop ends it.
#[derive(Debug)]
pub struct TcpRelay {
    address: SocketAddr,
    target: SocketAddr,
    /// The relay's task; `None` while the gate is closed.
    relay: Option<JoinHandle<()>>,
}

impl TcpRelay {
    /// An open gate in front of `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let mut gate = Self { address: ports::local(ports::free()), target, relay: None };
        gate.open().await;
        gate
    }

    /// The relay's address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections and rejects new ones.
    pub async fn shut(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.abort();
            // The task owns the listening socket. The task is aborted, so its result has no
            // meaning.
            let _ = relay.await;
        }
    }

    /// Accepts connections again, on the same port.
    ///
    /// # Panics
    /// The port is in use.
    pub async fn open(&mut self) {
        if self.relay.is_none() {
            let listener = TcpListener::bind(self.address).await.expect("the gate's port is free");
            self.relay = Some(tokio::spawn(relay(listener, self.target)));
        }
    }
}

impl Drop for TcpRelay {
    fn drop(&mut self) {
        if let Some(relay) = &self.relay {
            relay.abort();
        }
    }
}

/// Owns every connection, so that all connections end with it.
async fn relay(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        // At worst, file descriptors are exhausted: a later accept may succeed.
        let Ok((mut client, _)) = listener.accept().await else { continue };
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(target).await {
                // At any end both sides are closed, and both detect it.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::{Upstream, http, until};

    #[tokio::test]
    async fn relays_refuses_and_relays_again() {
        let upstream = Upstream::start("v1").await;
        let mut gate = TcpRelay::start(upstream.address()).await;
        let answer = http::get(gate.address(), "/").await.expect("a response through the gate");
        assert_eq!(answer.headers()["x-upstream-version"], "v1");

        gate.shut().await;
        let refused = http::get(gate.address(), "/").await.expect_err("shut");
        assert!(refused.contains("refused"), "{refused}");

        gate.open().await;
        http::get(gate.address(), "/").await.expect("a response through the open gate");
        assert_eq!(upstream.stats().requests, 2);
    }

    #[tokio::test]
    async fn shutting_closes_connections_in_use() {
        let upstream = Upstream::start("v1").await;
        let mut gate = TcpRelay::start(upstream.address()).await;
        let mut connection = TcpStream::connect(gate.address()).await.expect("an open gate");
        connection.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.expect("an open gate");
        assert!(connection.read(&mut [0; 4096]).await.expect("a response") > 0);

        gate.shut().await;
        until(Duration::from_secs(5), "the connection ends", async || {
            match connection.read(&mut [0; 4096]).await {
                Ok(0) | Err(_) => Ok(()),
                Ok(more) => Err(more),
            }
        })
        .await;
    }
}
