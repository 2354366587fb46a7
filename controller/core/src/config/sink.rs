//! Where proxies take the configuration of the filter from.

use std::path::PathBuf;

/// Where proxies get the filter's configuration from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkLocation {
    /// A file that they follow.
    File(PathBuf),
    /// The xDS server of `serin serve`; they are in this group, which is their `node.cluster`.
    Group(String),
}

impl SinkLocation {
    /// The field of a specification that names it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::File(_) => "spec.envoy.filterConfig",
            Self::Group(_) => "spec.envoy.xds",
        }
    }
}
