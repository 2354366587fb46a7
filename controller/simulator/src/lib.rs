//! Simulates a rollout in virtual time against synthetic traffic.
//!
//! The state machine, the judge and the differencing of counters are those of `serin run`. Only the
//! proxies and their callers are synthetic: [`traffic`] describes them, [`fleet`] runs them. A user
//! learns how long a plan takes with their traffic and how many users a bad release reaches, and the
//! claims about the judge can be measured. The rules of the [`peers`] run against the same traffic.
//!
//! The seed determines a run: the same seed gives the same run.

mod arm;
pub mod controller;
pub mod fleet;
mod latency;
pub mod peers;
pub mod sampling;
pub mod serin_controller;
pub mod traffic;
pub mod trial;
pub mod users;

#[cfg(test)]
mod tests;
