//! An xDS server that can stop and return on its port, and Envoys with their filter's
//! configuration from it.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use serin::xds::protocol::{AckState, Rejection};
use serin::xds::publisher::Publisher;
use serin::xds::registry::ProxyStatus;
use serin::xds::server::XdsServer;
use serin::xds::template::FilterTemplate;
use serin::xds::tls::TlsFiles;
pub(crate) use serin_tests::xds::{DiscoveryMode, GROUP, bootstrap};
use serin_tests::{Call, Envoy, Protocol, Setup, Upstream, ports, until};
use tokio::runtime::{Builder, Runtime};

/// Timeout of an immediate effect.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A server and its published resources. It has its own runtime, so that it ends like a process:
/// all sockets close at once.
pub(crate) struct Serin {
    pub(crate) address: SocketAddr,
    pub(crate) publisher: Publisher,
    runtime: Option<Runtime>,
}

impl Serin {
    pub(crate) fn start() -> Self {
        Self::with(None)
    }

    pub(crate) fn with(tls: Option<&TlsFiles>) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let mut serin = Self { address, publisher: Publisher::default(), runtime: None };
        serin.restart(tls);
        serin
    }

    /// Restarts the server on the same port without state.
    pub(crate) fn restart(&mut self, tls: Option<&TlsFiles>) {
        self.stop();
        self.publisher = Publisher::default();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let server = {
            let _within = runtime.enter();
            XdsServer::bind(self.address, tls).expect("the port is free")
        };
        assert_eq!(server.address(), self.address);
        let publisher = self.publisher.clone();
        runtime
            .spawn(async move { server.serve(publisher).await.expect("the server does not end") });
        self.runtime = Some(runtime);
    }

    /// Stops the server without warning.
    pub(crate) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// All users get this version, from this filter.
    pub(crate) fn publish(&self, template: &FilterTemplate, generation: u64, version: &str) {
        let configuration = all_users(generation, version);
        self.publisher.publish(GROUP, template.resource(generation.to_string(), configuration));
    }

    /// Waits until the proxies of the group match.
    pub(crate) async fn until(
        &self,
        what: &str,
        right: impl Fn(&[ProxyStatus]) -> bool,
    ) -> Vec<ProxyStatus> {
        until(SOON, what, async || {
            let proxies = self.publisher.proxies(GROUP);
            if right(&proxies) { Ok(proxies) } else { Err(proxies) }
        })
        .await
    }

    /// Waits until exactly these proxies are connected and have acknowledged this version of the
    /// filter's configuration.
    pub(crate) async fn until_acknowledged(&self, nodes: &[&str], version: &str) {
        let right = |proxy: &ProxyStatus| {
            let rejected = ack_state(proxy).is_some_and(|ack_state| ack_state.rejected.is_some());
            proxy.connected() && acknowledged(proxy) == Some(version) && !rejected
        };
        self.until("every proxy has acknowledged it", |proxies| {
            proxies.iter().map(|proxy| proxy.node.as_str()).eq(nodes.iter().copied())
                && proxies.iter().all(right)
        })
        .await;
    }
}

impl Drop for Serin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A proxy's state of the filter's configuration.
pub(crate) fn ack_state(proxy: &ProxyStatus) -> Option<&AckState> {
    proxy.resources.get("serin")
}

pub(crate) fn acknowledged(proxy: &ProxyStatus) -> Option<&str> {
    ack_state(proxy)?.acknowledged.as_deref()
}

pub(crate) fn rejected(proxy: &ProxyStatus) -> Option<&Rejection> {
    ack_state(proxy)?.rejected.as_ref()
}

/// Two versions of a shop, and the Envoys in front of them.
pub(crate) struct Shop {
    pub(crate) v1: Upstream,
    pub(crate) v2: Upstream,
}

impl Shop {
    pub(crate) async fn open() -> Self {
        Self { v1: Upstream::start("v1").await, v2: Upstream::start("v2").await }
    }

    /// An Envoy of this name.
    pub(crate) async fn envoy(&self, serin: &Serin, node: &str, way: DiscoveryMode) -> Envoy {
        self.envoy_with(serin, node, way, |setup| setup).await
    }

    /// The same with more changes to the bootstrap.
    pub(crate) async fn envoy_with(
        &self,
        serin: &Serin,
        node: &str,
        way: DiscoveryMode,
        change: impl FnOnce(Setup) -> Setup,
    ) -> Envoy {
        let setup = Setup::new(self.v1.address(), self.v2.address()).xds(serin.address).workers(1);
        let setup = setup.replace("id: edge-1", &format!("id: {node}"));
        Envoy::start(&change(way.adapt(setup))).await
    }
}

/// The shipped filter with the module's path on this Envoy's disk.
pub(crate) fn template(envoy: &Envoy) -> FilterTemplate {
    let text = std::fs::read(envoy.filter_file()).expect("the filter's file");
    FilterTemplate::parse(&text).expect("the shipped file")
}

/// A configuration that gives all users this version.
pub(crate) fn all_users(generation: u64, version: &str) -> String {
    let service = json!({
        "name": "shop", "authorities": ["*"], "sticky": [{"header": "x-user-id"}],
        "versions": [{"name": "v1", "cluster": "shop-v1"}, {"name": "v2", "cluster": "shop-v2"}],
        "buckets": [{"version": version, "count": 1_000_000}],
    });
    json!({"schema": 1, "generation": generation, "services": [service]}).to_string()
}

/// The version that serves a user.
pub(crate) async fn version(envoy: &Envoy) -> Option<String> {
    let call = Call::new(envoy.listener(), Protocol::Http1);
    call.send().await.expect("a response").version
}

/// The filters that Envoy got by discovery, as its admin interface shows them.
pub(crate) async fn given(envoy: &Envoy) -> Value {
    let path = "/config_dump?resource=ecds_filters";
    let page = serin_tests::http::get(envoy.admin(), path).await.expect("a page");
    serde_json::from_slice(page.body()).expect("JSON")
}
