//! Service level indicators: the ways in which a request can be bad.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of bad request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sli {
    /// Failed.
    Errors,
    /// Slower than a boundary.
    Latency {
        /// Index of the boundary in the settings.
        boundary: usize,
    },
}

impl fmt::Display for Sli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Errors => "errors",
            Self::Latency { .. } => "latency",
        })
    }
}
