//! One proxy as a source of evidence.

use super::admin::{Admin, AdminError};
use super::{Differ, Look, Sighting, Source};

/// One proxy, read by its admin interface.
#[derive(Debug)]
pub struct Proxy {
    admin: Admin,
    differ: Differ,
}

impl Proxy {
    /// A proxy that nobody has looked at yet.
    #[must_use]
    pub fn new(admin: Admin) -> Self {
        Self { admin, differ: Differ::default() }
    }

    /// What happened since the last time. To drop the future before it ends loses nothing.
    ///
    /// # Errors
    /// The proxy can't be read.
    pub async fn sight(&mut self) -> Result<Sighting, AdminError> {
        Ok(self.differ.difference(self.admin.snapshot().await?))
    }
}

impl Source for Proxy {
    async fn look(&mut self) -> Look {
        self.sight()
            .await
            .map_or_else(|error| Look::Unreachable { why: error.to_string() }, Look::Seen)
    }
}
