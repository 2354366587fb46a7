//! A misbehaving client harms no other client.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tonic::Code;

use crate::client::{Client, ack, hello, nack, subscribe};
use crate::world::{DiscoveryMode, Serin, Shop, acknowledged, rejected, template};

/// While a client misbehaves, an Envoy gets new configurations undisturbed.
struct Others {
    serin: Serin,
    _shop: Shop,
    envoy: serin_tests::Envoy,
    generation: u64,
}

impl Others {
    async fn new() -> Self {
        let (serin, shop) = (Serin::start(), Shop::open().await);
        let envoy = shop.envoy(&serin, "edge-1", DiscoveryMode::Ecds).await;
        let mut others = Self { serin, _shop: shop, envoy, generation: 0 };
        others.are_served().await;
        others
    }

    async fn are_served(&mut self) {
        self.generation += 1;
        self.serin.publish(&template(&self.envoy), self.generation, "v2");
        let wanted = self.generation.to_string();
        self.serin
            .until("the Envoy is served", |proxies| {
                proxies.iter().any(|it| it.node == "edge-1" && acknowledged(it) == Some(&wanted))
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_nonces_and_unknown_types_change_nothing() {
    let mut others = Others::new().await;
    let mut client = Client::connect(others.serin.address).await;
    client.send(hello("liar"));
    let response = client.next().await.expect("a response");
    assert_eq!(response.version_info, "1");
    for nonce in ["", "0", "17", "nonsense", "\u{0}"] {
        client.send(nack(nonce, "no".to_owned()));
        client.send(DiscoveryRequest { response_nonce: nonce.to_owned(), ..ack(&response) });
    }
    for type_url in ["", "x", "type.googleapis.com/envoy.config.cluster.v3.Cluster"] {
        client.send(DiscoveryRequest { type_url: type_url.to_owned(), ..ack(&response) });
    }
    client.send(ack(&response));
    others
        .serin
        .until("only a valid ACK counts", |proxies| {
            proxies.iter().any(|it| {
                it.node == "liar" && acknowledged(it) == Some("1") && rejected(it).is_none()
            })
        })
        .await;
    others.are_served().await;
    let next = client.next().await.expect("the next one, and nothing in between");
    assert_eq!((next.version_info.as_str(), next.nonce.as_str()), ("2", "2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_ends_its_stream() {
    let mut others = Others::new().await;
    let client = Client::connect(others.serin.address).await;
    client.send(hello("flood"));
    for _ in 0..10_000 {
        client.send(subscribe());
    }
    let status = client.end().await;
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    others.are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_of_64_mb_ends_its_stream() {
    let mut others = Others::new().await;
    let client = Client::connect(others.serin.address).await;
    client.send(hello("huge"));
    client.send(nack("1", "x".repeat(64 << 20)));
    let status = client.end().await;
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    others.are_served().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unauthenticated_clients_are_refused() {
    let mut others = Others::new().await;
    for request in [subscribe(), hello(""), hello(&"n".repeat(257))] {
        let client = Client::connect(others.serin.address).await;
        client.send(request);
        let status = client.end().await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    others.are_served().await;
    assert_eq!(others.serin.publisher.proxies("edge").len(), 1);
}

/// A machine that vanished without a close, and one that never sends anything.
#[tokio::test(flavor = "multi_thread")]
async fn unacknowledged_configurations_are_reported() {
    let mut others = Others::new().await;
    let address = others.serin.address;
    let _silent = TcpStream::connect(address).await.expect("the server listens");
    // The task of this connection stops after the first response: it stays open, and no ping is
    // answered.
    let frozen = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let connect = move || {
        let client = frozen.block_on(async {
            let mut client = Client::connect(address).await;
            client.send(hello("frozen"));
            client.next().await.expect("a response");
            client
        });
        (frozen, client)
    };
    let kept = tokio::task::spawn_blocking(connect).await.expect("a client");
    let connected = |connected: bool| {
        move |proxies: &[serin::xds::registry::ProxyStatus]| {
            proxies.iter().any(|it| it.node == "frozen" && it.connected() == connected)
        }
    };
    others.serin.until("the client is connected", connected(true)).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(2) {
        others.are_served().await;
    }
    others.serin.until("the server notices the disconnect", connected(false)).await;
    others.are_served().await;
    let (frozen, client) = kept;
    drop(client);
    frozen.shutdown_background();
}
