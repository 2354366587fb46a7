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
    #[serde(with = "ppm")]
    pub candidate: Weight,
    /// By which salt they are assigned.
    pub assignment: UserAssignment,
}

impl Split {
    /// The baseline has everybody.
    #[must_use]
    pub fn baseline(generation: Generation) -> Self {
        Self { generation, candidate: Weight::ZERO, assignment: UserAssignment::ServiceSalt }
    }
}

/// How users are assigned to slices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum UserAssignment {
    /// By the service's own salt.
    #[default]
    ServiceSalt,
    /// By the service's own salt, while their future slices are watched.
    AaTest,
    /// By the watched salt with this index.
    TestedSalt(usize),
}

/// Serializes a weight as parts per million.
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
