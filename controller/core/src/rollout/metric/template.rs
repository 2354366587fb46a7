//! Queries with variables of the rollout, such as `{{service}}`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serin_filter::names::{ServiceName, VersionName};
use thiserror::Error;

/// A query template whose variables are all known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueryTemplate {
    /// Each text and the variable after it.
    parts: Vec<(String, Variable)>,
    rest: String,
}

/// A text is not a valid template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub enum QueryTemplateError {
    #[error("\"{{{{\" without \"}}}}\" behind it")]
    Open,
    #[error("{{{{{0}}}}} is none of the variables {known}", known = Variable::known())]
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Variable {
    Rollout,
    Service,
    Baseline,
    Candidate,
    Version,
}

impl Variable {
    const ALL: [(&str, Self); 5] = [
        ("rollout", Self::Rollout),
        ("service", Self::Service),
        ("baseline", Self::Baseline),
        ("candidate", Self::Candidate),
        ("version", Self::Version),
    ];

    fn known() -> String {
        Self::ALL.map(|(name, _)| format!("{{{{{name}}}}}")).join(", ")
    }
}

/// The values of the variables. They are names, and need no escapes in PromQL.
#[derive(Debug, Clone, Copy)]
pub struct TemplateVariables<'r> {
    /// The rollout's name.
    pub rollout: &'r str,
    /// The service.
    pub service: &'r ServiceName,
    /// The version that serves all users at the start.
    pub baseline: &'r VersionName,
    /// The version to roll out.
    pub candidate: &'r VersionName,
}

impl QueryTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// A variable is unknown or unterminated.
    pub fn parse(text: &str) -> Result<Self, QueryTemplateError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once("{{") {
            let (name, behind) = behind.split_once("}}").ok_or(QueryTemplateError::Open)?;
            let known = Variable::ALL.iter().find(|(known, _)| *known == name.trim());
            let (_, variable) =
                known.ok_or_else(|| QueryTemplateError::Unknown(name.trim().to_owned()))?;
            parts.push((before.to_owned(), *variable));
            rest = behind;
        }
        Ok(Self { parts, rest: rest.to_owned() })
    }

    /// Renders the query for a version.
    #[must_use]
    pub fn render(&self, names: TemplateVariables<'_>, version: &VersionName) -> String {
        let mut query = String::new();
        for (text, variable) in &self.parts {
            query.push_str(text);
            query.push_str(match variable {
                Variable::Rollout => names.rollout,
                Variable::Service => names.service.as_str(),
                Variable::Baseline => names.baseline.as_str(),
                Variable::Candidate => names.candidate.as_str(),
                Variable::Version => version.as_str(),
            });
        }
        query.push_str(&self.rest);
        query
    }

    /// Returns true if the query has the variable `{{version}}`.
    #[must_use]
    pub fn is_per_version(&self) -> bool {
        self.parts.iter().any(|(_, variable)| *variable == Variable::Version)
    }
}

impl fmt::Display for QueryTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (text, variable) in &self.parts {
            let name = Variable::ALL.iter().find(|(_, known)| known == variable);
            write!(f, "{text}{{{{{}}}}}", name.map_or("", |(name, _)| name))?;
        }
        f.write_str(&self.rest)
    }
}

impl TryFrom<String> for QueryTemplate {
    type Error = QueryTemplateError;

    fn try_from(text: String) -> Result<Self, QueryTemplateError> {
        Self::parse(&text)
    }
}

impl From<QueryTemplate> for String {
    fn from(template: QueryTemplate) -> Self {
        template.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_variables_are_rejected() {
        for (text, expected) in [
            (
                "up{x=\"{{sevice}}\"}",
                "{{sevice}} is none of the variables {{rollout}}, {{service}}, {{baseline}}, {{candidate}}, {{version}}",
            ),
            ("up{x=\"{{service\"}", "\"{{\" without \"}}\" behind it"),
        ] {
            assert_eq!(QueryTemplate::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn variables_are_replaced() {
        let service = "shop".parse().unwrap();
        let [baseline, candidate, other] = ["v1", "v2", "v9"].map(|name| name.parse().unwrap());
        let variables = TemplateVariables {
            rollout: "shop-v2",
            service: &service,
            baseline: &baseline,
            candidate: &candidate,
        };
        let text =
            "a{s=\"{{service}}\",v=\"{{ version }}\"} / b{v=~\"{{baseline}}|{{candidate}}\"}";
        let template = QueryTemplate::parse(text).unwrap();
        let query = template.render(variables, &other);
        assert_eq!(query, "a{s=\"shop\",v=\"v9\"} / b{v=~\"v1|v2\"}");
        assert!(template.is_per_version());
        assert_eq!(template.to_string(), text.replace(' ', "").replace("}/b", "} / b"));
        assert!(!QueryTemplate::parse("sum(up)").unwrap().is_per_version());
    }
}
