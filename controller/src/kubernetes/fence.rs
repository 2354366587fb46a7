//! Whether this operator may write: only while it holds the lease.

use std::sync::Arc;

use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

use super::lease::RENEW_DEADLINE;

/// Another operator may lead by now, so nothing may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("this operator does not hold the lease any more")]
pub(crate) struct LeaseLost;

/// Asked before each write. Time goes on while a process is stopped, so one that wakes up after its lease was over writes nothing.
#[derive(Debug, Clone)]
pub(crate) struct Fence(Arc<watch::Sender<Option<Instant>>>);

impl Fence {
    /// One that lets nothing pass before the lease is held.
    #[must_use]
    pub(crate) fn shut() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// The lease was renewed by a request that was sent at this time.
    pub(crate) fn renewed(&self, sent: Instant) {
        self.0.send_replace(Some(sent));
    }

    /// The lease is another operator's, or was given up.
    pub(crate) fn close(&self) {
        self.0.send_replace(None);
    }

    /// Until when the lease is sure to be held.
    #[must_use]
    pub(crate) fn until(&self) -> Option<Instant> {
        self.0.borrow().map(|sent| sent + RENEW_DEADLINE)
    }

    /// Whether anything may be written.
    ///
    /// # Errors
    /// It may not.
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
        // As after SIGSTOP: nobody has done anything meanwhile.
        advance(Duration::from_millis(1)).await;
        assert_eq!(fence.check(), Err(LeaseLost));
        fence.renewed(Instant::now());
        fence.close();
        assert_eq!(fence.check(), Err(LeaseLost));
    }
}
