//! What must not be lost, and where it is stored: in SQLite, or in the status of an object.
pub mod conflict;
pub mod sqlite;
pub mod status;
