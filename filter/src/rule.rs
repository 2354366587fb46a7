//! Exceptions from the split: which requests do not go by weight, and where they go. Pure.

use crate::config::wire::{Named, When};
use crate::request::Request;

/// A checked exception.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What the request has to be like.
    pub when: When,
    /// The version that gets it, by index; `None`: it is left alone.
    pub version: Option<usize>,
}

impl Rule {
    /// Whether all conditions hold.
    #[must_use]
    pub fn matches(&self, request: &impl Request) -> bool {
        let When { header, cookie, path_prefix, method } = &self.when;
        let is = |value: Option<Vec<u8>>, named: &Named| {
            value.is_some_and(|value| {
                named.value.as_ref().is_none_or(|wanted| wanted.as_bytes() == value)
            })
        };
        let method_is = |wanted: &String| {
            request.header(":method").is_some_and(|method| method == wanted.as_bytes())
        };
        let path_begins = |prefix: &String| {
            request.header(":path").is_some_and(|path| path.starts_with(prefix.as_bytes()))
        };
        method.as_ref().is_none_or(method_is)
            && path_prefix.as_ref().is_none_or(path_begins)
            && header.as_ref().is_none_or(|named| is(request.header(&named.name), named))
            && cookie.as_ref().is_none_or(|named| is(request.cookie(&named.name), named))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::Made;

    fn rule(when: &str) -> Rule {
        Rule { when: serde_json::from_str(when).unwrap(), version: None }
    }

    #[test]
    fn every_condition_must_hold() {
        let request = Made::with(":method", "GET").and(":path", "/api/x?y").and("x-beta", "1");
        let request = request.and("cookie", "beta=yes");
        for (when, expected) in [
            (r#"{"method": "GET"}"#, true),
            (r#"{"method": "get"}"#, false),
            (r#"{"pathPrefix": "/api/"}"#, true),
            (r#"{"pathPrefix": "/ap/"}"#, false),
            (r#"{"header": {"name": "x-beta"}}"#, true),
            (r#"{"header": {"name": "x-beta", "value": "1"}}"#, true),
            (r#"{"header": {"name": "x-beta", "value": "2"}}"#, false),
            (r#"{"header": {"name": "x-other"}}"#, false),
            (r#"{"cookie": {"name": "beta", "value": "yes"}}"#, true),
            (r#"{"cookie": {"name": "beta", "value": "no"}}"#, false),
            (r#"{"method": "GET", "pathPrefix": "/api/", "header": {"name": "x-beta"}}"#, true),
            (r#"{"method": "POST", "pathPrefix": "/api/", "header": {"name": "x-beta"}}"#, false),
        ] {
            assert_eq!(rule(when).matches(&request), expected, "{when}");
        }
        assert!(!rule(r#"{"method": "GET"}"#).matches(&Made::default()));
    }
}
