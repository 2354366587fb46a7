//! The start of a rollout's task: at its first step, or from its stored state.

use serin_core::ports::Journal;
use serin_core::rollout::command::Rejected;
use serin_core::spec::Spec;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::RETRY_INTERVAL;
use super::journal::SqliteJournal;
use crate::engine::{ControlMessage, EngineContext, EnvoyEngine, RunState};
use crate::storage::sqlite::Checkpoint;

/// The start mode of a rollout.
pub(super) enum StartMode {
    /// At its first step.
    Ready(Box<(EnvoyEngine, RunState)>),
    /// From the last state of the previous process.
    Restored(Box<(Spec, Checkpoint)>),
}

impl StartMode {
    /// Opens the proxy's file, with retries. Meanwhile the only valid command is to abandon the
    /// rollout; then returns `None`.
    pub(super) async fn ready(
        self,
        context: &EngineContext,
        journal: &mut SqliteJournal,
        control: &mut mpsc::Receiver<ControlMessage>,
    ) -> Option<(EnvoyEngine, RunState)> {
        let (spec, Checkpoint { rollout, at }) = match self {
            Self::Ready(ready) => return Some(*ready),
            Self::Restored(restored) => *restored,
        };
        let mut reported = None;
        loop {
            let resumed = EnvoyEngine::resume(context, spec.clone(), rollout.clone(), at).await;
            let error = match resumed {
                Ok((engine, state)) => {
                    // This commit belongs to a rollback, which waits for nothing.
                    let _ = journal.commit(at, &state.rollout, &state.outputs).await;
                    return Some((engine, state));
                }
                Err(error) => error.to_string(),
            };
            if reported.as_ref() != Some(&error) {
                tracing::warn!(error, "rollout not resumed yet");
                reported = Some(error.clone());
            }
            let Ok(Some(ControlMessage::Command(command, reply))) =
                timeout(RETRY_INTERVAL, control.recv()).await
            else {
                continue;
            };
            let result = match command.skips_confirmation() {
                true => journal.abandon(&command).map_err(|error| Rejected(error.to_string())),
                false => Err(Rejected(format!(
                    "the rollout can't resume yet: {error}; `serin abort --force` abandons it and leaves the proxies unchanged"
                ))),
            };
            let abandoned = result.is_ok();
            // The send fails only if the caller no longer waits.
            let _ = reply.send(result);
            if abandoned {
                return None;
            }
        }
    }
}
