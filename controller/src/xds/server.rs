//! The gRPC server: what it listens on, and the bounds that keep one client from harming the others.

use std::net::SocketAddr;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::ExtensionConfigDiscoveryServiceServer;
use thiserror::Error;
use tonic::transport::server::TcpIncoming;

use super::publisher::Publisher;
use super::service::DiscoveryService;
use super::tls::{TlsError, TlsFiles};

/// The largest message that is read, in bytes. A proxy's are a few hundred; a larger one ends its stream.
const MAX_MESSAGE: usize = 1 << 20;
/// How many streams a connection may have. Envoy opens one, or one for each filter.
const MAX_STREAMS_OF_A_CONNECTION: u32 = 128;
/// How often a connection is asked whether anybody is there, and how long that may take. Together, the time for which a proxy that has gone
/// without a word is taken to be connected.
const KEEPALIVE: Duration = Duration::from_secs(5);

/// Why there is no server.
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
    /// Listens, in the clear if there are no `tls` files. To be called within a runtime.
    ///
    /// # Errors
    /// The address can't be listened on, or one of the files is not what it has to be.
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
        // Who connects and says nothing at all is asked by TCP.
        let incoming = incoming
            .with_nodelay(Some(true))
            .with_keepalive(Some(KEEPALIVE))
            .with_keepalive_interval(Some(KEEPALIVE));
        Ok(Self { address, incoming, tonic })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves what is published, for as long as it is polled. Connections end with the runtime.
    ///
    /// # Errors
    /// It can't go on.
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
