//! The supervisor of stored rollouts. It starts them, one at a time for a service, resumes them
//! after a restart, and forwards commands to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serin_core::rollout::command::{Action, Command, Rejected};
use serin_core::rollout::event::RolloutStatus;
use serin_core::spec::{Spec, SpecError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::block_in_place;
use tracing::Instrument;

use self::journal::{SqliteJournal, abandon_reason};
use self::readiness::Readiness;
use self::resumption::StartMode;
use crate::engine::{ControlMessage, EngineContext};
use crate::storage::sqlite::{QueueState, RolloutEntry, Store, StoreError};
use crate::storage::unpersisted::UnpersistedEvents;
use crate::telemetry::{self, RolloutMetrics};

mod journal;
mod queue;
mod readiness;
mod resumption;

/// The maximum number of commands that wait for a rollout.
const CHANNEL_CAPACITY: usize = 16;

/// The interval between purges of the store.
const PURGE_INTERVAL: Duration = Duration::from_secs(3_600);

/// The interval between retries.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A request failed. Nothing was changed, except with [`SupervisorError::Start`].
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum SupervisorError {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("rollout {id}: {reason}")]
    Start { id: i64, reason: String },
    #[error(transparent)]
    Rejected(#[from] Rejected),
    #[error(
        "the rollout runs commands ({0}): serin serve runs them only with --allow-commands, because every client could then run any program"
    )]
    Commands(String),
    #[error("there is no rollout {0}")]
    Unknown(i64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs the rollouts in the store.
#[derive(Debug)]
pub struct Supervisor {
    options: SupervisorOptions,
    context: EngineContext,
    store: Arc<Store>,
    running: Mutex<HashMap<i64, RunningRollout>>,
    /// Changes after each write: new events may exist.
    new_events: watch::Sender<u64>,
    /// Held during starts, so that two rollouts never take the same service.
    start_lock: tokio::sync::Mutex<()>,
    readiness: Arc<Readiness>,
    metrics: Arc<RolloutMetrics>,
}

/// The options of a supervisor.
#[derive(Debug, Clone)]
pub struct SupervisorOptions {
    /// Whether hooks may be commands.
    pub allow_commands: bool,
    /// The directory of the secrets that rollouts may name. Rollouts that may run commands are
    /// not confined to it.
    pub secrets: Option<PathBuf>,
    /// The retention time of ended rollouts.
    pub retention: Duration,
}

/// A running rollout.
#[derive(Debug)]
struct RunningRollout {
    service: String,
    control: mpsc::Sender<ControlMessage>,
    status: watch::Receiver<Option<RolloutStatus>>,
}

impl Supervisor {
    /// Opens a supervisor on the store, and resumes its running rollouts.
    ///
    /// # Errors
    /// The store can't be read.
    pub async fn start(
        store: Arc<Store>,
        options: SupervisorOptions,
        context: EngineContext,
    ) -> Result<Arc<Self>, SupervisorError> {
        let supervisor = Arc::new(Self {
            options,
            context,
            store,
            running: Mutex::default(),
            new_events: watch::Sender::new(0),
            start_lock: tokio::sync::Mutex::default(),
            readiness: Arc::default(),
            metrics: Arc::default(),
        });
        for entry in supervisor.store.list()? {
            if entry.phase == QueueState::Running
                && let Err(error) = supervisor.resume(&entry)
            {
                tracing::error!(rollout = entry.id, %error, "rollout not resumed");
            }
        }
        // A proxy may delay the start, so it runs in the background.
        let starter = supervisor.clone();
        tokio::spawn(async move {
            starter.begin_queued_with_retry().await;
            starter.readiness.taken_over();
        });
        tokio::spawn(supervisor.clone().purge_expired());
        Ok(supervisor)
    }

    /// Purges expired rollouts at intervals.
    async fn purge_expired(self: Arc<Self>) {
        loop {
            let keep =
                SignedDuration::try_from(self.options.retention).unwrap_or(SignedDuration::MAX);
            let before = Timestamp::now().checked_sub(keep).unwrap_or(Timestamp::MIN);
            if let Err(error) = block_in_place(|| self.store.purge(before)) {
                self.metrics.on_store_write(false);
                tracing::warn!(%error, "old rollouts not purged");
            }
            tokio::time::sleep(PURGE_INTERVAL).await;
        }
    }

    /// Metrics of all rollouts.
    #[must_use]
    pub fn metrics(&self) -> &RolloutMetrics {
        &self.metrics
    }

    /// Checks that the supervisor has resumed the stored rollouts and can write the store.
    ///
    /// # Errors
    /// The reason why it is not ready.
    pub fn ready(&self) -> Result<(), String> {
        self.readiness.check(&self.store)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<i64, RunningRollout>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn parse_spec(&self, text: &str) -> Result<Spec, SupervisorError> {
        let spec = Spec::parse(text)?;
        if self.options.allow_commands {
            return Ok(spec);
        }
        if let Some(command) = spec.plan.commands().next() {
            return Err(SupervisorError::Commands(command.join(" ")));
        }
        spec.confine_secrets_to(self.options.secrets.as_deref())?;
        Ok(spec)
    }

    /// Resumes a rollout of a previous process.
    fn resume(self: &Arc<Self>, entry: &RolloutEntry) -> Result<(), SupervisorError> {
        let spec = self.parse_spec(&entry.spec)?;
        let (id, service) = (entry.id, entry.service.clone());
        let Some(checkpoint) = self.store.checkpoint(id)? else { return Ok(()) };
        self.spawn(id, service, StartMode::Restored(Box::new((spec, checkpoint))));
        Ok(())
    }

    fn spawn(self: &Arc<Self>, id: i64, service: String, mode: StartMode) {
        let (control, mut commands) = mpsc::channel(CHANNEL_CAPACITY);
        let (status_sender, status) = watch::channel(None);
        self.running().insert(id, RunningRollout { service: service.clone(), control, status });
        let supervisor = self.clone();
        let span = telemetry::rollout_span(&id, &service, None);
        let task = async move {
            let mut journal = SqliteJournal {
                id,
                store: supervisor.store.clone(),
                new_events: supervisor.new_events.clone(),
                readiness: supervisor.readiness.clone(),
                metrics: supervisor.metrics.clone(),
                status: status_sender,
                unpersisted: UnpersistedEvents::default(),
                failing: false,
            };
            let ready = mode.ready(&supervisor.context, &mut journal, &mut commands).await;
            if let Some((engine, state)) = ready {
                engine.run(state, &mut journal, commands).await;
            }
            supervisor.running().remove(&id);
            supervisor.begin_queued_with_retry().await;
        };
        tokio::spawn(task.instrument(span));
    }

    /// Executes a command.
    ///
    /// # Errors
    /// The command is rejected, or the rollout does not exist.
    pub async fn execute(
        self: &Arc<Self>,
        id: i64,
        command: Command,
    ) -> Result<RolloutEntry, SupervisorError> {
        let entry = self.entry(id)?;
        match command.action {
            Action::Retry => self.retry(entry, command).await,
            _ => self.forward_command(entry, command).await,
        }
    }

    /// Forwards a command to a running rollout.
    async fn forward_command(
        &self,
        entry: RolloutEntry,
        command: Command,
    ) -> Result<RolloutEntry, SupervisorError> {
        let id = entry.id;
        if entry.phase == QueueState::Queued && command.action == Action::Abort {
            return self.withdraw(id, &command).await;
        }
        let not_running =
            || SupervisorError::Rejected(Rejected(format!("rollout {id} is not under way")));
        let control = self.running().get(&id).map(|running| running.control.clone());
        if control.is_none() && entry.phase == QueueState::Running && command.skips_confirmation() {
            // The stored state can't be read.
            self.store.fail(id, &abandon_reason(&command))?;
            self.notify_events();
            return self.entry(id);
        }
        let control = control.ok_or_else(not_running)?;
        let (reply, result) = oneshot::channel();
        control.send(ControlMessage::Command(command, reply)).await.map_err(|_| not_running())?;
        result.await.map_err(|_| not_running())??;
        Ok(entry)
    }

    /// Wakes the subscribers of events.
    fn notify_events(&self) {
        self.new_events.send_modify(|times| *times += 1);
    }

    /// One rollout.
    ///
    /// # Errors
    /// No rollout has this number.
    pub fn entry(&self, id: i64) -> Result<RolloutEntry, SupervisorError> {
        self.store.get(id)?.ok_or(SupervisorError::Unknown(id))
    }

    /// All rollouts, the newest first.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn entries(&self) -> Result<Vec<RolloutEntry>, SupervisorError> {
        Ok(self.store.list()?)
    }

    /// The status of a rollout; `None` unless it runs.
    #[must_use]
    pub fn status(&self, id: i64) -> Option<RolloutStatus> {
        self.running().get(&id)?.status.borrow().clone()
    }

    /// The events of a rollout after this sequence number, as JSON, in order.
    ///
    /// # Errors
    /// The store can't be read.
    pub fn events(&self, id: i64, after: i64) -> Result<Vec<(i64, String)>, SupervisorError> {
        Ok(self.store.events(id, after)?)
    }

    /// Changes when new events may exist.
    #[must_use]
    pub fn subscribe_events(&self) -> watch::Receiver<u64> {
        self.new_events.subscribe()
    }
}
