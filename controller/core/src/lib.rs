//! What serin decides, without any I/O: no socket, file or clock. Time and evidence come in, actions and events go out.
//!
//! - [`spec`]: the specification, as people write it, and what it is checked into.
//! - [`rollout`]: the plan made of it, and the state machine that carries the plan out.
//! - [`judge`]: whether the candidate is worse, by sequential tests.
//! - [`observation`]: what proxies count, made into what happened since the last poll.
//! - [`split`]: how users are divided.
//! - [`config`]: where proxies, meshes and metrics are.
//! - [`ports`]: what the engine needs of the world.

pub mod config;
pub mod judge;
pub mod observation;
pub mod ports;
pub mod rollout;
pub mod spec;
pub mod split;
