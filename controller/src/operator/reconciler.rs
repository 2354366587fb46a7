//! One object: begins its rollouts, goes on with them, stops them, and lets it go.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use kube::{Api, Error, ResourceExt};
use serde_json::Value;
use serin_core::ports::Journal;
use serin_core::rollout::command::{Action, Command, Rejected};
use serin_core::rollout::machine::{Output, Rollout};
use serin_core::spec::manifest::Manifest;
use serin_core::spec::{KIND, Spec};
use serin_filter::names::{Generation, VersionName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tracing::Instrument;

use super::intent::{Intent, desired_state, implied_command, intent, manifest, pending_command};
use super::mesh::{self, ClusterContext, MeshHandles, StartState};
use super::progress::{StatusContext, command_status, error_status, idle_status};
use super::reporter::RolloutReporter;
use super::scale_down::{report_write, scale_down};
use crate::engine::{ControlMessage, Engine, RunState, frozen};
use crate::kubernetes::deployments::DeploymentScaler;
use crate::kubernetes::objects::{ClusterError, classify, finalize};
use crate::kubernetes::status::{CommandReport, RolloutPhase, StatusCheckpoint};
use crate::operator::command::parse;
use crate::operator::journal::StatusJournal;
use crate::operator::mailbox::CommandMailbox;
use crate::operator::reconcile_error::{ReconcileError, invalid};
use crate::storage::status::{StatusError, StatusStore};
use crate::telemetry;

/// Keeps an object until its routes are as they shall be left.
pub(crate) const FINALIZER: &str = "serin.dev/routes";

/// What can't be done now is tried again after this time.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// How long the proxies of a deleted object may take to confirm that the baseline has all traffic.
const DELETE_TIMEOUT: Duration = Duration::from_secs(30);

/// Orders that may wait for a rollout to take them.
const CHANNEL_CAPACITY: usize = 16;

/// An object as it was seen last; `None` if it is gone.
pub(crate) type ObjectReceiver = watch::Receiver<Option<DynamicObject>>;

/// One object, and what it takes to look after it.
#[derive(Clone)]
pub(crate) struct RolloutReconciler {
    /// The cluster.
    pub(crate) cluster: ClusterContext,
    /// The objects of its namespace.
    pub(crate) api: Api<DynamicObject>,
    /// The operator.
    pub(crate) identity: String,
    /// Reports it.
    pub(crate) reporter: RolloutReporter,
}

/// What comes next.
enum NextStep {
    /// To look again when the object changes.
    Wait,
    /// To look again at once.
    Requeue,
    /// Nothing any more.
    Done,
}

impl RolloutReconciler {
    /// Looks after the object until it is gone.
    pub(crate) async fn run(self, mut seen: ObjectReceiver) {
        loop {
            let Some(name) = seen.borrow_and_update().as_ref().map(|object| object.name_any())
            else {
                return;
            };
            // What was written here may not have been seen yet.
            let object = match self.api.get(&name).await {
                Ok(object) => object,
                Err(Error::Api(status)) if status.code == 404 => return,
                Err(error) => {
                    let error = classify(&format!("{KIND} {name}"), KIND, error);
                    self.reporter.error(error.reason(), &error.to_string());
                    sleep(RETRY_INTERVAL).await;
                    continue;
                }
            };
            self.reporter.reconcile();
            match self.reconcile(object, &mut seen).await {
                NextStep::Requeue => {}
                NextStep::Done => return,
                NextStep::Wait => tokio::select! {
                    changed = seen.changed() => if changed.is_err() { return },
                    () = sleep(RETRY_INTERVAL) => {}
                },
            }
        }
    }

    async fn reconcile(&self, object: DynamicObject, seen: &mut ObjectReceiver) -> NextStep {
        let (identity, fence) = (&self.identity, self.cluster.fence.clone());
        let mut store = match StatusStore::open(self.api.clone(), object, identity, fence) {
            Ok(store) => store,
            Err(error) => {
                // Written by an operator of another release. What can't be read must not be lost.
                self.reporter
                    .error("StatusUnreadable", &format!("the status can't be read: {error}"));
                return NextStep::Wait;
            }
        };
        let manifest = match manifest(store.object()) {
            Ok(manifest) => manifest,
            Err(_) if store.status().checkpoint.is_some() => return self.resume(store, seen).await,
            Err(_) if store.object().metadata.deletion_timestamp.is_some() => {
                return self.finalize(store).await;
            }
            Err(why) => return self.report_error(store, invalid(why)).await,
        };
        let next = intent(desired_state(store.object(), &manifest), store.status());
        scale_down(&self.cluster, &self.reporter, &mut store, &next).await;
        match next {
            Intent::Resume => self.resume(store, seen).await,
            Intent::Finalize => self.finalize(store).await,
            Intent::Idle { phase, stable } => self.set_idle(store, &manifest, phase, stable).await,
            Intent::Begin { baseline, candidate } => {
                self.begin(store, manifest, baseline, candidate, seen).await
            }
        }
    }

    /// Says that nothing is to be done.
    async fn set_idle(
        &self,
        mut store: StatusStore,
        manifest: &Manifest,
        phase: RolloutPhase,
        stable: VersionName,
    ) -> NextStep {
        let mut status = idle_status(store.status(), status_context(store.object()), phase);
        status.stable = Some(stable);
        if let Some(text) = pending_command(desired_state(store.object(), manifest), store.status())
        {
            let reason = match parse(text) {
                Err(error) => error.to_string(),
                Ok(_) => "no rollout is under way".to_owned(),
            };
            self.reporter.error("CommandRejected", &reason);
            let (text, at) = (text.to_owned(), Timestamp::now());
            status = command_status(&status, CommandReport { text, at, rejected: Some(reason) });
        }
        self.written(store.write(status).await)
    }

    /// Says why something can't be done. It is tried again.
    async fn report_error(
        &self,
        mut store: StatusStore,
        ReconcileError(word, why): ReconcileError,
    ) -> NextStep {
        let status = error_status(store.status(), status_context(store.object()), word, &why);
        self.reporter.error(word, &why);
        self.written(store.write(status).await)
    }

    /// Begins a rollout, and carries it out to its end.
    async fn begin(
        &self,
        store: StatusStore,
        manifest: Manifest,
        baseline: VersionName,
        candidate: VersionName,
        seen: &mut ObjectReceiver,
    ) -> NextStep {
        let store = match self.ensure_finalizer(store).await {
            Ok(store) => store,
            Err(next) => return next,
        };
        let text = spec_text(store.object());
        let retry = pending_command(desired_state(store.object(), &manifest), store.status())
            .map(str::to_owned);
        let begun = match manifest.parse(baseline, candidate) {
            Ok(spec) => self.start(&store, spec).await,
            Err(error) => Err(invalid(error)),
        };
        let (mesh, course) = match begun {
            Ok(begun) => begun,
            Err(stuck) => return self.report_error(store, stuck).await,
        };
        let mailbox = CommandMailbox::default();
        if let Some(text) =
            retry.filter(|text| parse(text).is_ok_and(|o| o.action == Action::Retry))
        {
            mailbox.submit(&text);
            mailbox.accept(Timestamp::now());
        }
        self.run_rollout(store, mailbox, text, mesh, course, true, seen).await
    }

    async fn start(
        &self,
        store: &StatusStore,
        spec: Spec,
    ) -> Result<(MeshHandles, RunState), ReconcileError> {
        if let Some(until) = frozen(&spec.plan) {
            return Err(ReconcileError(
                "Frozen",
                format!("spec.freeze: nothing begins before {until}"),
            ));
        }
        let namespace = store.object().namespace().unwrap_or_default();
        let generation = Generation(store.status().generation);
        let deployments = self.deployments(&namespace, &spec);
        let begun = mesh::begin(&self.cluster, &namespace, spec, generation).await?;
        let StartState { mut mesh, plan, present } = begun;
        // Another object of the name, or the same retried, is another rollout to those whom its hooks call.
        let uid = store.object().uid().unwrap_or_default();
        let run = format!("{uid}/{}", Timestamp::now().as_millisecond());
        let (rollout, outputs) = Rollout::start(plan, present, run);
        deployments.into_iter().for_each(|known| mesh.router.set_check(known, &rollout));
        Ok((mesh, RunState { rollout, outputs, at: Duration::ZERO }))
    }

    /// The Deployments that the rollout looks at, if any.
    fn deployments(&self, namespace: &str, spec: &Spec) -> Option<DeploymentScaler> {
        let known = spec.deployments.as_ref();
        known.map(|known| {
            DeploymentScaler::of(&self.cluster.client, &self.cluster.fence, namespace, known)
        })
    }

    /// Goes on with what was left under way.
    async fn resume(&self, store: StatusStore, seen: &mut ObjectReceiver) -> NextStep {
        let Some(under_way) = store.status().checkpoint.clone() else { return NextStep::Requeue };
        let text = under_way.spec.clone();
        match self.resumed(&store, &under_way).await {
            Ok((mesh, course, keep)) => {
                self.run_rollout(store, CommandMailbox::default(), text, mesh, course, keep, seen)
                    .await
            }
            Err(stuck) => self.report_error(store, stuck).await,
        }
    }

    /// The rollout as it was, its split asked for again; and whether that is to be stored first: a rollback that was not is done again.
    async fn resumed(
        &self,
        store: &StatusStore,
        under_way: &StatusCheckpoint,
    ) -> Result<(MeshHandles, RunState, bool), ReconcileError> {
        let unreadable = |why: String| ReconcileError("StateUnreadable", why);
        let mut rollout: Rollout = serde_json::from_str(&under_way.state)
            .map_err(|error| unreadable(error.to_string()))?;
        let began: Value =
            serde_json::from_str(&under_way.spec).map_err(|error| unreadable(error.to_string()))?;
        let (name, namespace) =
            (store.object().name_any(), store.object().namespace().unwrap_or_default());
        let (baseline, candidate) = (under_way.baseline.clone(), under_way.candidate.clone());
        let spec = Manifest::read(&name, &namespace, &began)
            .and_then(|manifest| manifest.parse(baseline, candidate))
            .map_err(|error| unreadable(error.to_string()))?;
        // Whoever may write the status must not have more called, or other files read, than a ServiceRollout may.
        if !rollout.plan().calls_same_as(&spec.plan) {
            let what = "status.checkpoint.state calls others than status.checkpoint.spec";
            return Err(unreadable(what.to_owned()));
        }
        let (mut mesh, rolled_back) =
            mesh::resume(&self.cluster, &namespace, &spec, &rollout).await?;
        let deployments = self.deployments(&namespace, &spec);
        deployments.into_iter().for_each(|known| mesh.router.set_check(known, &rollout));
        let at = time(under_way, Timestamp::now());
        rollout.resume_clock(at);
        let outputs = match rolled_back {
            true => rollout.resume_rollback(at),
            false => rollout.replay(),
        };
        Ok((mesh, RunState { rollout, outputs, at }, rolled_back))
    }

    /// Carries a rollout out until it ends, or another operator has it.
    #[allow(clippy::too_many_arguments)] // what a rollout consists of
    async fn run_rollout(
        &self,
        store: StatusStore,
        mailbox: CommandMailbox,
        text: String,
        mesh: MeshHandles,
        course: RunState,
        keep: bool,
        seen: &mut ObjectReceiver,
    ) -> NextStep {
        let plan = course.rollout.plan();
        let versions = (plan.baseline.clone(), plan.candidate.clone());
        let (name, namespace) = (store.object().name_any(), store.object().namespace());
        let span = telemetry::rollout_span(&name, &plan.service, namespace.as_deref());
        mailbox.set_generation(store.object().metadata.generation.unwrap_or(0));
        mailbox.set_phase(store.status().phase);
        let stored = store.status().command.clone();
        let heard = mailbox.unreported().or(stored).map(|report| report.text);
        let (scales, reporter) = (mesh.router.scales(), self.reporter.clone());
        let mut journal = StatusJournal::new(store, mailbox.clone(), text, scales, reporter);
        let mut superseded = journal.superseded();
        let began: Vec<Output> = if keep { course.outputs.clone() } else { Vec::new() };
        if journal.commit(course.at, &course.rollout, &began).await.is_err()
            && !course.rollout.is_rolling_back()
        {
            return NextStep::Wait;
        }
        let (wishes, wished) = mpsc::channel(CHANNEL_CAPACITY);
        let MeshHandles { router, source, watches: _watches, .. } = mesh;
        let engine = Engine { router, source };
        tokio::select! {
            _ = engine.run(course, &mut journal, wished).instrument(span) => {}
            () = watch_object(seen, &versions, heard, &mailbox, &wishes) => {}
            _ = superseded.wait_for(|superseded| *superseded) => {}
        }
        NextStep::Requeue
    }

    /// Has the object stay until it is released.
    async fn ensure_finalizer(&self, store: StatusStore) -> Result<StatusStore, NextStep> {
        let finalizers = store.object().finalizers();
        if finalizers.iter().any(|known| known == FINALIZER) {
            return Ok(store);
        }
        let with = finalizers.iter().cloned().chain([FINALIZER.to_owned()]).collect();
        let fence = &self.cluster.fence;
        let object = match finalize(&self.api, store.object(), with, fence).await {
            Ok(object) => object,
            Err(ClusterError::Contended { .. }) => return Err(NextStep::Requeue),
            Err(error) => return Err(self.report_error(store, error.into()).await),
        };
        StatusStore::open(self.api.clone(), object, &self.identity, fence.clone()).map_err(
            |error| {
                self.reporter.error("StatusUnreadable", &error.to_string());
                NextStep::Wait
            },
        )
    }

    /// Lets the object go. Its routes are those of the version that runs: a rollout has ended before.
    async fn finalize(&self, store: StatusStore) -> NextStep {
        let others = store.object().finalizers().iter().filter(|known| *known != FINALIZER);
        let others: Vec<_> = others.cloned().collect();
        if others.len() == store.object().finalizers().len() {
            return NextStep::Wait;
        }
        match finalize(&self.api, store.object(), others, &self.cluster.fence).await {
            Ok(_) => NextStep::Done,
            Err(ClusterError::Contended { .. }) => NextStep::Requeue,
            Err(error) => self.report_error(store, error.into()).await,
        }
    }

    fn written(&self, written: Result<(), StatusError>) -> NextStep {
        match written {
            Ok(()) => NextStep::Wait,
            Err(StatusError::Gone) => NextStep::Done,
            Err(error) => {
                report_write(&self.reporter, &error);
                NextStep::Wait
            }
        }
    }
}

/// Hands on what the object says of a rollout under way, until it is gone.
async fn watch_object(
    seen: &mut ObjectReceiver,
    (baseline, candidate): &(VersionName, VersionName),
    mut heard: Option<String>,
    mailbox: &CommandMailbox,
    control: &mpsc::Sender<ControlMessage>,
) {
    let mut deleted: Option<Instant> = None;
    loop {
        let object = seen.borrow_and_update().clone();
        let Some(object) = object else { return };
        if let Ok(manifest) = manifest(&object) {
            let wanted = desired_state(&object, &manifest);
            if wanted.deleted {
                deleted.get_or_insert_with(Instant::now);
            }
            if let Some(mut command) =
                implied_command(wanted, (baseline, candidate), mailbox.phase())
            {
                command.force = deleted.is_some_and(|since| since.elapsed() >= DELETE_TIMEOUT);
                // Where it makes no sense any more, it is over.
                let _ = send_command(control, command).await;
            }
            if let Some(text) = wanted.command.filter(|text| heard.as_deref() != Some(text)) {
                heard = Some(text.to_owned());
                submit_command(text, mailbox, control).await;
            }
            mailbox.set_generation(object.metadata.generation.unwrap_or(0));
        }
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            // Proxies that confirm nothing are not waited for, for ever.
            () = sleep(DELETE_TIMEOUT), if deleted.is_some() => {}
        }
    }
}

/// Gives an order as it is in the annotation, and reports what becomes of it.
async fn submit_command(
    text: &str,
    mailbox: &CommandMailbox,
    control: &mpsc::Sender<ControlMessage>,
) {
    mailbox.submit(text);
    let rejected = match parse(text) {
        Ok(order) => send_command(control, order).await.err().map(|refused| refused.to_string()),
        Err(error) => Some(error.to_string()),
    };
    mailbox.report(CommandReport { text: text.to_owned(), at: Timestamp::now(), rejected });
}

async fn send_command(
    control: &mpsc::Sender<ControlMessage>,
    command: Command,
) -> Result<(), Rejected> {
    let over = || Rejected("the rollout is over".to_owned());
    let (reply, answer) = oneshot::channel();
    control.send(ControlMessage::Command(command, reply)).await.map_err(|_| over())?;
    answer.await.map_err(|_| over())?
}

/// `spec` as it is, to be kept.
fn spec_text(object: &DynamicObject) -> String {
    object.data.get("spec").map(Value::to_string).unwrap_or_default()
}

fn status_context(object: &DynamicObject) -> StatusContext {
    StatusContext { generation: object.metadata.generation.unwrap_or(0), now: Timestamp::now() }
}

/// The rollout's time: that of the last write, and what the clock says has passed since. One that was set back counts as standing still.
fn time(under_way: &StatusCheckpoint, now: Timestamp) -> Duration {
    let passed = now.duration_since(under_way.wall).max(SignedDuration::ZERO);
    Duration::from_millis(under_way.at_ms).saturating_add(passed.unsigned_abs())
}
