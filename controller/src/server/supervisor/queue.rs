//! The queue of stored rollouts: one at a time for a service, in the order of submission.

use std::sync::Arc;
use std::time::Duration;

use serin_core::rollout::command::{Action, Command, Rejected};
use serin_core::spec::Spec;
use tokio::time::sleep;

use super::resumption::StartMode;
use super::{RETRY_INTERVAL, Supervisor, SupervisorError};
use crate::engine::EnvoyEngine;
use crate::storage::sqlite::{QueueState, RolloutEntry, StoreError};

impl Supervisor {
    /// Adds a rollout: starts it, or queues it behind the running rollout of its service. If it
    /// replaces others, the supervisor aborts those of its service; a running one rolls back
    /// first.
    ///
    /// # Errors
    /// It is invalid, or can't start.
    pub async fn apply(
        self: &Arc<Self>,
        text: &str,
        replace: bool,
    ) -> Result<RolloutEntry, SupervisorError> {
        let spec = self.parse_spec(text)?;
        let id = self.store.add(&spec.plan, text)?;
        if replace {
            self.replace(id, spec.plan.service.as_str()).await?;
        }
        self.begin_added(id).await
    }

    /// Aborts the running and queued rollouts of this service, except this one. A promoted
    /// rollout stays promoted; the queue waits for its end.
    async fn replace(&self, id: i64, service: &str) -> Result<(), SupervisorError> {
        for entry in self.store.list()? {
            let live = matches!(entry.phase, QueueState::Queued | QueueState::Running);
            if entry.id == id || entry.service != service || !live {
                continue;
            }
            let (action, by) = (Action::Abort, "serin".to_owned());
            let reason = Some(format!("replaced by rollout {id}"));
            let command = Command { action, by, reason, step: None, seconds: None, force: false };
            self.abort_in_any_state(entry, command).await?;
        }
        Ok(())
    }

    /// Aborts a rollout, which may start meanwhile. A rejected abort is not an error.
    async fn abort_in_any_state(
        &self,
        entry: RolloutEntry,
        command: Command,
    ) -> Result<(), SupervisorError> {
        let (id, phase) = (entry.id, entry.phase);
        match self.forward_command(entry, command.clone()).await {
            Ok(_) => return Ok(()),
            Err(SupervisorError::Rejected(_)) => {}
            Err(failure) => return Err(failure),
        }
        let now = self.entry(id)?;
        let has_started = (phase, now.phase) == (QueueState::Queued, QueueState::Running);
        match has_started {
            true => match self.forward_command(now, command).await {
                Ok(_) | Err(SupervisorError::Rejected(_)) => Ok(()),
                Err(failure) => Err(failure),
            },
            false => Ok(()),
        }
    }

    /// Retries a rollout that ended without promotion. Returns the retry that is already in
    /// progress, if any.
    pub(super) async fn retry(
        self: &Arc<Self>,
        entry: RolloutEntry,
        command: Command,
    ) -> Result<RolloutEntry, SupervisorError> {
        let reject = |state: &str| Err(Rejected(format!("rollout {} {state}", entry.id)).into());
        match (entry.phase, entry.outcome.as_deref()) {
            (QueueState::Queued | QueueState::Running, _) => return reject("is under way"),
            (QueueState::Ended, Some("promoted")) => return reject("was promoted"),
            _ => {}
        }
        let is_retry = |other: &RolloutEntry| {
            other.retry_of == Some(entry.id)
                && matches!(other.phase, QueueState::Queued | QueueState::Running)
        };
        let spec = self.parse_spec(&entry.spec)?;
        let id = {
            // Concurrent retries return the same rollout.
            let _guard = self.start_lock.lock().await;
            if let Some(retry) = self.store.list()?.into_iter().find(is_retry) {
                return Ok(retry);
            }
            self.store.retry(entry.id, &spec.plan, &entry.spec, command)?
        };
        self.begin_added(id).await
    }

    async fn begin_added(self: &Arc<Self>, id: i64) -> Result<RolloutEntry, SupervisorError> {
        let supervisor = self.clone();
        // The caller may disconnect before the rollout starts.
        let started = tokio::spawn(async move { supervisor.begin_queued().await });
        if let Ok(result) = started.await {
            result?;
        }
        let entry = self.entry(id)?;
        match (entry.phase, &entry.outcome) {
            (QueueState::Failed, Some(reason)) => {
                Err(SupervisorError::Start { id, reason: reason.clone() })
            }
            _ => Ok(entry),
        }
    }

    /// Starts queued rollouts, with retries until the store can be written.
    pub(super) async fn begin_queued_with_retry(self: &Arc<Self>) {
        while let Err(error) = self.begin_queued().await {
            self.metrics.on_store_write(false);
            tracing::warn!(%error, "queued rollouts not started");
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Starts the queued rollouts whose services are free, in the order of submission.
    async fn begin_queued(self: &Arc<Self>) -> Result<(), StoreError> {
        let _guard = self.start_lock.lock().await;
        let entries = self.store.list()?;
        let of = |phase| entries.iter().filter(move |entry| entry.phase == phase);
        // Includes running rollouts that could not resume.
        let running: Vec<_> = of(QueueState::Running).map(|entry| entry.service.as_str()).collect();
        for entry in of(QueueState::Queued).collect::<Vec<_>>().into_iter().rev() {
            match self.parse_spec(&entry.spec) {
                Ok(spec)
                    if running.contains(&entry.service.as_str()) || self.is_service_busy(&spec) => {
                }
                Ok(spec) => self.begin(entry, spec).await?,
                Err(error) => self.store.fail(entry.id, &error.to_string())?,
            }
            self.notify_events();
        }
        Ok(())
    }

    async fn begin(self: &Arc<Self>, entry: &RolloutEntry, spec: Spec) -> Result<(), StoreError> {
        match EnvoyEngine::begin(&self.context, spec, entry.id.to_string(), false).await {
            Ok((engine, state)) => {
                self.store.commit(entry.id, Duration::ZERO, &state.rollout, &state.outputs)?;
                let service = entry.service.clone();
                self.spawn(entry.id, service, StartMode::Ready(Box::new((engine, state))));
                Ok(())
            }
            Err(error) => self.store.fail(entry.id, &format!("{error}; nothing was changed")),
        }
    }

    fn is_service_busy(&self, spec: &Spec) -> bool {
        self.running().values().any(|running| running.service == spec.plan.service.as_str())
    }

    /// Removes a rollout from the queue.
    pub(super) async fn withdraw(
        &self,
        id: i64,
        command: &Command,
    ) -> Result<RolloutEntry, SupervisorError> {
        let _guard = self.start_lock.lock().await;
        if self.entry(id)?.phase != QueueState::Queued {
            return Err(Rejected(format!("rollout {id} has started meanwhile")).into());
        }
        self.store.fail(id, &command.to_string())?;
        self.notify_events();
        self.entry(id)
    }
}
