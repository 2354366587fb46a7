//! The client of the API server, which counts and times its requests.

use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{Method, Request, Response, StatusCode, Uri};
use futures_util::future::BoxFuture;
use kube::client::ClientBuilder;
use kube::{Client, Config, Error};
use tokio::time::Instant;
use tower::layer::layer_fn;
use tower::{BoxError, Service};

use crate::telemetry::operator::{OperatorMetrics, RequestLabels};

/// A client that logs in by this configuration.
///
/// # Errors
/// The configuration is not valid.
pub(crate) fn connect(config: Config, metrics: Arc<OperatorMetrics>) -> Result<Client, Error> {
    let layer = layer_fn(|service| MeteredService { service, metrics: metrics.clone() });
    Ok(ClientBuilder::try_from(config)?.with_layer(&layer).build())
}

#[derive(Debug, Clone)]
struct MeteredService<S> {
    service: S,
    metrics: Arc<OperatorMetrics>,
}

impl<S, B, R> Service<Request<B>> for MeteredService<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut meter = RequestMeter {
            metrics: self.metrics.clone(),
            labels: labels(request.method(), request.uri()),
            code: "none".to_owned(),
            sent: Instant::now(),
        };
        let answer = self.service.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            meter.answered(answer.status());
            Ok(answer)
        })
    }
}

/// Reports a request when it ends, and also when its caller gives it up.
struct RequestMeter {
    metrics: Arc<OperatorMetrics>,
    labels: RequestLabels,
    code: String,
    sent: Instant,
}

impl RequestMeter {
    fn answered(&mut self, status: StatusCode) {
        self.code = status.as_u16().to_string();
    }
}

impl Drop for RequestMeter {
    fn drop(&mut self) {
        self.metrics.request(&self.labels, &self.code, self.sent.elapsed());
    }
}

/// Verb and resource as in RBAC, from a path such as `/apis/GROUP/VERSION/namespaces/NAMESPACE/RESOURCE/NAME/SUBRESOURCE`.
fn labels(method: &Method, uri: &Uri) -> RequestLabels {
    let mut parts: Vec<_> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
    let prefix = if parts.first() == Some(&"api") { 2 } else { 3 };
    parts.drain(..prefix.min(parts.len()));
    if let ["namespaces", _, _, ..] = parts[..] {
        parts.drain(..2);
    }
    let resource = match parts[..] {
        [resource, _, subresource, ..] => format!("{resource}/{subresource}"),
        [resource, ..] => resource.to_owned(),
        [] => String::new(),
    };
    let watches =
        uri.query().is_some_and(|query| query.split('&').any(|it| it.starts_with("watch=")));
    let verb = match *method {
        Method::GET if watches => "watch",
        Method::GET if parts.len() < 2 => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    RequestLabels { verb, resource }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_labelled_as_in_rbac() {
        for (method, path, verb, resource) in [
            (Method::GET, "/api/v1/namespaces/shop/pods?&watch=true", "watch", "pods"),
            (
                Method::GET,
                "/apis/serin.dev/v1alpha1/servicerollouts?&limit=1",
                "list",
                "servicerollouts",
            ),
            (Method::GET, "/apis/apps/v1/namespaces/shop/deployments/cart", "get", "deployments"),
            (
                Method::PUT,
                "/apis/serin.dev/v1alpha1/namespaces/a/servicerollouts/b/status",
                "update",
                "servicerollouts/status",
            ),
            (Method::POST, "/apis/events.k8s.io/v1/namespaces/a/events", "create", "events"),
            (Method::GET, "/", "list", ""),
        ] {
            let labels = labels(&method, &path.parse().unwrap());
            assert_eq!((labels.verb, &*labels.resource), (verb, resource), "{path}");
        }
    }
}
