//! The simulator process: each proxy has an admin interface at its own address and a stream to
//! serin's xDS server.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use envoy_types::pb::envoy::config::core::v3::{Node, TypedExtensionConfig};
use envoy_types::pb::envoy::extensions::filters::http::wasm::v3::Wasm;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use envoy_types::pb::google::protobuf::StringValue;
use futures_util::stream;
use prost::Message;
use serin_filter::config::Config;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tonic::transport::Endpoint;

use crate::control::{self, Acknowledgements};
use crate::proxy::{State, Template};
use crate::shape::{Shape, group_name, service_name};

const TYPE_URL: &str = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig";

/// Retry interval of a disconnected proxy.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);

struct Proxy {
    node: String,
    group: u32,
    template: Arc<Template>,
    state: Mutex<State>,
    acknowledgements: Arc<Acknowledgements>,
}

/// Runs until it is killed.
pub(crate) async fn simulate(shape: Shape, statistics: &Path) {
    let captured = std::fs::read(statistics).expect("the statistics that were captured");
    let captured = serde_json::from_slice(&captured).expect("JSON");
    let acknowledgements = Arc::new(Acknowledgements::new(shape.groups));
    for group in 0..shape.groups {
        let template = Arc::new(Template::new(&captured, &service_name(group)));
        for proxy in shape.members(group) {
            let listener = TcpListener::bind(shape.admin(proxy)).await.expect("a free address");
            let proxy = Arc::new(Proxy {
                node: format!("edge-{proxy}"),
                group,
                template: template.clone(),
                state: Mutex::new(State::new()),
                acknowledgements: acknowledgements.clone(),
            });
            tokio::spawn(admin(listener, proxy.clone()));
            tokio::spawn(follow(shape.xds(), proxy));
        }
    }
    control::serve(shape.control(), acknowledgements).await;
}

/// Responds to every request with the statistics page.
async fn admin(listener: TcpListener, proxy: Arc<Proxy>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        tokio::spawn(answer(stream, proxy.clone()));
    }
}

/// Serves one kept-alive connection: successive requests without a body.
async fn answer(mut stream: TcpStream, proxy: Arc<Proxy>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut heard, mut page, mut head) = (Vec::new(), String::new(), String::new());
    loop {
        while !heard.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut heard).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        heard.clear();
        page.clear();
        proxy.state.lock().expect("a lock").render(&proxy.template, &mut page);
        head.clear();
        let length = page.len();
        std::fmt::Write::write_fmt(
            &mut head,
            format_args!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"),
        )
        .expect("a string accepts all writes");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(page.as_bytes()).await?;
    }
}

/// Applies and acknowledges every configuration that serin sends.
async fn follow(xds: SocketAddr, proxy: Arc<Proxy>) {
    loop {
        // The reason is not needed: a missing proxy shows in the figures.
        let _ = stream_of(xds, &proxy).await;
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

async fn stream_of(
    xds: SocketAddr,
    proxy: &Proxy,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let channel = Endpoint::from_shared(format!("http://{xds}"))?.connect().await?;
    let (send, receive) = mpsc::unbounded_channel();
    let requests = stream::unfold(receive, async |mut receive: mpsc::UnboundedReceiver<_>| {
        receive.recv().await.map(|request| (request, receive))
    });
    let node = Node { id: proxy.node.clone(), cluster: group_name(proxy.group), ..Node::default() };
    send.send(DiscoveryRequest { node: Some(node), ..wanted() })?;
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let mut responses = client.stream_aggregated_resources(requests).await?.into_inner();
    while let Some(response) = responses.message().await? {
        let config = configuration(&response).ok_or("not serin's filter")?;
        let generation = config.generation.0;
        let is_new = proxy.state.lock().expect("a lock").configure(&config);
        send.send(DiscoveryRequest {
            version_info: response.version_info,
            response_nonce: response.nonce,
            ..wanted()
        })?;
        if is_new {
            proxy.acknowledgements.add(proxy.group, generation, SystemTime::now());
        }
    }
    Ok(())
}

fn wanted() -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: vec!["serin".to_owned()],
        type_url: TYPE_URL.to_owned(),
        ..DiscoveryRequest::default()
    }
}

/// The filter's configuration in a response.
fn configuration(response: &DiscoveryResponse) -> Option<Config> {
    let extension = TypedExtensionConfig::decode(&*response.resources.first()?.value).ok()?;
    let wasm = Wasm::decode(&*extension.typed_config?.value).ok()?;
    let text = StringValue::decode(&*wasm.config?.configuration?.value).ok()?;
    Config::parse(text.value.as_bytes()).ok()
}
