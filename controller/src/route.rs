//! Routers: what carries a split to the proxies.

mod envoy_file;
pub mod filter;
pub mod kubernetes;

pub use self::envoy_file::FileError;

use serde::{Deserialize, Serialize};
use serin_filter::names::Generation;
use serin_filter::table::Weight;

/// What puts splits in force.
pub trait Router: Send {
    /// Puts a split in force, with the least movement of users. To apply the same split again changes nothing.
    ///
    /// # Errors
    /// Why it could not, in words for the user. The split before is still in force.
    fn apply(&mut self, split: Split) -> impl Future<Output = Result<(), String>> + Send;

    /// The rollout's generation that a proxy carries which says that it runs this one: what is given to proxies may carry several rollouts.
    fn generation_at(&self, running: Generation) -> Generation;
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
