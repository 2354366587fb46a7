//! Metrics that are not counts of requests: values of a query, such as the memory of an instance or the length of a queue. What is asked
//! and what it is held to is decided here; [`serin::sources::prometheus::Surveyor`] asks.

mod rule;
mod template;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use self::rule::Rule;
pub use self::template::{Names, Template, TemplateError};
use crate::config::prometheus::Connection;

/// The metrics of a rollout, and where they are asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Who is asked.
    pub prometheus: Connection,
    /// How often.
    pub every: Duration,
    /// What; at least one.
    pub all: Vec<Metric>,
}

/// A metric and what it has to keep to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What people call it.
    pub name: String,
    /// Gives one value; about each version if it has the variable `{{version}}`, else about the candidate.
    pub query: Template,
    /// The values that are good.
    pub rule: Rule,
}

/// What was measured of one metric at one time. A query that is not answered, or with none or several values, has no value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Measured {
    /// The baseline's value, if one was asked for and there is one.
    pub baseline: Option<f64>,
    /// The candidate's value, if there is one.
    pub candidate: Option<f64>,
    /// Why a value is missing.
    pub why: Option<String>,
}
