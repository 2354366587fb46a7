//! A TCP relay that can be shut and opened again, to cut one party off from another while both stay alive: the controller from
//! Envoy's admin port, for example.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::ports;

/// A relay from a port of its own to one target; it ends when dropped.
#[derive(Debug)]
pub struct TcpRelay {
    address: SocketAddr,
    target: SocketAddr,
    /// The relay at work; `None` while the gate is shut.
    relay: Option<JoinHandle<()>>,
}

impl TcpRelay {
    /// An open gate in front of `target`.
    pub async fn start(target: SocketAddr) -> Self {
        let mut gate = Self { address: ports::local(ports::free()), target, relay: None };
        gate.open().await;
        gate
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses new connections and closes the ones there are.
    pub async fn shut(&mut self) {
        if let Some(relay) = self.relay.take() {
            relay.abort();
            // The listening socket is closed when the task is gone; it was aborted, so its result says nothing.
            let _ = relay.await;
        }
    }

    /// Lets connections through again, on the same port.
    ///
    /// # Panics
    /// When the port is in use.
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

/// Owns every connection, so that all of them end with it.
async fn relay(listener: TcpListener, target: SocketAddr) {
    let mut connections = JoinSet::new();
    loop {
        // Out of file descriptors, at worst: the next one may fare better.
        let Ok((mut client, _)) = listener.accept().await else { continue };
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(target).await {
                // However it ends, both sides are closed and see it.
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
        let answer = http::get(gate.address(), "/").await.expect("an answer through the gate");
        assert_eq!(answer.headers()["x-upstream-version"], "v1");

        gate.shut().await;
        let refused = http::get(gate.address(), "/").await.expect_err("shut");
        assert!(refused.contains("refused"), "{refused}");

        gate.open().await;
        http::get(gate.address(), "/").await.expect("an answer through the open gate");
        assert_eq!(upstream.stats().requests, 2);
    }

    #[tokio::test]
    async fn shutting_closes_connections_in_use() {
        let upstream = Upstream::start("v1").await;
        let mut gate = TcpRelay::start(upstream.address()).await;
        let mut connection = TcpStream::connect(gate.address()).await.expect("open");
        connection.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n").await.expect("open");
        assert!(connection.read(&mut [0; 4096]).await.expect("an answer") > 0);

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
