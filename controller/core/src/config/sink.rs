//! The place from which proxies load the filter's configuration.

use std::path::PathBuf;

/// The place from which proxies load the filter's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SinkLocation {
    /// A file that the proxies watch.
    File(PathBuf),
    /// The xDS server of `serin serve`, for the proxies whose `node.cluster` is this group.
    Group(String),
}

impl SinkLocation {
    /// The path of the field that names it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::File(_) => "spec.envoy.filterConfig",
            Self::Group(_) => "spec.envoy.xds",
        }
    }
}
