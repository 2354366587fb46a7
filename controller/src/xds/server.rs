//! The gRPC server: its listener, and limits that keep one client from harming the others.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::ExtensionConfigDiscoveryServiceServer;
use thiserror::Error;
use tonic::transport::server::TcpIncoming;

use super::publisher::Publisher;
use super::service::DiscoveryService;
use super::tls::{TlsError, TlsFiles};

/// The size limit of a message, in bytes. A proxy's messages have a few hundred; a larger one ends
/// its stream.
const MAX_MESSAGE: usize = 1 << 20;
/// The most streams of a connection. Envoy opens one, or one for each filter.
const MAX_STREAMS_OF_A_CONNECTION: u32 = 128;
/// Interval and timeout of keepalive pings. Together, the time until a proxy that vanished counts
/// as disconnected.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// The error of a server that can't run.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum ServerError {
    #[error("{address}: {cause}")]
    Listen { address: SocketAddr, cause: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("xDS: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// An xDS server that listens already.
#[derive(Debug)]
pub struct XdsServer {
    address: SocketAddr,
    incoming: TcpIncoming,
    tonic: tonic::transport::Server,
}

impl XdsServer {
    /// Listens, in plain text without `tls` files. Requires a runtime.
    ///
    /// # Errors
    /// The address can't be listened on, or a file is unusable.
    pub fn bind(address: SocketAddr, tls: Option<&TlsFiles>) -> Result<Self, ServerError> {
        let tonic = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEPALIVE))
            .http2_keepalive_timeout(Some(KEEPALIVE))
            .max_concurrent_streams(MAX_STREAMS_OF_A_CONNECTION);
        let tonic = match tls {
            Some(files) => files.secure(tonic)?,
            None => tonic,
        };
        let listen = |cause| ServerError::Listen { address, cause };
        let incoming = TcpIncoming::bind(address).map_err(listen)?;
        let address = incoming.local_addr().map_err(listen)?;
        // TCP keepalive covers clients that connect and send nothing.
        let incoming = incoming
            .with_nodelay(Some(true))
            .with_keepalive(Some(KEEPALIVE))
            .with_keepalive_interval(Some(KEEPALIVE));
        Ok(Self { address, incoming, tonic })
    }

    /// The listener's address.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves the published resources while it is polled. Connections end with the runtime.
    ///
    /// # Errors
    /// The listener failed.
    pub async fn serve(mut self, publisher: Publisher) -> Result<(), ServerError> {
        let discovery = DiscoveryService::new(publisher);
        let own = ExtensionConfigDiscoveryServiceServer::new(discovery.clone());
        let aggregated = AggregatedDiscoveryServiceServer::new(discovery);
        self.tonic
            .add_service(own.max_decoding_message_size(MAX_MESSAGE))
            .add_service(aggregated.max_decoding_message_size(MAX_MESSAGE))
            .serve_with_incoming(self.incoming)
            .await?;
        Ok(())
    }
}
