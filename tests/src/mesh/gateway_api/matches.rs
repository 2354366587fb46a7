//! The matches of HTTPRoutes and GRPCRoutes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Precision, RequestMatch};
use crate::mesh::http::{self, Match};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(in crate::mesh) struct HttpMatch {
    path: Option<PathMatch>,
    method: Option<String>,
    #[serde(default)]
    headers: Vec<NamedMatch>,
    #[serde(default)]
    query_params: Vec<NamedMatch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathMatch {
    #[serde(default, rename = "type")]
    kind: PathKind,
    #[serde(default = "root")]
    value: String,
}

fn root() -> String {
    "/".to_owned()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
enum PathKind {
    Exact,
    #[default]
    PathPrefix,
    RegularExpression,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NamedMatch {
    #[serde(default, rename = "type")]
    kind: TextKind,
    name: String,
    value: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
enum TextKind {
    #[default]
    Exact,
    RegularExpression,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::mesh) struct GrpcMatch {
    method: Option<GrpcMethod>,
    #[serde(default)]
    headers: Vec<NamedMatch>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GrpcMethod {
    #[serde(default, rename = "type")]
    kind: TextKind,
    service: Option<String>,
    method: Option<String>,
}

impl RequestMatch for HttpMatch {
    fn envoy(&self) -> Match {
        let mut all = Match::all();
        if let Some(path) = &self.path {
            all.path = path.envoy();
        }
        all.headers.extend(self.method.iter().map(|method| http::exact(":method", method)));
        all.headers.extend(self.headers.iter().map(NamedMatch::envoy));
        all.query.extend(self.query_params.iter().map(NamedMatch::envoy));
        all
    }

    fn precision(&self) -> Precision {
        let path = self.path.as_ref();
        Precision {
            exact: path.is_some_and(|path| path.kind == PathKind::Exact),
            path: path.map_or(1, |path| path.value.len()),
            method: self.method.is_some(),
            headers: self.headers.len(),
            query: self.query_params.len(),
        }
    }
}

impl RequestMatch for GrpcMatch {
    fn envoy(&self) -> Match {
        let mut all = Match::all();
        all.path = self.method.as_ref().map_or(all.path, GrpcMethod::envoy);
        all.headers.extend(self.headers.iter().map(NamedMatch::envoy));
        all
    }

    fn precision(&self) -> Precision {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let method = self.method.as_ref();
        Precision {
            exact: method.is_some_and(|method| method.kind == TextKind::Exact),
            path: method.map_or(0, |method| length(&method.service)),
            method: method.is_some_and(|method| method.method.is_some()),
            headers: self.headers.len(),
            query: 0,
        }
    }
}

impl PathMatch {
    fn envoy(&self) -> (&'static str, Value) {
        match self.kind {
            PathKind::Exact => ("path", self.value.as_str().into()),
            PathKind::RegularExpression => ("safe_regex", json!({ "regex": self.value })),
            // A prefix consists of whole path elements: /cart does not match /cartoons.
            PathKind::PathPrefix => match self.value.trim_end_matches('/') {
                "" => ("prefix", "/".into()),
                elements => ("path_separated_prefix", elements.into()),
            },
        }
    }
}

impl NamedMatch {
    fn envoy(&self) -> Value {
        match self.kind {
            TextKind::Exact => http::exact(&self.name, &self.value),
            TextKind::RegularExpression => http::regex(&self.name, &self.value),
        }
    }
}

impl GrpcMethod {
    fn envoy(&self) -> (&'static str, Value) {
        let [service, method] = [&self.service, &self.method].map(Option::as_deref);
        match (self.kind, service, method) {
            (TextKind::Exact, Some(service), Some(method)) => {
                ("path", format!("/{service}/{method}").into())
            }
            (TextKind::Exact, Some(service), None) => ("prefix", format!("/{service}/").into()),
            (TextKind::Exact, None, Some(method)) => {
                ("safe_regex", json!({ "regex": format!("/[^/]+/{method}") }))
            }
            (_, service, method) => {
                let any = "[^/]+";
                let regex = format!("/{}/{}", service.unwrap_or(any), method.unwrap_or(any));
                ("safe_regex", json!({ "regex": regex }))
            }
        }
    }
}
