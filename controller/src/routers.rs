//! Routers: they apply splits to the proxies.

pub mod capacity_gate;
mod envoy_file;
pub mod filter;
pub mod plugin;
mod sink;
mod sinks;
pub mod weights;
pub mod xds_group;

use serin_core::config::mesh::NotPercent;
use serin_filter::config::ConfigError;
use serin_filter::names::Generation;
use serin_filter::table::{TableError, Weight};
use thiserror::Error;

pub(crate) use self::envoy_file::Contents;
pub use self::envoy_file::FileError;
pub use self::sink::SinkConfig;
pub use self::sinks::ConfigSinks;
use self::xds_group::GroupStoreError;
use crate::kubernetes::deployments::CapacityError;
use crate::kubernetes::objects::ClusterError;
use crate::kubernetes::patches::Drift;

/// A split can't be applied.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum RouteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("this rollout's filter configuration is invalid: {0}")]
    InvalidConfig(ConfigError),
    #[error("group {group}: {reason}")]
    Group { group: String, reason: String },
    #[error(transparent)]
    GroupStore(#[from] GroupStoreError),
    #[error("no xDS server runs here: use `serin serve --xds-listen`")]
    NoXdsServer,
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Percent(#[from] NotPercent),
    #[error(
        "{0}; with `drift: respect` the rollout continues after the written weights are restored"
    )]
    DriftRespected(Drift),
    #[error(transparent)]
    Capacity(#[from] CapacityError),
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// The split in force before a rollout starts or resumes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresentSplit {
    /// The rollout's generation; `None` where routes carry no generation.
    pub generation: Option<Generation>,
    /// The candidate's weight.
    pub candidate: Weight,
    /// The weight of versions outside the rollout.
    pub others: Weight,
}
