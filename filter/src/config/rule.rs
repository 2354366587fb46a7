//! Rules: exceptions from the split.

use crate::config::wire::{KeyValueMatch, RuleMatch};
use crate::request::Request;

/// A valid rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Conditions on the request.
    pub when: RuleMatch,
    /// Index of the version that serves the request, or `None` to bypass the filter.
    pub version: Option<usize>,
}

impl Rule {
    /// Whether the request meets all conditions.
    #[must_use]
    pub fn matches(&self, request: &impl Request) -> bool {
        let RuleMatch { header, cookie, path_prefix, method } = &self.when;
        let header_matches = |KeyValueMatch { name, value }: &KeyValueMatch| match value.as_deref()
        {
            Some(value) if !value.is_empty() => {
                request.header(name).is_some_and(|other| other == value.as_bytes())
            }
            Some(_) => request.header(name).is_none() && request.first_line(name).is_some(),
            None => request.first_line(name).is_some(),
        };
        let cookie_matches = |KeyValueMatch { name, value }: &KeyValueMatch| {
            request.cookie(name).is_some_and(|other| {
                value.as_ref().is_none_or(|expected| expected.as_bytes() == other)
            })
        };
        let method_matches = |expected: &String| {
            request.header(":method").is_some_and(|method| method == expected.as_bytes())
        };
        let path_matches = |prefix: &String| {
            request.header(":path").is_some_and(|path| path.starts_with(prefix.as_bytes()))
        };
        method.as_ref().is_none_or(method_matches)
            && path_prefix.as_ref().is_none_or(path_matches)
            && header.as_ref().is_none_or(header_matches)
            && cookie.as_ref().is_none_or(cookie_matches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::FakeRequest;

    fn rule(when: &str) -> Rule {
        Rule { when: serde_json::from_str(when).unwrap(), version: None }
    }

    #[test]
    fn a_rule_matches_if_all_conditions_hold() {
        let request =
            FakeRequest::with(":method", "GET").and(":path", "/api/x?y").and("x-beta", "1");
        let request = request.and("cookie", "beta=yes").and("x-empty", "");
        let request = request.and("x-twice", "a").and("x-twice", "b");
        for (when, expected) in [
            (r#"{"method": "GET"}"#, true),
            (r#"{"method": "get"}"#, false),
            (r#"{"pathPrefix": "/api/"}"#, true),
            (r#"{"pathPrefix": "/ap/"}"#, false),
            (r#"{"header": {"name": "x-beta"}}"#, true),
            (r#"{"header": {"name": "x-beta", "value": "1"}}"#, true),
            (r#"{"header": {"name": "x-beta", "value": "2"}}"#, false),
            (r#"{"header": {"name": "x-other"}}"#, false),
            (r#"{"header": {"name": "x-other", "value": ""}}"#, false),
            (r#"{"header": {"name": "x-empty"}}"#, true),
            (r#"{"header": {"name": "x-empty", "value": ""}}"#, true),
            (r#"{"header": {"name": "x-twice", "value": "a,b"}}"#, true),
            (r#"{"header": {"name": "x-twice", "value": "a"}}"#, false),
            (r#"{"cookie": {"name": "beta", "value": "yes"}}"#, true),
            (r#"{"cookie": {"name": "beta", "value": "no"}}"#, false),
            (r#"{"method": "GET", "pathPrefix": "/api/", "header": {"name": "x-beta"}}"#, true),
            (r#"{"method": "POST", "pathPrefix": "/api/", "header": {"name": "x-beta"}}"#, false),
        ] {
            assert_eq!(rule(when).matches(&request), expected, "{when}");
        }
        assert!(!rule(r#"{"method": "GET"}"#).matches(&FakeRequest::default()));
    }
}
