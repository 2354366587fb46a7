//! Routers: what carries a split to the proxies.

pub mod capacity_gate;
mod envoy_file;
pub mod filter;
pub mod plugin;
mod sink;
mod sinks;
pub mod weights;
pub mod xds_group;

use serin_filter::config::ConfigError;
use serin_filter::table::TableError;
use thiserror::Error;

pub(crate) use self::envoy_file::Contents;
pub use self::envoy_file::FileError;
pub use self::sinks::ConfigSinks;

/// Why a split can't be put in force.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum RouteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the filter's configuration for this rollout would not be valid: {0}")]
    Wanted(ConfigError),
    #[error("group {group}: {reason}")]
    Group { group: String, reason: String },
    #[error("there is no xDS server: `serin serve --xds-listen` has one")]
    NoServer,
    #[error(transparent)]
    Table(#[from] TableError),
}
