//! The decisions of serin, without I/O: no socket, file or clock. Time and observations come in;
//! actions and events go out.
//!
//! - [`spec`]: the specification that a user writes, and its parsed form.
//! - [`rollout`]: the plan of a specification, and the state machine that carries it out.
//! - [`judge`]: sequential tests of whether the candidate is worse.
//! - [`observation`]: proxies' counters, differenced between polls.
//! - [`split`]: the division of users between the versions.
//! - [`config`]: the addresses of proxies, meshes and metrics.
//! - [`driver`]: the order in which inputs are decided, persisted and executed.
//! - [`ports`]: the interfaces of the engine to its environment.

pub mod config;
pub mod driver;
pub mod judge;
pub mod observation;
pub mod ports;
pub mod rollout;
pub mod spec;
pub mod split;
