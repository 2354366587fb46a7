//! Stores of rollouts: SQLite, and the status of an object.

pub mod conflict;
#[cfg(test)]
pub(crate) mod journal_contract;
pub mod sqlite;
pub mod status;
pub(crate) mod unpersisted;
