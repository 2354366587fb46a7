//! serin's xDS server with real Envoys, on the shipped bootstrap, and with clients that misbehave.

mod client;
mod delivery;
mod misbehaviour;
mod rejection;
mod restart;
mod rollout;
mod tls;
mod world;
