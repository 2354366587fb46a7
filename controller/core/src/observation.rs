//! Observations: the filters' counters, differenced for each proxy and summed over the fleet.

pub mod aggregator;
mod counters;
mod delta_tracker;
mod fleet_delta;
pub mod health;
pub mod inference;
pub mod series;
mod slices;
mod snapshot;
mod version_delta;

pub use self::counters::Counters;
pub use self::delta_tracker::DeltaTracker;
pub use self::fleet_delta::{FleetDelta, Observation};
pub use self::health::FleetHealth;
pub use self::slices::SliceCounts;
pub use self::snapshot::Snapshot;
pub use self::version_delta::VersionDelta;
