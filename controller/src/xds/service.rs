//! The two gRPC services. A stream makes progress as the client reads: it has no task and no queue
//! of its own, and ends with the connection.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryService;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::envoy::service::extension::v3::extension_config_discovery_service_server::ExtensionConfigDiscoveryService;
use futures_util::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::protocol::{self, MAX_NAME, Subscription, TYPE_URL};
use super::publisher::{Publisher, StreamRegistration};
use crate::xds::rate_limiter::RateLimiter;

/// The most streams of all clients.
const MAX_STREAMS: usize = 10_000;

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type RpcResult<T> = Result<Response<T>, Status>;

/// Both services.
#[derive(Debug, Clone)]
pub(super) struct DiscoveryService {
    publisher: Publisher,
    streams: Arc<Semaphore>,
}

impl DiscoveryService {
    pub(super) fn new(publisher: Publisher) -> Self {
        Self { publisher, streams: Arc::new(Semaphore::new(MAX_STREAMS)) }
    }

    /// `default_type`: the type of requests that name none.
    fn open_stream(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
        default_type: &'static str,
    ) -> RpcResult<ResponseStream<DiscoveryResponse>> {
        let permit = self.streams.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Status::resource_exhausted("too many streams"))?;
        let stream = XdsStream {
            requests: requests.into_inner(),
            publisher: self.publisher.clone(),
            registration: None,
            subscription: Subscription::default(),
            rate_limiter: RateLimiter::new(Instant::now()),
            default_type,
            _permit: permit,
        };
        Ok(Response::new(Box::pin(stream::try_unfold(stream, XdsStream::next))))
    }
}

/// A stream with a proxy.
struct XdsStream {
    requests: Streaming<DiscoveryRequest>,
    publisher: Publisher,
    /// `None` until the proxy has identified itself.
    registration: Option<StreamRegistration>,
    subscription: Subscription,
    rate_limiter: RateLimiter,
    default_type: &'static str,
    _permit: OwnedSemaphorePermit,
}

impl XdsStream {
    /// The next response; `None` when the client has ended the stream.
    async fn next(mut self) -> Result<Option<(DiscoveryResponse, Self)>, Status> {
        loop {
            let request = match &mut self.registration {
                None => self.requests.message().await?,
                Some(registration) => {
                    if let Some(response) = self.subscription.next(&registration.resources()) {
                        return Ok(Some((sent(&response), self)));
                    }
                    tokio::select! {
                        request = self.requests.message() => request?,
                        () = registration.changed() => continue,
                    }
                }
            };
            match request {
                Some(request) => self.on_request(request)?,
                None => return Ok(None),
            }
        }
    }

    fn on_request(&mut self, mut request: DiscoveryRequest) -> Result<(), Status> {
        let registration = match &self.registration {
            Some(registration) => registration,
            None => self.registration.insert(register(&self.publisher, &request)?),
        };
        if request.type_url.is_empty() {
            self.default_type.clone_into(&mut request.type_url);
        }
        let effect = self.subscription.on_request(&received(request));
        let effect = effect.map_err(|error| Status::resource_exhausted(error.to_string()))?;
        if effect.changed {
            registration.record(self.subscription.ack_states());
        }
        if effect.is_answer || self.rate_limiter.try_acquire(Instant::now()) {
            return Ok(());
        }
        Err(Status::resource_exhausted("too many unsolicited requests"))
    }
}

/// The first request has to identify the proxy.
fn register(
    publisher: &Publisher,
    request: &DiscoveryRequest,
) -> Result<StreamRegistration, Status> {
    let node = request.node.as_ref();
    let node = node.filter(|node| !node.id.is_empty() && !node.cluster.is_empty());
    let node =
        node.ok_or_else(|| Status::invalid_argument("node.id and node.cluster are required"))?;
    if node.id.len() > MAX_NAME || node.cluster.len() > MAX_NAME {
        let text = format!("node.id and node.cluster may have {MAX_NAME} bytes each");
        return Err(Status::invalid_argument(text));
    }
    Ok(publisher.join(&node.cluster, &node.id))
}

fn received(request: DiscoveryRequest) -> protocol::Request {
    protocol::Request {
        type_url: request.type_url,
        version: request.version_info,
        nonce: request.response_nonce,
        names: request.resource_names,
        error: request.error_detail.map(|status| status.message),
    }
}

fn sent(response: &protocol::Response) -> DiscoveryResponse {
    DiscoveryResponse {
        version_info: response.resource.version.clone(),
        resources: vec![response.resource.body.clone()],
        type_url: TYPE_URL.to_owned(),
        nonce: response.nonce.clone(),
        ..DiscoveryResponse::default()
    }
}

fn state_of_the_world_only<T>() -> RpcResult<T> {
    Err(Status::unimplemented("state of the world only: api_type GRPC"))
}

#[async_trait]
impl ExtensionConfigDiscoveryService for DiscoveryService {
    type StreamExtensionConfigsStream = ResponseStream<DiscoveryResponse>;
    type DeltaExtensionConfigsStream = ResponseStream<DeltaDiscoveryResponse>;

    async fn stream_extension_configs(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
    ) -> RpcResult<ResponseStream<DiscoveryResponse>> {
        self.open_stream(requests, TYPE_URL)
    }

    async fn delta_extension_configs(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> RpcResult<ResponseStream<DeltaDiscoveryResponse>> {
        state_of_the_world_only()
    }

    async fn fetch_extension_configs(
        &self,
        _: Request<DiscoveryRequest>,
    ) -> RpcResult<DiscoveryResponse> {
        Err(Status::unimplemented("gRPC streams only: api_type GRPC"))
    }
}

#[async_trait]
impl AggregatedDiscoveryService for DiscoveryService {
    type StreamAggregatedResourcesStream = ResponseStream<DiscoveryResponse>;
    type DeltaAggregatedResourcesStream = ResponseStream<DeltaDiscoveryResponse>;

    async fn stream_aggregated_resources(
        &self,
        requests: Request<Streaming<DiscoveryRequest>>,
    ) -> RpcResult<ResponseStream<DiscoveryResponse>> {
        self.open_stream(requests, "")
    }

    async fn delta_aggregated_resources(
        &self,
        _: Request<Streaming<DeltaDiscoveryRequest>>,
    ) -> RpcResult<ResponseStream<DeltaDiscoveryResponse>> {
        state_of_the_world_only()
    }
}
