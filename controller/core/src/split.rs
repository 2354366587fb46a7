//! How users are divided between the two versions.

use serde::{Deserialize, Serialize};
use serin_filter::names::Generation;
use serin_filter::table::Weight;

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
