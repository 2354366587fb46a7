//! Queries with variables of the rollout, such as `{{service}}`.

use std::fmt;

use thiserror::Error;

use crate::rollout::plan::Plan;

/// A query in which variables have been found to be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Text, and the variable behind it.
    parts: Vec<(String, Variable)>,
    rest: String,
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs)] // the messages say it
pub enum TemplateError {
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

/// What the variables stand for. They are names, and need no escapes in PromQL.
#[derive(Debug, Clone, Copy)]
pub struct Variables<'r> {
    /// Gives the names of rollout, service, baseline and candidate.
    pub plan: &'r Plan,
    /// The version that the query is asked about.
    pub version: &'r str,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A variable is not known, or does not end.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((before, behind)) = rest.split_once("{{") {
            let (name, behind) = behind.split_once("}}").ok_or(TemplateError::Open)?;
            let known = Variable::ALL.iter().find(|(known, _)| *known == name.trim());
            let (_, variable) =
                known.ok_or_else(|| TemplateError::Unknown(name.trim().to_owned()))?;
            parts.push((before.to_owned(), *variable));
            rest = behind;
        }
        Ok(Self { parts, rest: rest.to_owned() })
    }

    /// The query with these values.
    #[must_use]
    pub fn render(&self, Variables { plan, version }: Variables) -> String {
        let mut query = String::new();
        for (text, variable) in &self.parts {
            query.push_str(text);
            query.push_str(match variable {
                Variable::Rollout => &plan.name,
                Variable::Service => plan.service.as_str(),
                Variable::Baseline => plan.baseline.as_str(),
                Variable::Candidate => plan.candidate.as_str(),
                Variable::Version => version,
            });
        }
        query.push_str(&self.rest);
        query
    }

    /// Whether it asks about one version at a time.
    #[must_use]
    pub fn is_per_version(&self) -> bool {
        self.parts.iter().any(|(_, variable)| *variable == Variable::Version)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (text, variable) in &self.parts {
            let name = Variable::ALL.iter().find(|(_, known)| known == variable);
            write!(f, "{text}{{{{{}}}}}", name.map_or("", |(name, _)| name))?;
        }
        f.write_str(&self.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_refused() {
        for (text, expected) in [
            (
                "up{x=\"{{sevice}}\"}",
                "{{sevice}} is none of the variables {{rollout}}, {{service}}, {{baseline}}, {{candidate}}, {{version}}",
            ),
            ("up{x=\"{{service\"}", "\"{{\" without \"}}\" behind it"),
        ] {
            assert_eq!(Template::parse(text).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn variables_are_replaced() {
        let sample = include_str!("../../../../envoy/rollout.yaml");
        let plan = crate::rollout::spec::Spec::parse(sample).unwrap().plan;
        let text =
            "a{s=\"{{service}}\",v=\"{{ version }}\"} / b{v=~\"{{baseline}}|{{candidate}}\"}";
        let template = Template::parse(text).unwrap();
        let query = template.render(Variables { plan: &plan, version: "v9" });
        assert_eq!(query, "a{s=\"shop\",v=\"v9\"} / b{v=~\"v1|v2\"}");
        assert!(template.is_per_version());
        assert_eq!(template.to_string(), text.replace(' ', "").replace("}/b", "} / b"));
        assert!(!Template::parse("sum(up)").unwrap().is_per_version());
    }
}
