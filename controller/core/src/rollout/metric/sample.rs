//! One measurement of a metric.

use serde::{Deserialize, Serialize};

/// The values of one metric at one time. A failed query, or one with zero or several values, gives
/// no value.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MetricSample {
    /// The baseline's value, if it was queried and exists.
    pub baseline: Option<f64>,
    /// The candidate's value, if it exists.
    pub candidate: Option<f64>,
    /// The reason why a value is missing.
    pub reason: Option<String>,
}
