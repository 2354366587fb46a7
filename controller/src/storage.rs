//! Stores of rollouts: SQLite, and the status of an object.

pub mod conflict;
pub mod sqlite;
pub mod status;
pub(crate) mod unpersisted;
