//! `web` of a metric: a request, and the path of the value in its answer.

use std::path::PathBuf;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use super::template;
use crate::rollout::metric::{HeaderSource, JsonPath, WebHeader, WebMethod, WebQuery};
use crate::spec::error::{SpecError, at};
use crate::spec::value::{SpecDuration, is_http_url};

/// A number in the JSON answer of a URL.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebSpec {
    /// The URL; it may have variables such as {{version}} behind the host.
    url: String,
    /// GET or POST. Default: GET.
    #[serde(default)]
    method: Method,
    /// Headers of the request.
    #[serde(default)]
    headers: Vec<HeaderSpec>,
    /// The body of a POST; it may have variables.
    body: Option<String>,
    /// The JSONPath (RFC 9535) of the value, a number or a string with a number.
    json_path: String,
    /// The time limit for the request and its answer. Default: 10s.
    #[serde(default = "timeout")]
    timeout: SpecDuration,
}

#[derive(Deserialize, JsonSchema, Clone, Copy, Default)]
#[serde(rename_all = "UPPERCASE")]
enum Method {
    #[default]
    Get,
    Post,
}

/// A header with either a value or a file that has the value.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HeaderSpec {
    /// The name.
    key: String,
    /// The value.
    value: Option<String>,
    /// A secret file with the value.
    value_file: Option<PathBuf>,
}

fn timeout() -> SpecDuration {
    SpecDuration(Duration::from_secs(10))
}

impl WebSpec {
    pub(super) fn parse(&self, path: &str) -> Result<WebQuery, SpecError> {
        let url = template(format!("{path}.url"), &self.url)?;
        // The host is fixed: no variable may choose the server that receives the secrets.
        let is_fixed =
            |url: url::Url| url.host_str().is_some_and(|host| !host.contains(['{', '}', '%']));
        if !is_http_url(&self.url) || !url::Url::parse(&self.url).is_ok_and(is_fixed) {
            let message = format!(
                "{:?} is not a URL such as https://metrics.example.com/errors?of={{{{version}}}}, without a user",
                self.url
            );
            return at(format!("{path}.url"), message);
        }
        let body = self.body.as_deref();
        let method = match (self.method, body) {
            (Method::Get, None) => WebMethod::Get,
            (Method::Get, Some(_)) => {
                return at(format!("{path}.body"), "a GET has no body; set method: POST");
            }
            (Method::Post, None) => {
                return at(format!("{path}.body"), "missing; a POST needs a body");
            }
            (Method::Post, Some(body)) => WebMethod::Post(template(format!("{path}.body"), body)?),
        };
        if self.timeout.0.is_zero() {
            return at(format!("{path}.timeout"), "0 leaves no time for an answer");
        }
        let headers = self.headers.iter().enumerate();
        let headers = headers
            .map(|(index, header)| header.parse(&format!("{path}.headers[{index}]")))
            .collect::<Result<_, _>>()?;
        let json_path = JsonPath::parse(&self.json_path)
            .or_else(|error| at(format!("{path}.jsonPath"), error.to_string()))?;
        Ok(WebQuery { url, method, headers, json_path, timeout: self.timeout.0 })
    }
}

impl HeaderSpec {
    fn parse(&self, path: &str) -> Result<WebHeader, SpecError> {
        // The token characters of RFC 9110.
        let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if self.key.is_empty() || !self.key.chars().all(is_token) {
            return at(format!("{path}.key"), format!("{:?} is not a header's name", self.key));
        }
        let value = match (&self.value, &self.value_file) {
            (Some(text), None) if text.chars().any(char::is_control) => {
                return at(format!("{path}.value"), "has a control character");
            }
            (Some(text), None) => HeaderSource::Text(text.clone()),
            (None, Some(file)) => HeaderSource::File(file.clone()),
            _ => return at(path, "exactly one of value and valueFile is needed"),
        };
        Ok(WebHeader { key: self.key.clone(), value })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::*;
    use crate::rollout::metric::MetricProviderConfig;
    use crate::spec::Spec;

    fn parse(web: Value) -> Result<Spec, SpecError> {
        let metrics = json!({ "queries": [{ "name": "queue", "web": web, "atMostTimes": 2 }] });
        let sample = include_str!("../../../../../envoy/rollout.yaml");
        let analysis = format!("  analysis:\n    metrics: {metrics}\n");
        Spec::parse(&sample.replacen("  analysis:\n", &analysis, 1))
    }

    #[test]
    fn a_request_with_headers_and_a_body_is_parsed() {
        let spec = parse(json!({
            "url": "https://metrics.example.com/{{service}}",
            "method": "POST",
            "headers": [
                { "key": "X-Tenant", "value": "shop" },
                { "key": "Authorization", "valueFile": "/secrets/token" },
            ],
            "body": r#"{"version": "{{version}}"}"#,
            "jsonPath": "$.data.value",
            "timeout": "3s",
        }));
        let spec = spec.unwrap();
        let metric = spec.plan.metrics.as_ref().unwrap().all.first().unwrap();
        assert!(metric.provider.is_per_version());
        let MetricProviderConfig::Web(query) = &metric.provider else { panic!("{metric:?}") };
        assert_eq!((query.timeout, query.headers.len()), (Duration::from_secs(3), 2));
        let text = serde_json::to_string(metric).unwrap();
        assert_eq!(serde_json::from_str::<crate::rollout::metric::Metric>(&text).unwrap(), *metric);
        assert!(spec.confine_secrets_to(Some(Path::new("/secrets"))).is_ok());
        assert!(spec.confine_secrets_to(Some(Path::new("/other"))).is_err());
        assert!(spec.confine_secrets_to(None).is_err());
    }

    #[test]
    fn errors_carry_the_path_of_the_field() {
        let url = "http://h/{{version}}";
        let header = |header: Value| json!({ "url": url, "jsonPath": "$", "headers": [header] });
        for (web, expected) in [
            (json!({ "url": "", "jsonPath": "$" }), "url: empty"),
            (json!({ "url": "ftp://h/", "jsonPath": "$" }), "url: "),
            (json!({ "url": "http://u:p@h/", "jsonPath": "$" }), "url: "),
            (json!({ "url": "http://{{service}}/", "jsonPath": "$" }), "url: "),
            (json!({ "url": "http://h/{{servce}}", "jsonPath": "$" }), "url: {{servce}}"),
            (json!({ "url": url, "jsonPath": "{$.a}" }), "jsonPath: "),
            (json!({ "url": url, "jsonPath": "$", "body": "a" }), "body: a GET has no body"),
            (json!({ "url": url, "jsonPath": "$", "method": "POST" }), "body: missing"),
            (json!({ "url": url, "jsonPath": "$", "timeout": "0s" }), "timeout: 0"),
            (header(json!({ "key": "a b", "value": "c" })), "headers[0].key: "),
            (header(json!({ "key": "a", "value": "b\r\nc: d" })), "headers[0].value: "),
            (header(json!({ "key": "a" })), "headers[0]: exactly one of"),
            (header(json!({ "key": "a", "value": "b", "valueFile": "/c" })), "headers[0]: exactly"),
        ] {
            let error = parse(web).err().unwrap().to_string();
            let expected = format!("spec.analysis.metrics.queries[0].web.{expected}");
            assert!(error.starts_with(&expected), "{error}\nis not\n{expected}");
        }
        let error = parse(json!({ "url": "http://h/", "jsonPath": "$" })).err().unwrap();
        assert!(error.to_string().contains("queries[0].atMostTimes"), "{error}");
    }
}
