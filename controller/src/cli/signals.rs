//! SIGINT and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::CliError;

/// The signals that stop a command.
pub(super) struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignals {
    pub(super) fn new() -> Result<Self, CliError> {
        let handler = |kind| {
            signal(kind).map_err(|error| CliError::failed(format!("no signal handler: {error}")))
        };
        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self { interrupt: handler(interrupt)?, terminate: handler(terminate)? })
    }

    /// Waits for the next signal.
    pub(super) async fn recv(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
