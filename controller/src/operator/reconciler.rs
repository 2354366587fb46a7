//! Reconciles one object: starts and resumes its rollouts, and releases the object when it is deleted.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use kube::{Api, Error, ResourceExt};
use serde_json::Value;
use serin_core::ports::Journal;
use serin_core::rollout::command::Action;
use serin_core::rollout::machine::Rollout;
use serin_core::spec::manifest::Manifest;
use serin_core::spec::{KIND, Spec};
use serin_filter::names::{Generation, VersionName};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::Instrument;

use super::control::{ObjectReceiver, RolloutControl};
use super::intent::{Intent, desired_state, intent, manifest, pending_command};
use super::mesh::{ClusterContext, MeshBackend, MeshEngine};
use super::progress::{StatusContext, command_status, error_status, idle_status};
use super::reporter::RolloutReporter;
use super::scale_down::{report_write, scale_down};
use crate::engine::RunState;
use crate::engine::start::{self, StartOptions};
use crate::kubernetes::deployments::DeploymentScaler;
use crate::kubernetes::objects::{ClusterError, classify, finalize};
use crate::kubernetes::status::{CommandReport, RolloutPhase, StatusCheckpoint};
use crate::operator::command::parse;
use crate::operator::journal::StatusJournal;
use crate::operator::mailbox::CommandMailbox;
use crate::operator::reconcile_error::{ReconcileError, invalid};
use crate::storage::status::{StatusError, StatusStore};
use crate::telemetry;

/// Keeps a deleted object until its rollout has ended.
pub(crate) const FINALIZER: &str = "serin.dev/routes";

/// The interval between retries.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

/// The maximum number of commands that wait for a rollout.
const CHANNEL_CAPACITY: usize = 16;

/// The reconciler of one object.
#[derive(Clone)]
pub(crate) struct RolloutReconciler {
    /// The cluster, and the state that all rollouts share.
    pub(crate) cluster: ClusterContext,
    /// The ServiceRollouts of its namespace.
    pub(crate) api: Api<DynamicObject>,
    /// The identity of this operator.
    pub(crate) identity: String,
    /// Reports errors, events and progress.
    pub(crate) reporter: RolloutReporter,
}

/// The next step of the reconciler.
enum NextStep {
    /// Reconcile when the object changes, or after the retry interval.
    Wait,
    /// Reconcile at once.
    Requeue,
    /// Stop.
    Done,
}

impl RolloutReconciler {
    /// Reconciles the object until it is gone.
    pub(crate) async fn run(self, mut watched: ObjectReceiver) {
        loop {
            let Some(name) = watched.borrow_and_update().as_ref().map(|object| object.name_any())
            else {
                return;
            };
            // The watch may lag behind the writes of this task.
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
            match self.reconcile(object, &mut watched).await {
                NextStep::Requeue => {}
                NextStep::Done => return,
                NextStep::Wait => tokio::select! {
                    changed = watched.changed() => if changed.is_err() { return },
                    () = sleep(RETRY_INTERVAL) => {}
                },
            }
        }
    }

    async fn reconcile(&self, object: DynamicObject, watched: &mut ObjectReceiver) -> NextStep {
        let (identity, fence) = (&self.identity, self.cluster.fence.clone());
        let mut store = match StatusStore::open(self.api.clone(), object, identity, fence) {
            Ok(store) => store,
            Err(error) => {
                // An operator of another version wrote it. An unreadable status is not overwritten.
                self.reporter
                    .error("StatusUnreadable", &format!("the status can't be read: {error}"));
                return NextStep::Wait;
            }
        };
        let manifest = match manifest(store.object()) {
            Ok(manifest) => manifest,
            Err(_) if store.status().checkpoint.is_some() => {
                return self.resume(store, watched).await;
            }
            Err(_) if store.object().metadata.deletion_timestamp.is_some() => {
                return self.finalize(store).await;
            }
            Err(reason) => return self.report_error(store, invalid(reason)).await,
        };
        let next = intent(desired_state(store.object(), &manifest), store.status());
        scale_down(&self.cluster, &self.reporter, &mut store, &next).await;
        match next {
            Intent::Resume => self.resume(store, watched).await,
            Intent::Finalize => self.finalize(store).await,
            Intent::Idle { phase, stable } => self.set_idle(store, &manifest, phase, stable).await,
            Intent::Begin { baseline, candidate } => {
                self.begin(store, manifest, baseline, candidate, watched).await
            }
        }
    }

    /// Writes the status of an object without a rollout.
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

    /// Reports an error in the status. The reconcile is retried.
    async fn report_error(
        &self,
        mut store: StatusStore,
        ReconcileError(reason, message): ReconcileError,
    ) -> NextStep {
        let status = error_status(store.status(), status_context(store.object()), reason, &message);
        self.reporter.error(reason, &message);
        self.written(store.write(status).await)
    }

    /// Starts a rollout, and runs it to its end.
    async fn begin(
        &self,
        store: StatusStore,
        manifest: Manifest,
        baseline: VersionName,
        candidate: VersionName,
        watched: &mut ObjectReceiver,
    ) -> NextStep {
        let store = match self.ensure_finalizer(store).await {
            Ok(store) => store,
            Err(next) => return next,
        };
        let text = spec_text(store.object());
        let retry = pending_command(desired_state(store.object(), &manifest), store.status())
            .map(str::to_owned);
        let started = match manifest.parse(baseline, candidate) {
            Ok(spec) => self.start(&store, spec).await,
            Err(error) => Err(invalid(error)),
        };
        let (engine, course) = match started {
            Ok(started) => started,
            Err(error) => return self.report_error(store, error).await,
        };
        let mailbox = CommandMailbox::default();
        if let Some(text) =
            retry.filter(|text| parse(text).is_ok_and(|command| command.action == Action::Retry))
        {
            mailbox.submit(&text);
            mailbox.accept(Timestamp::now());
        }
        self.run_rollout(store, mailbox, text, engine, course, watched).await
    }

    async fn start(
        &self,
        store: &StatusStore,
        spec: Spec,
    ) -> Result<(MeshEngine, RunState), ReconcileError> {
        let namespace = store.object().namespace().unwrap_or_default();
        let deployments = self.deployments(&namespace, &spec);
        let backend = MeshBackend::open(&self.cluster, &namespace, &spec).await?;
        // A retry, or another object of the same name, is another rollout for hooks.
        let uid = store.object().uid().unwrap_or_default();
        let options = StartOptions {
            run: format!("{uid}/{}", Timestamp::now().as_millisecond()),
            reset_users: false,
            last_generation: Generation(store.status().generation),
        };
        let (mut engine, course) = start::begin(backend, spec.plan, options).await?;
        if let Some(deployments) = deployments {
            engine.router.set_check(deployments, &course.rollout);
        }
        Ok((engine, course))
    }

    /// The Deployments of the rollout's versions, if the specification names them.
    fn deployments(&self, namespace: &str, spec: &Spec) -> Option<DeploymentScaler> {
        let deployments = spec.deployments.as_ref();
        deployments.map(|named| {
            DeploymentScaler::of(&self.cluster.client, &self.cluster.fence, namespace, named)
        })
    }

    /// Resumes the stored rollout, and runs it to its end.
    async fn resume(&self, store: StatusStore, watched: &mut ObjectReceiver) -> NextStep {
        let Some(checkpoint) = store.status().checkpoint.clone() else { return NextStep::Requeue };
        let text = checkpoint.spec.clone();
        match self.restore(&store, &checkpoint).await {
            Ok((engine, course)) => {
                let mailbox = CommandMailbox::default();
                self.run_rollout(store, mailbox, text, engine, course, watched).await
            }
            Err(error) => self.report_error(store, error).await,
        }
    }

    /// Restores the stored rollout.
    async fn restore(
        &self,
        store: &StatusStore,
        checkpoint: &StatusCheckpoint,
    ) -> Result<(MeshEngine, RunState), ReconcileError> {
        let unreadable = |reason: String| ReconcileError("StateUnreadable", reason);
        let rollout: Rollout = serde_json::from_str(&checkpoint.state)
            .map_err(|error| unreadable(error.to_string()))?;
        let spec: Value = serde_json::from_str(&checkpoint.spec)
            .map_err(|error| unreadable(error.to_string()))?;
        let (name, namespace) =
            (store.object().name_any(), store.object().namespace().unwrap_or_default());
        let (baseline, candidate) = (checkpoint.baseline.clone(), checkpoint.candidate.clone());
        let spec = Manifest::read(&name, &namespace, &spec)
            .and_then(|manifest| manifest.parse(baseline, candidate))
            .map_err(|error| unreadable(error.to_string()))?;
        // A writer of the status must not gain hooks or secrets that the specification does not name.
        if !rollout.plan().calls_same_as(&spec.plan) {
            let reason = "status.checkpoint.state calls other hooks than status.checkpoint.spec";
            return Err(unreadable(reason.to_owned()));
        }
        let backend = MeshBackend::open(&self.cluster, &namespace, &spec).await?;
        let at = time(checkpoint, Timestamp::now());
        let (mut engine, course) = start::resume(backend, rollout, at).await?;
        if let Some(deployments) = self.deployments(&namespace, &spec) {
            engine.router.set_check(deployments, &course.rollout);
        }
        Ok((engine, course))
    }

    /// Runs a rollout until it ends, its object is gone, or another operator writes the status.
    async fn run_rollout(
        &self,
        store: StatusStore,
        mailbox: CommandMailbox,
        text: String,
        engine: MeshEngine,
        course: RunState,
        object: &mut ObjectReceiver,
    ) -> NextStep {
        let plan = course.rollout.plan();
        let (name, namespace) = (store.object().name_any(), store.object().namespace());
        let span = telemetry::rollout_span(&name, &plan.service, namespace.as_deref());
        mailbox.set_generation(store.object().metadata.generation.unwrap_or(0));
        mailbox.set_phase(store.status().phase);
        let stored = store.status().command.clone();
        let (sender, commands) = mpsc::channel(CHANNEL_CAPACITY);
        let control = RolloutControl {
            mailbox: mailbox.clone(),
            sender,
            baseline: plan.baseline.clone(),
            candidate: plan.candidate.clone(),
            last_command: mailbox.unreported().or(stored).map(|report| report.text),
        };
        let (scales, reporter) = (engine.router.scales(), self.reporter.clone());
        let mut journal = StatusJournal::new(store, mailbox, text, scales, reporter);
        let mut superseded = journal.superseded();
        let committed = journal.commit(course.at, &course.rollout, &course.outputs).await;
        if committed.is_err() && !course.rollout.is_rolling_back() {
            return NextStep::Wait;
        }
        tokio::select! {
            _ = engine.run(course, &mut journal, commands).instrument(span) => {}
            () = control.follow(object) => {}
            _ = superseded.wait_for(|superseded| *superseded) => {}
        }
        NextStep::Requeue
    }

    /// Adds the finalizer.
    async fn ensure_finalizer(&self, store: StatusStore) -> Result<StatusStore, NextStep> {
        let finalizers = store.object().finalizers();
        if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
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

    /// Removes the finalizer. The rollout has ended, so all traffic reaches one version.
    async fn finalize(&self, store: StatusStore) -> NextStep {
        let others = store.object().finalizers().iter().filter(|finalizer| *finalizer != FINALIZER);
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

/// The object's `spec` as JSON.
fn spec_text(object: &DynamicObject) -> String {
    object.data.get("spec").map(Value::to_string).unwrap_or_default()
}

fn status_context(object: &DynamicObject) -> StatusContext {
    StatusContext { generation: object.metadata.generation.unwrap_or(0), now: Timestamp::now() }
}

/// The rollout's time: that of the last write, plus the time since by the clock. A clock that was
/// set back counts as no time.
fn time(checkpoint: &StatusCheckpoint, now: Timestamp) -> Duration {
    let passed = now.duration_since(checkpoint.wall).max(SignedDuration::ZERO);
    Duration::from_millis(checkpoint.at_ms).saturating_add(passed.unsigned_abs())
}
