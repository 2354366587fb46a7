//! The supervisor of stored rollouts. It starts them, one at a time for a service, resumes them
//! after a restart, and forwards commands to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serin_core::judge::Ruling;
use serin_core::ports::Journal;
use serin_core::rollout::command::{Action, Command, Rejected};
use serin_core::rollout::event::{Event, RolloutStatus};
use serin_core::rollout::machine::{Output, Rollout};
use serin_core::spec::{Spec, SpecError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tracing::Instrument;

use self::readiness::Readiness;
use crate::engine::{ControlMessage, EngineContext, EnvoyEngine, RunState};
use crate::storage::sqlite::{Checkpoint, QueueState, RolloutEntry, Store, StoreError};
use crate::telemetry::{self, RolloutMetrics};

mod readiness;

/// The maximum number of commands that wait for a rollout.
const CHANNEL_CAPACITY: usize = 16;

/// The maximum number of rollback events that wait for the store.
const MAX_UNPERSISTED_EVENTS: usize = 1_000;

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
        // A proxy may delay this, so it runs in the background and requests are served meanwhile.
        let taking_over = supervisor.clone();
        tokio::spawn(async move {
            taking_over.begin_queued_with_retry().await;
            taking_over.readiness.taken_over();
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

    /// Adds a rollout: starts it, or queues it behind the rollout that has its service. If it
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
        let has_begun = (phase, now.phase) == (QueueState::Queued, QueueState::Running);
        match has_begun {
            true => match self.forward_command(now, command).await {
                Ok(_) | Err(SupervisorError::Rejected(_)) => Ok(()),
                Err(failure) => Err(failure),
            },
            false => Ok(()),
        }
    }

    /// Retries a rollout that ended without promotion. Returns the retry that is already in
    /// progress, if any.
    async fn retry(
        self: &Arc<Self>,
        entry: RolloutEntry,
        command: Command,
    ) -> Result<RolloutEntry, SupervisorError> {
        let refuse = |why: &str| Err(Rejected(format!("rollout {} {why}", entry.id)).into());
        match (entry.phase, entry.outcome.as_deref()) {
            (QueueState::Queued | QueueState::Running, _) => return refuse("is under way"),
            (QueueState::Ended, Some("promoted")) => return refuse("was promoted"),
            _ => {}
        }
        let is_retry = |other: &RolloutEntry| {
            other.retry_of == Some(entry.id)
                && matches!(other.phase, QueueState::Queued | QueueState::Running)
        };
        let spec = self.parse_spec(&entry.spec)?;
        let id = {
            // Concurrent retries return the same rollout.
            let _one_at_a_time = self.start_lock.lock().await;
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
        let begun = tokio::spawn(async move { supervisor.begin_queued().await });
        if let Ok(begun) = begun.await {
            begun?;
        }
        let entry = self.entry(id)?;
        match (entry.phase, &entry.outcome) {
            (QueueState::Failed, Some(why)) => {
                Err(SupervisorError::Start { id, reason: why.clone() })
            }
            _ => Ok(entry),
        }
    }

    /// Starts queued rollouts, with retries until the store can be written.
    async fn begin_queued_with_retry(self: &Arc<Self>) {
        while let Err(error) = self.begin_queued().await {
            tracing::warn!(%error, "queued rollouts not started");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Starts the queued rollouts whose services are free, in the order of submission.
    async fn begin_queued(self: &Arc<Self>) -> Result<(), StoreError> {
        let _one_at_a_time = self.start_lock.lock().await;
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
            Ok((engine, course)) => {
                self.store.commit(entry.id, Duration::ZERO, &course.rollout, &course.outputs)?;
                let service = entry.service.clone();
                self.spawn(entry.id, service, StartMode::Ready(Box::new((engine, course))));
                Ok(())
            }
            Err(why) => self.store.fail(entry.id, &why.to_string()),
        }
    }

    /// Wakes the subscribers of events.
    fn notify_events(&self) {
        self.new_events.send_modify(|times| *times += 1);
    }

    fn is_service_busy(&self, spec: &Spec) -> bool {
        self.running().values().any(|active| active.service == spec.plan.service.as_str())
    }

    /// Resumes a rollout of a previous process.
    fn resume(self: &Arc<Self>, entry: &RolloutEntry) -> Result<(), SupervisorError> {
        let spec = self.parse_spec(&entry.spec)?;
        let (id, service) = (entry.id, entry.service.clone());
        let Some(kept) = self.store.checkpoint(id)? else { return Ok(()) };
        self.spawn(id, service, StartMode::Restored(Box::new((spec, kept))));
        Ok(())
    }

    fn spawn(self: &Arc<Self>, id: i64, service: String, beginning: StartMode) {
        let (control, mut wished) = mpsc::channel(CHANNEL_CAPACITY);
        let (told, status) = watch::channel(None);
        self.running().insert(id, RunningRollout { service: service.clone(), control, status });
        let supervisor = self.clone();
        let span = telemetry::rollout_span(&id, &service, None);
        let task = async move {
            let (store, new_events) = (supervisor.store.clone(), supervisor.new_events.clone());
            let readiness = supervisor.readiness.clone();
            let (unpersisted, failing, metrics) = (Vec::new(), false, supervisor.metrics.clone());
            let mut journal = SqliteJournal {
                id,
                store,
                new_events,
                readiness,
                metrics,
                status: told,
                unpersisted,
                failing,
            };
            let ready = beginning.ready(&supervisor.context, &mut journal, &mut wished).await;
            if let Some((engine, course)) = ready {
                engine.run(course, &mut journal, wished).await;
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
        let over = || SupervisorError::Rejected(Rejected(format!("rollout {id} is not under way")));
        let control = self.running().get(&id).map(|active| active.control.clone());
        if control.is_none() && entry.phase == QueueState::Running && command.skips_confirmation() {
            // The stored state can't be read.
            self.store.fail(id, &abandon_reason(&command))?;
            self.notify_events();
            return self.entry(id);
        }
        let control = control.ok_or_else(over)?;
        let (reply, answer) = oneshot::channel();
        control.send(ControlMessage::Command(command, reply)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())??;
        Ok(entry)
    }

    /// Removes a rollout from the queue.
    async fn withdraw(&self, id: i64, command: &Command) -> Result<RolloutEntry, SupervisorError> {
        let _nobody_begins_it = self.start_lock.lock().await;
        if self.entry(id)?.phase != QueueState::Queued {
            return Err(Rejected(format!("rollout {id} has begun meanwhile")).into());
        }
        self.store.fail(id, &command.to_string())?;
        self.notify_events();
        self.entry(id)
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

/// The start mode of a rollout.
enum StartMode {
    /// At its first step.
    Ready(Box<(EnvoyEngine, RunState)>),
    /// From the last state of the previous process.
    Restored(Box<(Spec, Checkpoint)>),
}

impl StartMode {
    /// Opens the proxy's file, with retries. Meanwhile the only valid command is to abandon the
    /// rollout; then returns `None`.
    async fn ready(
        self,
        shared: &EngineContext,
        journal: &mut SqliteJournal,
        wished: &mut mpsc::Receiver<ControlMessage>,
    ) -> Option<(EnvoyEngine, RunState)> {
        let (spec, Checkpoint { rollout, at }) = match self {
            Self::Ready(ready) => return Some(*ready),
            Self::Restored(kept) => *kept,
        };
        let mut told = None;
        loop {
            let error = match EnvoyEngine::resume(shared, spec.clone(), rollout.clone(), at) {
                Ok((engine, course)) => {
                    // This commit belongs to a rollback, which waits for nothing.
                    let _ = journal.commit(at, &course.rollout, &course.outputs).await;
                    return Some((engine, course));
                }
                Err(error) => error.to_string(),
            };
            if told.as_ref() != Some(&error) {
                tracing::warn!(error, "rollout not resumed yet");
                told = Some(error.clone());
            }
            let Ok(Some(ControlMessage::Command(order, reply))) =
                timeout(RETRY_INTERVAL, wished.recv()).await
            else {
                continue;
            };
            let answer = match order.skips_confirmation() {
                true => journal.abandon(&order).map_err(|error| Rejected(error.to_string())),
                false => Err(Rejected(format!(
                    "it can't go on yet: {error}; `serin abort --force` gives it up, and changes nothing at the proxies"
                ))),
            };
            let given_up = answer.is_ok();
            // The send fails only if the caller no longer waits.
            let _ = reply.send(answer);
            if given_up {
                return None;
            }
        }
    }
}

/// The journal of one rollout in the store.
struct SqliteJournal {
    id: i64,
    store: Arc<Store>,
    new_events: watch::Sender<u64>,
    readiness: Arc<Readiness>,
    metrics: Arc<RolloutMetrics>,
    status: watch::Sender<Option<RolloutStatus>>,
    /// Executed outputs that are not persisted yet.
    unpersisted: Vec<Output>,
    /// Whether the last write failed and a warning was logged.
    failing: bool,
}

impl SqliteJournal {
    /// Records that the rollout was abandoned while the proxies' state is unknown.
    fn abandon(&self, command: &Command) -> Result<(), StoreError> {
        self.store.fail(self.id, &abandon_reason(command))?;
        self.new_events.send_modify(|times| *times += 1);
        Ok(())
    }
}

/// The outcome of an abandoned rollout.
fn abandon_reason(command: &Command) -> String {
    format!("given up where it stood, the proxies unchanged: {command}")
}

impl Journal for SqliteJournal {
    async fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), String> {
        let is_told = |output: &&Output| matches!(output, Output::Emit(_));
        let waiting = self.unpersisted.len();
        self.unpersisted.extend(outputs.iter().filter(is_told).cloned());
        // The write may take long; other rollouts run meanwhile.
        match self.store.commit_batched(self.id, at, rollout, &self.unpersisted).await {
            Ok(()) => {
                self.metrics.on_store_write(true);
                self.readiness.record_write(Ok(()));
                self.failing = false;
                self.unpersisted.clear();
                self.new_events.send_modify(|times| *times += 1);
                Ok(())
            }
            Err(error) => {
                self.metrics.on_store_write(false);
                self.readiness.record_write(Err(error.to_string()));
                // A rollback goes on and persists its newest events later; the rest is not done.
                match rollout.is_rolling_back() {
                    true => {
                        let excess = self.unpersisted.len().saturating_sub(MAX_UNPERSISTED_EVENTS);
                        self.unpersisted.drain(..excess);
                    }
                    false => self.unpersisted.truncate(waiting),
                }
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(%error, "store write failed; the rollout waits");
                }
                Err(error.to_string())
            }
        }
    }

    fn event(&mut self, _: Duration, event: &Event) {
        self.metrics.on_event(event);
        if let Event::Progress(status) = event {
            self.status.send_replace(Some(status.clone()));
        }
    }

    /// The persisted state contains the rulings' effects.
    fn ruling(&mut self, _: &Ruling) {}

    fn on_poll(&mut self, late: Duration, took: Duration) {
        self.metrics.on_poll(late, took);
    }
}
