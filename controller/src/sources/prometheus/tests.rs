use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use serin_core::config::prometheus::{Auth, PrometheusConnection};
use serin_core::observation::FleetDelta;
use serin_core::ports::MetricProvider;
use serin_core::rollout::metric::{
    Metric, MetricErrorReason, MetricProviderConfig, MetricRule, MetricSample, MetricsPlan,
    QueryTemplate,
};
use serin_core::rollout::plan::Plan;
use serin_core::spec::Spec;
use tokio::net::TcpListener;

use super::*;
use crate::sources::metrics::MetricSampler;

/// A fake Prometheus, for answers that a real one does not give on demand.
#[derive(Clone, Default)]
struct Fake {
    answer: Arc<Mutex<(u16, String)>>,
    /// The last request's query and authorization.
    asked: Arc<Mutex<(String, String)>>,
}

impl Fake {
    async fn serve(&self) -> String {
        let answer = async |State(fake): State<Self>,
                            Query(query): Query<HashMap<String, String>>,
                            headers: HeaderMap| {
            let who = headers.get("authorization").map(|who| who.to_str().unwrap().to_owned());
            *fake.asked.lock().unwrap() = (query["query"].clone(), who.unwrap_or_default());
            let (status, text) = fake.answer.lock().unwrap().clone();
            (StatusCode::from_u16(status).unwrap(), text)
        };
        let router = Router::new().route("/api/v1/query", get(answer)).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }

    fn answer(&self, status: u16, text: &str) {
        *self.answer.lock().unwrap() = (status, text.to_owned());
    }

    /// Answers with these proxies: their requests so far, and the seconds since their last scrape.
    fn proxies(&self, all: &[(&str, u64, f64)]) {
        let sample = |labels: String, value: f64| {
            format!(r#"{{"metric":{{{labels}}},"value":[1,"{value}"]}}"#)
        };
        let samples: Vec<_> = all
            .iter()
            .flat_map(|(instance, requests, ago)| {
                let instance = format!(r#""instance":"{instance}""#);
                let requests = *requests as f64;
                [
                    sample(format!(r#""__name__":"serin_generation",{instance}"#), 7.0),
                    sample(format!(r#""__name__":"serin_ticks",{instance}"#), requests),
                    sample(format!(r#""__name__":"serin_latency_ms_bucket",{instance},"service":"shop","version":"v1","le":"+Inf""#), requests),
                    sample(format!(r#"{instance},"serin_made":"scraped""#), unix_now() - ago),
                ]
            })
            .collect();
        let samples = samples.join(",");
        self.answer(
            200,
            &format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{samples}]}}}}"#
            ),
        );
    }
}

fn prometheus(url: String, auth: Auth) -> PrometheusSource {
    let connection = PrometheusConnection { url, auth };
    let settings = PrometheusSettings { connection, instances: BTreeMap::new() };
    PrometheusSource::new(settings, Series::labelled("shop".parse().unwrap(), "serin"))
}

fn delta(observation: Observation) -> FleetDelta {
    match observation {
        Observation::Delta(delta) => delta,
        Observation::Unreachable { reason } => panic!("{reason}"),
    }
}

fn requests(delta: &FleetDelta) -> u64 {
    delta.versions.values().map(|version| version.requests).sum()
}

#[tokio::test]
async fn differences_are_per_proxy_and_stale_data_is_unknown() {
    let fake = Fake::default();
    let mut prometheus = prometheus(fake.serve().await, Auth::None);
    fake.proxies(&[("a", 100, 1.2), ("b", 200, 1.1)]);
    assert_eq!(requests(&delta(prometheus.observe().await)), 0);
    fake.proxies(&[("a", 110, 0.6), ("b", 230, 0.5)]);
    assert_eq!(requests(&delta(prometheus.observe().await)), 40);
    // b has missed many scrapes.
    fake.proxies(&[("a", 115, 0.0), ("b", 230, 50.0)]);
    let delta = delta(prometheus.observe().await);
    assert_eq!((requests(&delta), delta.health.proxies), (5, 2));
    let unreachable: Vec<_> = delta.health.unreachable.iter().map(ToString::to_string).collect();
    assert!(unreachable[0].starts_with("b (Prometheus scraped it 5"), "{unreachable:?}");
}

#[tokio::test]
async fn an_invalid_answer_is_quoted() {
    let fake = Fake::default();
    let url = fake.serve().await;
    let mut prometheus = prometheus(url.clone(), Auth::None);
    for (status, text, expected) in [
        (200, "<html>", "answered something that is not the result of a query"),
        (
            200,
            r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
            "answered something that is not the result of a query",
        ),
        (502, "bad gateway", "answered with status 502 Bad Gateway"),
        (
            422,
            r#"{"status":"error","errorType":"execution","error":"query timed out"}"#,
            "rejected the query with status 422: query timed out",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
            "has no statistics of a serin filter",
        ),
        (
            200,
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#,
            "answered with series that have no label",
        ),
    ] {
        fake.answer(status, text);
        let Observation::Unreachable { reason } = prometheus.observe().await else {
            panic!("{text}")
        };
        assert!(reason.starts_with(&format!("Prometheus at {url} {expected}")), "{reason}");
    }
}

#[tokio::test]
async fn queries_are_authenticated() {
    let fake = Fake::default();
    fake.proxies(&[("a", 1, 0.0)]);
    let url = fake.serve().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    std::fs::write(&file, "s3cret\n").unwrap();
    let basic = Auth::Basic { username: "ada".to_owned(), password_file: file.clone() };
    let bearer = Auth::Bearer { token_file: file.clone() };
    for (auth, expected) in
        [(Auth::None, ""), (basic, "Basic YWRhOnMzY3JldA=="), (bearer.clone(), "Bearer s3cret")]
    {
        delta(prometheus(url.clone(), auth).observe().await);
        assert_eq!(fake.asked.lock().unwrap().1, expected);
    }
    std::fs::remove_file(file).unwrap();
    let Observation::Unreachable { reason } = prometheus(url, bearer).observe().await else {
        panic!("no secret")
    };
    assert!(reason.starts_with("the secret for Prometheus can't be read: "), "{reason}");
}

#[tokio::test]
async fn a_metric_is_the_result_of_its_query() {
    let fake = Fake::default();
    let rule =
        MetricRule { at_most: Some(10.0), at_least: None, at_most_times: None, consecutive: 2 };
    let connection = PrometheusConnection { url: fake.serve().await, auth: Auth::None };
    let metric = |query: &str| Metric {
        name: "queue".to_owned(),
        provider: MetricProviderConfig::Prometheus {
            connection: connection.clone(),
            query: QueryTemplate::parse(query).unwrap(),
        },
        rule,
    };
    let metrics = MetricsPlan {
        interval: Duration::from_secs(15),
        all: vec![
            metric("queue{version=\"{{version}}\"}"),
            metric("cost{service=\"{{service}}\"}"),
        ],
    };
    let plan = Spec::parse(include_str!("../../../../envoy/rollout.yaml")).unwrap().plan;
    let plan = Plan { metrics: Some(metrics), ..plan };
    let sampler = MetricSampler::new(&plan).unwrap();
    let vector = |values: &[&str]| {
        let all: Vec<_> =
            values.iter().map(|v| format!(r#"{{"metric":{{}},"value":[1,"{v}"]}}"#)).collect();
        let all = all.join(",");
        format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{all}]}}}}"#)
    };
    fake.answer(200, &vector(&["11"]));
    let both = MetricSample { baseline: Some(11.0), candidate: Some(11.0), reason: None };
    let one = MetricSample { baseline: None, ..both.clone() };
    assert_eq!(sampler.sample().await, [both, one]);
    let query = QueryTemplate::parse("queue{version=\"{{version}}\"}").unwrap();
    let provider = PrometheusMetric::new(connection.clone(), query);
    for (status, text, expected) in [
        (500, "no".to_owned(), MetricErrorReason::InvalidResponse),
        (
            422,
            r#"{"status":"error","errorType":"execution","error":"timed out"}"#.to_owned(),
            MetricErrorReason::Rejected,
        ),
        (200, vector(&[]), MetricErrorReason::NoValue),
        (200, vector(&["99", "98"]), MetricErrorReason::SeveralValues),
        (200, vector(&["NaN"]), MetricErrorReason::NotANumber),
    ] {
        fake.answer(status, &text);
        let error = provider.value(plan.template_variables(), &plan.baseline).await.unwrap_err();
        assert_eq!(error.reason, expected, "{error}");
        assert_eq!(fake.asked.lock().unwrap().0, "queue{version=\"v1\"}");
        let MetricSample { baseline: None, candidate: None, reason: Some(reason) } =
            sampler.sample().await.remove(0)
        else {
            panic!("{text}")
        };
        assert_eq!(reason, error.message.replace("v1", "v2"));
    }
}
