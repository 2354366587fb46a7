//! Controls a running rollout by its object: commands, changes of the specification, deletion.

use std::time::Duration;

use jiff::Timestamp;
use kube::api::DynamicObject;
use serin_core::rollout::command::{Command, Rejected};
use serin_filter::names::VersionName;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::command::parse;
use super::intent::{desired_state, implied_command, manifest};
use super::mailbox::CommandMailbox;
use crate::engine::ControlMessage;
use crate::kubernetes::status::CommandReport;

/// The time limit for the proxies of a deleted object to confirm the baseline.
const DELETE_TIMEOUT: Duration = Duration::from_secs(30);

/// The last known state of an object; `None` if it is gone.
pub(crate) type ObjectReceiver = watch::Receiver<Option<DynamicObject>>;

/// Sends commands to a running rollout.
pub(crate) struct RolloutControl {
    /// The mailbox shared with the rollout's journal.
    pub(crate) mailbox: CommandMailbox,
    /// Sends commands to the engine.
    pub(crate) sender: mpsc::Sender<ControlMessage>,
    /// The versions of the rollout.
    pub(crate) baseline: VersionName,
    /// See `baseline`.
    pub(crate) candidate: VersionName,
    /// The text of the last command that was submitted or reported.
    pub(crate) last_command: Option<String>,
}

impl RolloutControl {
    /// Forwards changes of the object to the rollout, until the object is gone.
    pub(crate) async fn follow(mut self, object: &mut ObjectReceiver) {
        let mut deleted: Option<Instant> = None;
        loop {
            let Some(current) = object.borrow_and_update().clone() else { return };
            if let Ok(manifest) = manifest(&current) {
                let desired = desired_state(&current, &manifest);
                if desired.deleted {
                    deleted.get_or_insert_with(Instant::now);
                }
                let versions = (&self.baseline, &self.candidate);
                if let Some(mut command) = implied_command(desired, versions, self.mailbox.phase())
                {
                    command.force = deleted.is_some_and(|since| since.elapsed() >= DELETE_TIMEOUT);
                    // A rejection means that the rollout is already in the desired state.
                    let _ = self.send(command).await;
                }
                let is_new = |text: &&str| self.last_command.as_deref() != Some(text);
                if let Some(text) = desired.command.filter(is_new) {
                    self.last_command = Some(text.to_owned());
                    self.submit(text).await;
                }
                self.mailbox.set_generation(current.metadata.generation.unwrap_or(0));
            }
            tokio::select! {
                changed = object.changed() => if changed.is_err() { return },
                () = sleep(DELETE_TIMEOUT), if deleted.is_some() => {}
            }
        }
    }

    /// Sends the command of the annotation, and reports its result.
    async fn submit(&self, text: &str) {
        self.mailbox.submit(text);
        let rejected = match parse(text) {
            Ok(command) => self.send(command).await.err().map(|rejected| rejected.to_string()),
            Err(error) => Some(error.to_string()),
        };
        self.mailbox.report(CommandReport {
            text: text.to_owned(),
            at: Timestamp::now(),
            rejected,
        });
    }

    async fn send(&self, command: Command) -> Result<(), Rejected> {
        let over = || Rejected("the rollout is over".to_owned());
        let (reply, answer) = oneshot::channel();
        self.sender.send(ControlMessage::Command(command, reply)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())?
    }
}
