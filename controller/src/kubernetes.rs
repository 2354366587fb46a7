//! A Kubernetes cluster: its objects, what in them is changed, the lease of the leader, and events.
pub mod client;
pub mod condition;
pub mod crd;
pub mod deployments;
pub mod destinations;
pub mod event_mapping;
pub mod events;
pub mod fence;
pub mod leader;
pub mod lease;
pub mod objects;
pub mod patches;
pub mod pods;
pub mod status;
