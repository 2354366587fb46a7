use serde_json::{Value, json};
use serin_filter::config::wire;

use crate::config::mesh::{Destination, Versions};
use crate::rollout::metric::{MetricProviderConfig, QueryTemplate};
use crate::spec::{
    DriftPolicy, IstioProxies, Pods, Proxies, RouteKind, Spec, Splitter, StatisticsSource,
};

/// A rollout by the weights of a VirtualService.
pub(crate) fn object() -> Value {
    let version =
        |name: &str| json!({"name": name, "destination": {"host": "reviews", "subset": name}});
    json!({
        "service": "reviews",
        "versions": [version("v1"), version("v2"), version("v3")],
        "baseline": "v1",
        "candidate": "v2",
        "strategy": {"canary": {"weight": "10%"}},
        "istio": {
            "mode": "mesh",
            "virtualService": "reviews",
            "port": 9080,
            "proxies": {"matchLabels": {"app": "productpage"}},
        },
    })
}

fn parse(spec: Value) -> Result<Spec, String> {
    let document = json!({
        "apiVersion": "serin.dev/v1alpha1",
        "kind": "ServiceRollout",
        "metadata": {"name": "reviews", "namespace": "bookinfo"},
        "spec": spec,
    });
    Spec::parse(&document.to_string()).map_err(|error| error.to_string())
}

pub(crate) fn changed(change: impl Fn(&mut Value)) -> Result<Spec, String> {
    let mut spec = object();
    change(&mut spec);
    parse(spec)
}

fn destination(subset: &str) -> Destination {
    Destination { host: "reviews".to_owned(), subset: Some(subset.to_owned()), port: None }
}

#[test]
fn istio_by_weights() {
    let spec = parse(object()).unwrap();
    let pods = Pods {
        namespace: None,
        labels: [("app".to_owned(), "productpage".to_owned())].into(),
        statistics: StatisticsSource::Port(15_090),
    };
    let versions = Versions { baseline: destination("v1"), candidate: destination("v2") };
    let drift = DriftPolicy::Repair;
    let splitter = Splitter::Mesh { virtual_service: "reviews".to_owned(), versions, drift };
    assert_eq!(spec.proxies, Proxies::Istio(IstioProxies { splitter, pods }));
    // The filter only observes.
    assert_eq!(spec.service.split, wire::Split::Mesh);
    assert_eq!((spec.service.tripwire, spec.service.correlation.len()), (None, 0));
}

#[test]
fn istio_by_the_filter() {
    let spec = changed(|spec| {
        spec["istio"] = json!({
            "mode": "filter", "port": 9080, "proxies": {"matchLabels": {"app": "productpage"}, "port": 1234}
        });
        spec["sticky"] = json!([{"header": "end-user"}]);
        spec["strategy"] = json!({"canary": {"weight": "0.25%"}});
    });
    let spec = spec.unwrap();
    let Proxies::Istio(IstioProxies { splitter, pods }) = spec.proxies else { panic!() };
    assert_eq!(splitter, Splitter::Filter { plugin: "serin".to_owned() });
    assert_eq!(pods.statistics, StatisticsSource::Port(1234));
    assert!(spec.service.tripwire.is_some());
}

#[test]
fn a_route_of_the_gateway_api() {
    let spec = changed(|spec| {
        spec["istio"].take();
        spec["gatewayApi"] = json!({
            "route": {"kind": "GRPCRoute", "name": "reviews"},
            "proxies": {"namespace": "gateways", "matchLabels": {"gateway": "edge"}},
            "drift": "respect",
        });
        let version = |name: &str| json!({"name": name, "backend": {"name": format!("reviews-{name}"), "port": 9080}});
        spec["versions"] = json!([version("v1"), version("v2")]);
        spec["strategy"] = json!({"canary": {"weight": "0.25%"}});
    });
    let spec = spec.unwrap();
    let Proxies::GatewayApi(gateway_api) = &spec.proxies else { panic!("{:?}", spec.proxies) };
    assert_eq!((gateway_api.kind, gateway_api.drift), (RouteKind::Grpc, DriftPolicy::Respect));
    assert_eq!(gateway_api.versions.candidate.name, "reviews-v2");
    assert_eq!(gateway_api.pods.namespace.as_deref(), Some("gateways"));
    let cluster = &spec.service.versions[1].cluster;
    assert_eq!(cluster, "outbound|9080||reviews-v2.bookinfo.svc.cluster.local");
}

#[test]
fn a_prometheus_replaces_the_pods() {
    let spec = changed(|spec| {
        let prometheus = json!({"url": "http://prometheus:9090", "instances": {"job": "envoy"}});
        spec["istio"]["proxies"]["prometheus"] = prometheus;
        spec["analysis"] =
            json!({"metrics": {"queries": [{"name": "m", "query": "m", "atMost": 1}]}});
    });
    let spec = spec.unwrap();
    let (path, connection) = spec.proxies.prometheus().unwrap();
    assert_eq!(path, "spec.istio.proxies.prometheus");
    assert_eq!(connection.url, "http://prometheus:9090");
    // Metrics are asked there as well, unless they say where.
    let (connection, query) = (connection.clone(), QueryTemplate::parse("m").unwrap());
    let provider = &spec.plan.metrics.as_ref().unwrap().all[0].provider;
    assert_eq!(provider, &MetricProviderConfig::Prometheus { connection, query });
}

/// Each message has the path of the field, and what to do.
#[test]
fn errors_name_the_field_and_the_value() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 21] = [
        (
            |s| drop(s["istio"].take()),
            "spec: exactly one of envoy, istio and gatewayApi is required",
        ),
        (
            |s| {
                s["gatewayApi"] =
                    json!({"route": {"name": "r"}, "proxies": {"matchLabels": {"a": "b"}}})
            },
            "spec: exactly one of envoy, istio and gatewayApi is required",
        ),
        (|s| s["istio"]["mode"] = json!("both"), "spec.istio.mode: unknown variant `both`"),
        (
            |s| drop(s["istio"]["virtualService"].take()),
            "spec.istio.virtualService: missing; mode mesh",
        ),
        (
            |s| s["istio"]["mode"] = json!("filter"),
            "spec.istio.virtualService: not supported with mode filter",
        ),
        (
            |s| s["istio"]["plugin"] = json!("serin"),
            "spec.istio.plugin: not supported with mode mesh",
        ),
        (
            |s| drop(s["istio"]["port"].take()),
            "spec.istio.port: missing; the name of an Istio cluster",
        ),
        (
            |s| s["istio"]["proxies"]["matchLabels"] = json!({}),
            "spec.istio.proxies.matchLabels: empty",
        ),
        (
            |s| {
                s["versions"][0]["name"] = json!("v-2");
                s["versions"][1]["name"] = json!("v.2");
                (s["baseline"], s["candidate"]) = (json!("v-2"), json!("v.2"));
            },
            "spec.candidate: v-2 and v.2 have the same name in Envoy's statistics",
        ),
        (
            |s| s["istio"]["proxies"]["prometheus"] = json!({"url": "http://p"}),
            "spec.istio.proxies.prometheus.instances: empty",
        ),
        (
            |s| {
                let prometheus = json!({"url": "http://p", "instances": {"job": "envoy"}});
                s["istio"]["proxies"] = json!({
                    "matchLabels": {"a": "b"}, "port": 1, "prometheus": prometheus
                });
            },
            "spec.istio.proxies: set only one of port and prometheus",
        ),
        (
            |s| drop(s["versions"][1]["destination"].take()),
            "spec.versions[1].destination: missing; spec.istio requires it",
        ),
        (
            |s| s["versions"][1]["backend"] = json!({"name": "x", "port": 1}),
            "spec.versions[1].backend: requires spec.gatewayApi",
        ),
        (
            |s| s["versions"][1]["destination"]["subset"] = json!("v1"),
            "spec.versions[1].cluster: \"outbound|9080|v1|reviews.bookinfo.svc.cluster.local\" already",
        ),
        (
            |s| s["strategy"] = json!({"canary": {"weight": "0.25%"}}),
            "spec.strategy: 0.25 % is not a whole percentage",
        ),
        (|s| s["sticky"] = json!(["sourceAddress"]), "spec.sticky: not allowed if the mesh splits"),
        (|s| s["tripwire"] = json!({}), "spec.tripwire: not allowed if the mesh splits"),
        (
            |s| s["correlation"] = json!(["traceId"]),
            "spec.correlation: not allowed if the mesh splits",
        ),
        (
            |s| s["rules"] = json!([{"when": {"method": "GET"}, "then": "bypass"}]),
            "spec.rules: not allowed if the mesh splits",
        ),
        (|s| s["istio"]["drift"] = json!("ignore"), "spec.istio.drift: unknown variant `ignore`"),
        (|s| drop(s["istio"]["proxies"].take()), "spec.istio.proxies: "),
    ];
    for (change, expected) in cases {
        let error = changed(change).unwrap_err();
        assert!(error.starts_with(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn a_host_with_dots_is_complete_and_a_cluster_may_be_set() {
    let spec = changed(|spec| {
        let far = json!({"host": "reviews.far.svc.cluster.local", "port": {"number": 80}});
        spec["versions"][0] = json!({"name": "v1", "destination": far});
        let destination = json!({"host": "reviews", "subset": "v2"});
        spec["versions"][1] = json!({"name": "v2", "cluster": "mine", "destination": destination});
    });
    let clusters: Vec<_> = spec.unwrap().service.versions.into_iter().map(|v| v.cluster).collect();
    assert_eq!(clusters, ["outbound|80||reviews.far.svc.cluster.local", "mine"]);
}
