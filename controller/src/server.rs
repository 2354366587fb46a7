//! `serin serve`: many rollouts in a store, controlled over HTTP.
pub mod api;
pub mod supervisor;
