//! Many rollouts, kept in a store: begins them, one at a time for a service, goes on with them after a restart, and
//! hands orders on to them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serin_core::judge::Ruling;
use serin_core::ports::Observer;
use serin_core::rollout::command::{Order, Refused, Verb};
use serin_core::rollout::event::{Event, Status};
use serin_core::rollout::machine::{Output, Rollout};
use serin_core::spec::{Spec, SpecError};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::block_in_place;
use tokio::time::timeout;

use self::readiness::Readiness;
use crate::engine::{Course, Shared, Standalone, Wish};
use crate::storage::sqlite::{Entry, Kept, Phase, Store, StoreError};
use crate::telemetry::Looks;

mod readiness;

/// Orders that may wait for a rollout to take them.
const WAITING: usize = 16;

/// Events of a rollback that may wait for the store.
const UNKEPT: usize = 1_000;

/// How often what is kept is looked through for what is old.
const FORGETTING: Duration = Duration::from_secs(3_600);

/// What can't be done now is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Why something that was asked for is not done. Nothing was changed, but for [`Failure::Start`].
#[derive(Debug, Error)]
#[allow(missing_docs)] // the messages say it
pub enum Failure {
    #[error(transparent)]
    Spec(#[from] SpecError),
    #[error("rollout {id}: {why}")]
    Start { id: i64, why: String },
    #[error(transparent)]
    Refused(#[from] Refused),
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
pub struct Runner {
    options: Options,
    shared: Shared,
    store: Arc<Store>,
    active: Mutex<HashMap<i64, Active>>,
    /// Changes whenever anything has been kept: there may be events to read.
    kept: watch::Sender<u64>,
    /// Held while rollouts are begun: two at once must not take the same service.
    beginning: tokio::sync::Mutex<()>,
    readiness: Arc<Readiness>,
    looks: Arc<Looks>,
}

/// What a runner may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// Whether hooks may be commands.
    pub allow_commands: bool,
    /// The directory of the secrets that rollouts may name, unless they may run commands anyway.
    pub secrets: Option<PathBuf>,
    /// For how long what has ended is kept.
    pub keep: Duration,
}

/// A rollout under way.
#[derive(Debug)]
struct Active {
    service: String,
    wishes: mpsc::Sender<Wish>,
    status: watch::Receiver<Option<Status>>,
}

impl Runner {
    /// Takes the store over, and goes on with what is under way in it.
    ///
    /// # Errors
    /// It can't be read.
    pub async fn start(
        store: Arc<Store>,
        options: Options,
        shared: Shared,
    ) -> Result<Arc<Self>, Failure> {
        let runner = Arc::new(Self {
            options,
            shared,
            store,
            active: Mutex::default(),
            kept: watch::Sender::new(0),
            beginning: tokio::sync::Mutex::default(),
            readiness: Arc::default(),
            looks: Arc::default(),
        });
        for entry in runner.store.list()? {
            if entry.phase == Phase::Running
                && let Err(error) = runner.go_on(&entry)
            {
                eprintln!("serin: rollout {} can't go on: {error}", entry.id);
            }
        }
        // A proxy may keep it waiting; whoever asks is answered meanwhile.
        let taking_over = runner.clone();
        tokio::spawn(async move {
            taking_over.begin_queued_in_the_end().await;
            taking_over.readiness.taken_over();
        });
        tokio::spawn(runner.clone().forget());
        Ok(runner)
    }

    /// Forgets what has been kept for long enough, now and then.
    async fn forget(self: Arc<Self>) {
        loop {
            let keep = SignedDuration::try_from(self.options.keep).unwrap_or(SignedDuration::MAX);
            let before = Timestamp::now().checked_sub(keep).unwrap_or(Timestamp::MIN);
            if let Err(error) = block_in_place(|| self.store.forget(before)) {
                eprintln!("serin: old rollouts can't be forgotten: {error}");
            }
            tokio::time::sleep(FORGETTING).await;
        }
    }

    /// How punctual looks are.
    #[must_use]
    pub fn looks(&self) -> &Looks {
        &self.looks
    }

    /// Whether it has taken over what was in the store, and can write it.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        self.readiness.check(&self.store)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<i64, Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a rollout on: begins it, or queues it behind the one that has its service. If it replaces others, those of its
    /// service are aborted: what is under way goes back to its baseline first.
    ///
    /// # Errors
    /// It is not valid, or can't begin.
    pub async fn apply(self: &Arc<Self>, text: &str, replace: bool) -> Result<Entry, Failure> {
        let spec = self.checked(text)?;
        let id = self.store.add(&spec.plan, text)?;
        if replace {
            self.replace(id, spec.plan.service.as_str()).await?;
        }
        self.begin_added(id).await
    }

    fn checked(&self, text: &str) -> Result<Spec, Failure> {
        let spec = Spec::parse(text)?;
        if self.options.allow_commands {
            return Ok(spec);
        }
        if let Some(command) = spec.plan.commands().next() {
            return Err(Failure::Commands(command.join(" ")));
        }
        spec.keeps_to(self.options.secrets.as_deref())?;
        Ok(spec)
    }

    /// Aborts what is under way or queued for this service, but for this rollout. What is promoted already stays so, and is waited for.
    async fn replace(&self, id: i64, service: &str) -> Result<(), Failure> {
        for entry in self.store.list()? {
            let live = matches!(entry.phase, Phase::Queued | Phase::Running);
            if entry.id == id || entry.service != service || !live {
                continue;
            }
            let (verb, by) = (Verb::Abort, "serin".to_owned());
            let why = Some(format!("replaced by rollout {id}"));
            let order = Order { verb, by, why, step: None, seconds: None, force: false };
            self.abort_wherever_it_is(entry, order).await?;
        }
        Ok(())
    }

    /// Aborts a rollout, which may begin meanwhile. That it can't be aborted is no failure.
    async fn abort_wherever_it_is(&self, entry: Entry, order: Order) -> Result<(), Failure> {
        let (id, phase) = (entry.id, entry.phase);
        match self.hand_on(entry, order.clone()).await {
            Ok(_) => return Ok(()),
            Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
        let now = self.entry(id)?;
        let has_begun = (phase, now.phase) == (Phase::Queued, Phase::Running);
        match has_begun {
            true => match self.hand_on(now, order).await {
                Ok(_) | Err(Failure::Refused(_)) => Ok(()),
                Err(failure) => Err(failure),
            },
            false => Ok(()),
        }
    }

    /// Begins once more what has ended otherwise than by promotion. If that is under way already, gives that.
    async fn retry(self: &Arc<Self>, entry: Entry, order: Order) -> Result<Entry, Failure> {
        let refuse = |why: &str| Err(Refused(format!("rollout {} {why}", entry.id)).into());
        match (entry.phase, entry.outcome.as_deref()) {
            (Phase::Queued | Phase::Running, _) => return refuse("is under way"),
            (Phase::Ended, Some("promoted")) => return refuse("was promoted"),
            _ => {}
        }
        let is_retry = |other: &Entry| {
            other.retry_of == Some(entry.id)
                && matches!(other.phase, Phase::Queued | Phase::Running)
        };
        let spec = self.checked(&entry.spec)?;
        let id = {
            // Who retries at the same time gets the same one.
            let _one_at_a_time = self.beginning.lock().await;
            if let Some(retry) = self.store.list()?.into_iter().find(is_retry) {
                return Ok(retry);
            }
            self.store.retry(entry.id, &spec.plan, &entry.spec, order)?
        };
        self.begin_added(id).await
    }

    async fn begin_added(self: &Arc<Self>, id: i64) -> Result<Entry, Failure> {
        let runner = self.clone();
        // Whoever asked may go away before it has begun.
        let begun = tokio::spawn(async move { runner.begin_queued().await });
        if let Ok(begun) = begun.await {
            begun?;
        }
        let entry = self.entry(id)?;
        match (entry.phase, &entry.outcome) {
            (Phase::Failed, Some(why)) => Err(Failure::Start { id, why: why.clone() }),
            _ => Ok(entry),
        }
    }

    /// Begins what can begin, as soon as the store lets it.
    async fn begin_queued_in_the_end(self: &Arc<Self>) {
        while let Err(error) = self.begin_queued().await {
            eprintln!("serin: what is queued can't begin: {error}");
            tokio::time::sleep(TRY_AGAIN).await;
        }
    }

    /// Begins what can begin, in the order in which it came.
    async fn begin_queued(self: &Arc<Self>) -> Result<(), StoreError> {
        let _one_at_a_time = self.beginning.lock().await;
        let entries = self.store.list()?;
        let of = |phase| entries.iter().filter(move |entry| entry.phase == phase);
        // Those too that are under way, but can't go on.
        let running: Vec<_> = of(Phase::Running).map(|entry| entry.service.as_str()).collect();
        for entry in of(Phase::Queued).collect::<Vec<_>>().into_iter().rev() {
            match self.checked(&entry.spec) {
                Ok(spec) if running.contains(&entry.service.as_str()) || self.is_taken(&spec) => {}
                Ok(spec) => self.begin(entry, spec).await?,
                Err(error) => self.store.fail(entry.id, &error.to_string())?,
            }
            self.note();
        }
        Ok(())
    }

    async fn begin(self: &Arc<Self>, entry: &Entry, spec: Spec) -> Result<(), StoreError> {
        match Standalone::begin(&self.shared, spec, entry.id.to_string(), false).await {
            Ok((engine, course)) => {
                self.store.keep(entry.id, Duration::ZERO, &course.rollout, &course.outputs)?;
                let service = entry.service.clone();
                self.spawn(entry.id, service, Beginning::Ready(Box::new((engine, course))));
                Ok(())
            }
            Err(why) => self.store.fail(entry.id, &why.to_string()),
        }
    }

    /// Wakes whoever waits for events.
    fn note(&self) {
        self.kept.send_modify(|times| *times += 1);
    }

    fn is_taken(&self, spec: &Spec) -> bool {
        self.active().values().any(|active| active.service == spec.plan.service.as_str())
    }

    /// Goes on with a rollout that a process before this one left under way.
    fn go_on(self: &Arc<Self>, entry: &Entry) -> Result<(), Failure> {
        let spec = self.checked(&entry.spec)?;
        let (id, service) = (entry.id, entry.service.clone());
        let Some(kept) = self.store.kept(id)? else { return Ok(()) };
        self.spawn(id, service, Beginning::Kept(Box::new((spec, kept))));
        Ok(())
    }

    fn spawn(self: &Arc<Self>, id: i64, service: String, beginning: Beginning) {
        let (wishes, mut wished) = mpsc::channel(WAITING);
        let (told, status) = watch::channel(None);
        self.active().insert(id, Active { service, wishes, status });
        let runner = self.clone();
        tokio::spawn(async move {
            let (store, kept) = (runner.store.clone(), runner.kept.clone());
            let readiness = runner.readiness.clone();
            let (unkept, failing, looks) = (Vec::new(), false, runner.looks.clone());
            let mut clerk =
                Clerk { id, store, kept, readiness, looks, status: told, unkept, failing };
            let ready = beginning.ready(&runner.shared, &mut clerk, &mut wished).await;
            if let Some((engine, course)) = ready {
                engine.run(course, &mut clerk, wished).await;
            }
            runner.active().remove(&id);
            runner.begin_queued_in_the_end().await;
        });
    }

    /// Gives an order.
    ///
    /// # Errors
    /// It makes no sense, or there is no such rollout.
    pub async fn order(self: &Arc<Self>, id: i64, order: Order) -> Result<Entry, Failure> {
        let entry = self.entry(id)?;
        match order.verb {
            Verb::Retry => self.retry(entry, order).await,
            _ => self.hand_on(entry, order).await,
        }
    }

    /// Has a rollout under way take an order.
    async fn hand_on(&self, entry: Entry, order: Order) -> Result<Entry, Failure> {
        let id = entry.id;
        if entry.phase == Phase::Queued && order.verb == Verb::Abort {
            return self.withdraw(id, &order).await;
        }
        let over = || Failure::Refused(Refused(format!("rollout {id} is not under way")));
        let wishes = self.active().get(&id).map(|active| active.wishes.clone());
        if wishes.is_none() && entry.phase == Phase::Running && order.gives_up() {
            // What was kept of it can't be read.
            self.store.fail(id, &given_up(&order))?;
            self.note();
            return self.entry(id);
        }
        let wishes = wishes.ok_or_else(over)?;
        let (reply, answer) = oneshot::channel();
        wishes.send(Wish::Order(order, reply)).await.map_err(|_| over())?;
        answer.await.map_err(|_| over())??;
        Ok(entry)
    }

    /// Takes a rollout out of the queue.
    async fn withdraw(&self, id: i64, order: &Order) -> Result<Entry, Failure> {
        let _nobody_begins_it = self.beginning.lock().await;
        if self.entry(id)?.phase != Phase::Queued {
            return Err(Refused(format!("rollout {id} has begun meanwhile")).into());
        }
        self.store.fail(id, &order.to_string())?;
        self.note();
        self.entry(id)
    }

    /// A rollout.
    ///
    /// # Errors
    /// There is none of this number.
    pub fn entry(&self, id: i64) -> Result<Entry, Failure> {
        self.store.get(id)?.ok_or(Failure::Unknown(id))
    }

    /// All rollouts, the last first.
    ///
    /// # Errors
    /// They can't be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Failure> {
        Ok(self.store.list()?)
    }

    /// Where a rollout stands; `None` unless it is under way.
    #[must_use]
    pub fn status(&self, id: i64) -> Option<Status> {
        self.active().get(&id)?.status.borrow().clone()
    }

    /// What was told of a rollout after the event with this sequence number, as JSON, in order.
    ///
    /// # Errors
    /// It can't be read.
    pub fn events(&self, id: i64, after: i64) -> Result<Vec<(i64, String)>, Failure> {
        Ok(self.store.events(id, after)?)
    }

    /// Changes when there may be more events.
    #[must_use]
    pub fn more_events(&self) -> watch::Receiver<u64> {
        self.kept.subscribe()
    }
}

/// How a rollout gets under way.
enum Beginning {
    /// At its first step.
    Ready(Box<(Standalone, Course)>),
    /// Where it was when the process before this one ended.
    Kept(Box<(Spec, Kept)>),
}

impl Beginning {
    /// Opens the proxy's file, for as long as it takes. Nothing can be ordered until then, but to give it up: then `None`.
    async fn ready(
        self,
        shared: &Shared,
        clerk: &mut Clerk,
        wished: &mut mpsc::Receiver<Wish>,
    ) -> Option<(Standalone, Course)> {
        let (spec, Kept { rollout, at }) = match self {
            Self::Ready(ready) => return Some(*ready),
            Self::Kept(kept) => *kept,
        };
        let mut told = None;
        loop {
            let error = match Standalone::resume(shared, spec.clone(), rollout.clone(), at) {
                Ok((engine, course)) => {
                    // What begins anew here is a rollback, which waits for nothing.
                    let _ = clerk.keep(at, &course.rollout, &course.outputs).await;
                    return Some((engine, course));
                }
                Err(error) => error.to_string(),
            };
            if told.as_ref() != Some(&error) {
                eprintln!("serin: rollout {} can't go on yet: {error}", clerk.id);
                told = Some(error.clone());
            }
            let Ok(Some(Wish::Order(order, reply))) = timeout(TRY_AGAIN, wished.recv()).await
            else {
                continue;
            };
            let answer = match order.gives_up() {
                true => clerk.give_up(&order).map_err(|error| Refused(error.to_string())),
                false => Err(Refused(format!(
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
struct Clerk {
    id: i64,
    store: Arc<Store>,
    kept: watch::Sender<u64>,
    readiness: Arc<Readiness>,
    looks: Arc<Looks>,
    status: watch::Sender<Option<Status>>,
    /// What was done, but could not be kept yet.
    unkept: Vec<Output>,
    /// Whether nothing can be kept, as was said.
    failing: bool,
}

impl Clerk {
    /// Keeps that the rollout was given up where nobody knows what the proxies do.
    fn give_up(&self, order: &Order) -> Result<(), StoreError> {
        self.store.fail(self.id, &given_up(order))?;
        self.kept.send_modify(|times| *times += 1);
        Ok(())
    }
}

/// How a rollout ends that could not go on.
fn given_up(order: &Order) -> String {
    format!("given up where it stood, the proxies unchanged: {order}")
}

impl Observer for Clerk {
    async fn keep(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), String> {
        let is_told = |output: &&Output| matches!(output, Output::Tell(_));
        let waiting = self.unkept.len();
        self.unkept.extend(outputs.iter().filter(is_told).cloned());
        // The disk may take its time; other rollouts go on meanwhile.
        match self.store.keep_with_others(self.id, at, rollout, &self.unkept).await {
            Ok(()) => {
                self.readiness.wrote(Ok(()));
                self.failing = false;
                self.unkept.clear();
                self.kept.send_modify(|times| *times += 1);
                Ok(())
            }
            Err(error) => {
                self.readiness.wrote(Err(error.to_string()));
                // A rollback goes on, and is told later; the rest is not done.
                self.unkept.truncate(if rollout.goes_back() { UNKEPT } else { waiting });
                if !std::mem::replace(&mut self.failing, true) {
                    eprintln!(
                        "serin: rollout {} stays where it is until the store can be written: {error}",
                        self.id
                    );
                }
                Err(error.to_string())
            }
        }
    }

    fn event(&mut self, _: Duration, event: &Event) {
        if let Event::Progress(status) = event {
            self.status.send_replace(Some(status.clone()));
        }
    }

    /// The state has all that is needed of it.
    fn ruling(&mut self, _: &Ruling) {}

    fn looked(&mut self, late: Duration, took: Duration) {
        self.looks.observe(late, took);
    }
}
