//! A metric that is a number in the JSON answer of a URL.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonpath_rust::parser::model::JpQuery;
use jsonpath_rust::parser::parse_json_path;
use jsonpath_rust::query::js_path_process;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::QueryTemplate;
use crate::rollout::metric::MetricErrorReason;

/// The request for a metric, and the path of its value in the answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebQuery {
    /// The URL.
    pub url: QueryTemplate,
    /// The method and the body.
    pub method: WebMethod,
    /// The headers.
    pub headers: Vec<WebHeader>,
    /// The path of the value.
    pub json_path: JsonPath,
    /// The time limit for the whole exchange.
    pub timeout: Duration,
}

/// The method of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WebMethod {
    /// GET.
    Get,
    /// POST with this body.
    Post(QueryTemplate),
}

/// A header of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WebHeader {
    /// The name.
    pub key: String,
    /// The value.
    pub value: HeaderSource,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HeaderSource {
    /// A fixed text.
    Text(String),
    /// The contents of a secret file. serin reads it for each request, so it can be rotated.
    File(PathBuf),
}

impl WebQuery {
    /// Returns true if the URL or the body has the variable `{{version}}`.
    #[must_use]
    pub fn is_per_version(&self) -> bool {
        let body = match &self.method {
            WebMethod::Get => None,
            WebMethod::Post(body) => Some(body),
        };
        [Some(&self.url), body].into_iter().flatten().any(QueryTemplate::is_per_version)
    }

    /// The secret files of the headers.
    #[must_use]
    pub fn secret_files(&self) -> Vec<&Path> {
        let files = self.headers.iter().filter_map(|header| match &header.value {
            HeaderSource::Text(_) => None,
            HeaderSource::File(path) => Some(path.as_path()),
        });
        files.collect()
    }
}

/// A JSONPath (RFC 9535).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonPath {
    text: String,
    query: JpQuery,
}

/// A text is not a valid JSONPath.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub enum JsonPathError {
    #[error("{0:?} is not a JSONPath (RFC 9535) such as $.data.value")]
    Syntax(String),
    #[error("{0:?} has \"..\" more than once: its cost grows with a power of the answer's size")]
    TooExpensive(String),
}

impl JsonPath {
    /// Parses a path.
    ///
    /// # Errors
    /// The text is not a valid path, or its evaluation may be too expensive.
    pub fn parse(text: &str) -> Result<Self, JsonPathError> {
        if text.matches("..").count() > 1 {
            return Err(JsonPathError::TooExpensive(text.to_owned()));
        }
        match parse_json_path(text) {
            Ok(query) => Ok(Self { text: text.to_owned(), query }),
            Err(_) => Err(JsonPathError::Syntax(text.to_owned())),
        }
    }

    /// The text of the path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one number at the path: a JSON number, or a string with a number.
    ///
    /// # Errors
    /// The path selects nothing, several values, or a value that is not a finite number.
    pub fn number(&self, document: &Value) -> Result<f64, MetricErrorReason> {
        let selected = js_path_process(&self.query, document).unwrap_or_default();
        let mut selected = selected.into_iter().map(|reference| reference.val());
        let value = selected.next().ok_or(MetricErrorReason::NoValue)?;
        if selected.next().is_some() {
            return Err(MetricErrorReason::SeveralValues);
        }
        let number = match value {
            Value::Null => return Err(MetricErrorReason::NoValue),
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.filter(|number| number.is_finite()).ok_or(MetricErrorReason::NotANumber)
    }
}

impl TryFrom<String> for JsonPath {
    type Error = JsonPathError;

    fn try_from(text: String) -> Result<Self, JsonPathError> {
        Self::parse(&text)
    }
}

impl From<JsonPath> for String {
    fn from(path: JsonPath) -> Self {
        path.text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_path_selects_one_number() {
        let document = json!({
            "a": 1.5, "text": " 2e3 ", "flag": true, "none": null, "list": [1, 2], "inf": "inf",
            "versions": [{ "name": "v1", "errors": 3 }, { "name": "v2", "errors": 4 }],
        });
        for (path, expected) in [
            ("$.a", Ok(1.5)),
            ("$['text']", Ok(2000.0)),
            ("$.list[-1]", Ok(2.0)),
            ("$.versions[?@.name == 'v2'].errors", Ok(4.0)),
            ("$.missing", Err(MetricErrorReason::NoValue)),
            ("$.none", Err(MetricErrorReason::NoValue)),
            ("$.list[*]", Err(MetricErrorReason::SeveralValues)),
            ("$..errors", Err(MetricErrorReason::SeveralValues)),
            ("$.list", Err(MetricErrorReason::NotANumber)),
            ("$.flag", Err(MetricErrorReason::NotANumber)),
            ("$.inf", Err(MetricErrorReason::NotANumber)),
        ] {
            assert_eq!(JsonPath::parse(path).unwrap().number(&document), expected, "{path}");
        }
    }

    #[test]
    fn invalid_paths_are_rejected() {
        for text in ["", "a", "{$.a}", "$.", "$["] {
            assert!(matches!(JsonPath::parse(text), Err(JsonPathError::Syntax(_))), "{text}");
        }
        assert!(matches!(JsonPath::parse("$..a..b"), Err(JsonPathError::TooExpensive(_))));
    }
}
