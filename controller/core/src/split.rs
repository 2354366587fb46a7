//! The division of users between the two versions.

use serde::{Deserialize, Serialize};
use serin_filter::names::Generation;
use serin_filter::table::Weight;

/// A division of the users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The number by which proxies report that they run this split.
    pub generation: Generation,
    /// The candidate's share of the users.
    #[serde(with = "ppm")]
    pub candidate: Weight,
    /// The salt that assigns users.
    pub assignment: UserAssignment,
}

impl Split {
    /// A split that sends all users to the baseline.
    #[must_use]
    pub fn baseline(generation: Generation) -> Self {
        Self { generation, candidate: Weight::ZERO, assignment: UserAssignment::ServiceSalt }
    }
}

/// The assignment of users to slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserAssignment {
    /// By the service's salt.
    #[default]
    ServiceSalt,
    /// By the service's salt, during an A/A test of other salts.
    AaTest,
    /// By the tested salt with this index.
    TestedSalt(usize),
}

/// Weights as parts per million.
pub(crate) mod ppm {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serin_filter::table::Weight;

    pub(crate) fn serialize<S: Serializer>(weight: &Weight, to: S) -> Result<S::Ok, S::Error> {
        weight.ppm().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Weight, D::Error> {
        let ppm = u32::deserialize(from)?;
        Weight::from_ppm(ppm).ok_or_else(|| D::Error::custom(format!("{ppm} is above 1000000")))
    }
}
