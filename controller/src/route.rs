//! Routers: what carries a split to the proxies.

mod carrier;
mod envoy_file;
pub mod filter;
pub mod kubernetes;
pub mod plugin;
pub mod xds_group;

pub use self::carrier::Carriers;
pub(crate) use self::envoy_file::Contents;
pub use self::envoy_file::FileError;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serin_filter::config::ConfigError;
use serin_filter::names::Generation;
use serin_filter::table::{TableError, Weight};
use thiserror::Error;

/// What puts splits in force.
pub trait Router: Send {
    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing.
    ///
    /// # Errors
    /// Why it could not, in words for the user. The split before is still in force.
    fn apply(&mut self, split: Split) -> impl Future<Output = Result<(), String>> + Send;

    /// The rollout's generation that a proxy carries which says that it runs this one: what is given to proxies may carry several rollouts.
    fn generation_at(&self, running: Generation) -> Generation;

    /// Who refuses what was asked, and why; `None` where proxies do not tell.
    fn refusals(&self) -> Option<String> {
        None
    }
}

/// Where proxies get the filter's configuration from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A file that they follow.
    File(PathBuf),
    /// The xDS server of `serin serve`; they are in this group, which is their `node.cluster`.
    Group(String),
}

impl Place {
    /// The field of a specification that names it.
    #[must_use]
    pub fn field(&self) -> &'static str {
        match self {
            Self::File(_) => "spec.envoy.filterConfig",
            Self::Group(_) => "spec.envoy.xds",
        }
    }
}

/// Why a split can't be put in force.
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum RouteError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("the filter's configuration for this rollout would not be valid: {0}")]
    Wanted(ConfigError),
    #[error("group {group}: {why}")]
    Group { group: String, why: String },
    #[error("there is no xDS server: `serin serve --xds-listen` has one")]
    NoServer,
    #[error(transparent)]
    Table(#[from] TableError),
}

/// How the users shall be divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// By this number the proxies tell that they follow it.
    pub generation: Generation,
    /// The candidate's share; the baseline has the rest.
    #[serde(with = "crate::rollout::plan::ppm")]
    pub candidate: Weight,
    /// By which salt they are assigned.
    pub users: Users,
}

impl Split {
    /// The baseline has everybody.
    #[must_use]
    pub fn baseline(generation: Generation) -> Self {
        Self { generation, candidate: Weight::ZERO, users: Users::Usual }
    }
}

/// How users are assigned to slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Users {
    /// By the service's own salt.
    #[default]
    Usual,
    /// By the service's own salt, while their future slices are watched.
    Watched,
    /// By the watched salt with this index.
    Salted(usize),
}
