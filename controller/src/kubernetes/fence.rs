//! Admits writes only while this operator holds the lease.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::RENEW_DEADLINE;

/// Another operator may lead by now, so this one must not write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this operator no longer holds the lease")]
pub struct LeaseLost;

/// Checked before each write. Time passes while a process is stopped, so one that resumes after its lease expired writes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Fence(Arc<watch::Sender<Option<Instant>>>);

impl Fence {
    /// A fence that admits no write before the lease is held.
    #[must_use]
    pub(crate) fn shut() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// The lease was renewed by a request that was sent at this time.
    pub(crate) fn renewed(&self, sent: Instant) {
        self.0.send_replace(Some(sent));
    }

    /// The lease is another operator's, or was released.
    pub(crate) fn close(&self) {
        self.0.send_replace(None);
    }

    /// The time until which the lease is certainly held.
    #[must_use]
    pub(crate) fn until(&self) -> Option<Instant> {
        self.0.borrow().map(|sent| sent + RENEW_DEADLINE)
    }

    /// Whether a write is admitted.
    ///
    /// # Errors
    /// It is not.
    pub(crate) fn check(&self) -> Result<(), LeaseLost> {
        match self.until() {
            Some(until) if Instant::now() < until => Ok(()),
            _ => Err(LeaseLost),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_after_the_last_renewal_is_too_old() {
        let fence = Fence::shut();
        assert_eq!(fence.check(), Err(LeaseLost));
        fence.renewed(Instant::now());
        advance(RENEW_DEADLINE - Duration::from_millis(1)).await;
        assert_eq!(fence.check(), Ok(()));
        // As after SIGSTOP.
        advance(Duration::from_millis(1)).await;
        assert_eq!(fence.check(), Err(LeaseLost));
        fence.renewed(Instant::now());
        fence.close();
        assert_eq!(fence.check(), Err(LeaseLost));
    }
}
