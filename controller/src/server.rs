//! `serin serve`: many rollouts, kept in a store and led over HTTP.
pub mod api;
pub mod supervisor;
