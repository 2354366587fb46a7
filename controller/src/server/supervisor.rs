//! Many rollouts, kept in a store: begins them, one at a time for a service, goes on with them after a restart, and
//! hands orders on to them.

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

/// Orders that may wait for a rollout to take them.
const CHANNEL_CAPACITY: usize = 16;

/// Events of a rollback that may wait for the store.
const MAX_UNPERSISTED_EVENTS: usize = 1_000;

/// How often what is kept is looked through for what is old.
const PURGE_INTERVAL: Duration = Duration::from_secs(3_600);

/// What can't be done now is tried again after this time.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Why something that was asked for is not done. Nothing was changed, but for [`SupervisorError::Start`].
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
        "the rollout runs commands ({0}): serin serve does that only with --allow-commands, as whoever may order could run anything"
    )]
    Commands(String),
    #[error("there is no rollout {0}")]
    Unknown(i64),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs what is in the store.
#[derive(Debug)]
pub struct Supervisor {
    options: SupervisorOptions,
    context: EngineContext,
    store: Arc<Store>,
    running: Mutex<HashMap<i64, RunningRollout>>,
    /// Changes whenever anything has been kept: there may be events to read.
    new_events: watch::Sender<u64>,
    /// Held while rollouts are begun: two at once must not take the same service.
    start_lock: tokio::sync::Mutex<()>,
    readiness: Arc<Readiness>,
    metrics: Arc<RolloutMetrics>,
}

/// What a runner may do.
#[derive(Debug, Clone)]
pub struct SupervisorOptions {
    /// Whether hooks may be commands.
    pub allow_commands: bool,
    /// The directory of the secrets that rollouts may name, unless they may run commands anyway.
    pub secrets: Option<PathBuf>,
    /// For how long what has ended is kept.
    pub retention: Duration,
}

/// A rollout under way.
#[derive(Debug)]
struct RunningRollout {
    service: String,
    control: mpsc::Sender<ControlMessage>,
    status: watch::Receiver<Option<RolloutStatus>>,
}

impl Supervisor {
    /// Takes the store over, and goes on with what is under way in it.
    ///
    /// # Errors
    /// It can't be read.
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
        // A proxy may keep it waiting; whoever asks is answered meanwhile.
        let taking_over = supervisor.clone();
        tokio::spawn(async move {
            taking_over.begin_queued_with_retry().await;
            taking_over.readiness.taken_over();
        });
        tokio::spawn(supervisor.clone().purge_expired());
        Ok(supervisor)
    }

    /// Forgets what has been kept for long enough, now and then.
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

    /// Measurements of all rollouts.
    #[must_use]
    pub fn metrics(&self) -> &RolloutMetrics {
        &self.metrics
    }

    /// Whether it has taken over what was in the store, and can write it.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.readiness.check(&self.store)
    }

    fn running(&self) -> MutexGuard<'_, HashMap<i64, RunningRollout>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a rollout on: begins it, or queues it behind the one that has its service. If it replaces others, those of its
    /// service are aborted: what is under way goes back to its baseline first.
    ///
    /// # Errors
    /// It is not valid, or can't begin.
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

    /// Aborts what is under way or queued for this service, but for this rollout. What is promoted already stays so, and is waited for.
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

    /// Aborts a rollout, which may begin meanwhile. That it can't be aborted is no failure.
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

    /// Begins once more what has ended otherwise than by promotion. If that is under way already, gives that.
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
            // Who retries at the same time gets the same one.
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
        // Whoever asked may go away before it has begun.
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

    /// Begins what can begin, as soon as the store lets it.
    async fn begin_queued_with_retry(self: &Arc<Self>) {
        while let Err(error) = self.begin_queued().await {
            tracing::warn!(%error, "queued rollouts not started");
            tokio::time::sleep(RETRY_INTERVAL).await;
        }
    }

    /// Begins what can begin, in the order in which it came.
    async fn begin_queued(self: &Arc<Self>) -> Result<(), StoreError> {
        let _one_at_a_time = self.start_lock.lock().await;
        let entries = self.store.list()?;
        let of = |phase| entries.iter().filter(move |entry| entry.phase == phase);
        // Those too that are under way, but can't go on.
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

    /// Wakes whoever waits for events.
    fn notify_events(&self) {
        self.new_events.send_modify(|times| *times += 1);
    }

    fn is_service_busy(&self, spec: &Spec) -> bool {
        self.running().values().any(|active| active.service == spec.plan.service.as_str())
    }

    /// Goes on with a rollout that a process before this one left under way.
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

    /// Gives an order.
    ///
    /// # Errors
    /// It makes no sense, or there is no such rollout.
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

    /// Has a rollout under way take an order.
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
            // What was kept of it can't be read.
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

    /// Takes a rollout out of the queue.
    async fn withdraw(&self, id: i64, command: &Command) -> Result<RolloutEntry, SupervisorError> {
        let _nobody_begins_it = self.start_lock.lock().await;
        if self.entry(id)?.phase != QueueState::Queued {
            return Err(Rejected(format!("rollout {id} has begun meanwhile")).into());
        }
        self.store.fail(id, &command.to_string())?;
        self.notify_events();
        self.entry(id)
    }

    /// A rollout.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn entry(&self, id: i64) -> Result<RolloutEntry, SupervisorError> {
        self.store.get(id)?.ok_or(SupervisorError::Unknown(id))
    }

    /// All rollouts, the last first.
    ///
    /// # Errors
    /// They can't be read.
    pub fn entries(&self) -> Result<Vec<RolloutEntry>, SupervisorError> {
        Ok(self.store.list()?)
    }

    /// Where a rollout stands; `None` unless it is under way.
    #[must_use]
    pub fn status(&self, id: i64) -> Option<RolloutStatus> {
        self.running().get(&id)?.status.borrow().clone()
    }

    /// What was told of a rollout after the event with this sequence number, as JSON, in order.
    ///
    /// # Errors
    /// It can't be read.
    pub fn events(&self, id: i64, after: i64) -> Result<Vec<(i64, String)>, SupervisorError> {
        Ok(self.store.events(id, after)?)
    }

    /// Changes when there may be more events.
    #[must_use]
    pub fn subscribe_events(&self) -> watch::Receiver<u64> {
        self.new_events.subscribe()
    }
}

/// How a rollout gets under way.
enum StartMode {
    /// At its first step.
    Ready(Box<(EnvoyEngine, RunState)>),
    /// Where it was when the process before this one ended.
    Restored(Box<(Spec, Checkpoint)>),
}

impl StartMode {
    /// Opens the proxy's file, for as long as it takes. Nothing can be ordered until then, but to give it up: then `None`.
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
                    // What begins anew here is a rollback, which waits for nothing.
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
            // Whoever does not wait for the answer does not need it.
            let _ = reply.send(answer);
            if given_up {
                return None;
            }
        }
    }
}

/// Keeps what happens in one rollout.
struct SqliteJournal {
    id: i64,
    store: Arc<Store>,
    new_events: watch::Sender<u64>,
    readiness: Arc<Readiness>,
    metrics: Arc<RolloutMetrics>,
    status: watch::Sender<Option<RolloutStatus>>,
    /// What was done, but could not be kept yet.
    unpersisted: Vec<Output>,
    /// Whether nothing can be kept, as was said.
    failing: bool,
}

impl SqliteJournal {
    /// Keeps that the rollout was given up where nobody knows what the proxies do.
    fn abandon(&self, command: &Command) -> Result<(), StoreError> {
        self.store.fail(self.id, &abandon_reason(command))?;
        self.new_events.send_modify(|times| *times += 1);
        Ok(())
    }
}

/// How a rollout ends that could not go on.
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
        // The disk may take its time; other rollouts go on meanwhile.
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

    /// The state has all that is needed of it.
    fn ruling(&mut self, _: &Ruling) {}

    fn on_poll(&mut self, late: Duration, took: Duration) {
        self.metrics.on_poll(late, took);
    }
}
