//! An xDS client that sends arbitrary messages.

use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::rpc::Status as Detail;
use futures_util::stream;
use serin::xds::protocol::TYPE_URL;
use tokio::sync::mpsc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::world::GROUP;

/// A stream over ADS.
pub(crate) struct Client {
    requests: mpsc::UnboundedSender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
}

impl Client {
    /// A stream on a connection of its own.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self::open(endpoint.connect().await.expect("the server listens")).await
    }

    pub(crate) async fn open(channel: Channel) -> Self {
        Self::try_open(channel).await.expect("a stream")
    }

    pub(crate) async fn try_open(channel: Channel) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::unbounded_channel();
        let sent = stream::unfold(receiver, async |mut receiver| {
            receiver.recv().await.map(|request| (request, receiver))
        });
        let mut client = AggregatedDiscoveryServiceClient::new(channel);
        let responses = client.stream_aggregated_resources(sent).await?;
        Ok(Self { requests, responses: responses.into_inner() })
    }

    /// An ended stream accepts the message and ignores it.
    pub(crate) fn send(&self, request: DiscoveryRequest) {
        let _ = self.requests.send(request);
    }

    /// The next response.
    pub(crate) async fn next(&mut self) -> Result<DiscoveryResponse, Status> {
        self.responses.message().await?.ok_or_else(|| Status::ok("the end"))
    }

    /// The server's reason for the end of the stream.
    pub(crate) async fn end(mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

/// The first request of a proxy of this name.
pub(crate) fn hello(node: &str) -> DiscoveryRequest {
    let node = Node { id: node.to_owned(), cluster: GROUP.to_owned(), ..Node::default() };
    DiscoveryRequest { node: Some(node), ..subscribe() }
}

/// A subscription to the filter's configuration.
pub(crate) fn subscribe() -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: vec!["serin".to_owned()],
        type_url: TYPE_URL.to_owned(),
        ..DiscoveryRequest::default()
    }
}

/// An ACK of this response.
pub(crate) fn ack(response: &DiscoveryResponse) -> DiscoveryRequest {
    DiscoveryRequest {
        version_info: response.version_info.clone(),
        response_nonce: response.nonce.clone(),
        ..subscribe()
    }
}

/// A NACK of the response with this nonce.
pub(crate) fn nack(nonce: &str, message: String) -> DiscoveryRequest {
    let error_detail = Some(Detail { code: 13, message, ..Detail::default() });
    DiscoveryRequest { response_nonce: nonce.to_owned(), error_detail, ..subscribe() }
}
