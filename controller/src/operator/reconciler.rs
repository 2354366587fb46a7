//! One object: begins its rollouts, goes on with them, stops them, and lets it go.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::api::DynamicObject;
use kube::{Api, Error, ResourceExt};
use serde_json::Value;
use serin_core::ports::Observer;
use serin_core::rollout::command::{Order, Refused, Verb};
use serin_core::rollout::machine::{Output, Rollout};
use serin_core::spec::Spec;
use serin_core::spec::manifest::Manifest;
use serin_filter::names::{Generation, VersionName};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};

use super::intent::{Intent, Wanted, intent, unheard, wish};
use super::mesh::{self, Beginning, Cluster, Mesh};
use super::progress::{Moment, reported, rested, stuck};
use crate::engine::{Course, Engine, Wish, frozen};
use crate::kubernetes::deployments::Deployments;
use crate::kubernetes::event_mapping::Announcement;
use crate::kubernetes::objects::finalize;
use crate::kubernetes::status::{OrderReport, Phase, UnderWay};
use crate::operator::command::{ANNOTATION, parse};
use crate::operator::journal::Clerk;
use crate::operator::mailbox::Desk;
use crate::operator::reconcile_error::{Stuck, invalid};
use crate::storage::status::{Store, StoreError};

/// Keeps an object until its routes are as they shall be left.
pub(crate) const FINALIZER: &str = "serin.dev/routes";

/// What can't be done now is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// How long the proxies of a deleted object may take to confirm that the baseline has all traffic.
const FAREWELL: Duration = Duration::from_secs(30);

/// Orders that may wait for a rollout to take them.
const WAITING: usize = 16;

/// An object as it was seen last; `None` if it is gone.
pub(crate) type Seen = watch::Receiver<Option<DynamicObject>>;

/// One object, and what it takes to look after it.
#[derive(Clone)]
pub(crate) struct Release {
    /// The cluster.
    pub(crate) cluster: Cluster,
    /// The objects of its namespace.
    pub(crate) api: Api<DynamicObject>,
    /// The operator.
    pub(crate) identity: String,
    /// What is told of it.
    pub(crate) events: mpsc::Sender<Announcement>,
}

/// What comes next.
enum Next {
    /// To look again when the object changes.
    Wait,
    /// To look again at once.
    Again,
    /// Nothing any more.
    Gone,
}

impl Release {
    /// Looks after the object until it is gone.
    pub(crate) async fn tend(self, mut seen: Seen) {
        loop {
            let Some(name) = seen.borrow_and_update().as_ref().map(|object| object.name_any())
            else {
                return;
            };
            // What was written here may not have been seen yet.
            let object = match self.api.get(&name).await {
                Ok(object) => object,
                Err(Error::Api(status)) if status.code == 404 => return,
                Err(_) => {
                    sleep(TRY_AGAIN).await;
                    continue;
                }
            };
            match self.look(object, &mut seen).await {
                Next::Again => {}
                Next::Gone => return,
                Next::Wait => tokio::select! {
                    changed = seen.changed() => if changed.is_err() { return },
                    () = sleep(TRY_AGAIN) => {}
                },
            }
        }
    }

    async fn look(&self, object: DynamicObject, seen: &mut Seen) -> Next {
        let (identity, fence) = (&self.identity, self.cluster.fence.clone());
        let mut store = match Store::open(self.api.clone(), object, identity, fence) {
            Ok(store) => store,
            Err(error) => {
                // Written by an operator of another release. What can't be read must not be lost.
                self.tell("StatusUnreadable", format!("the status can't be read: {error}"));
                return Next::Wait;
            }
        };
        let manifest = match manifest(store.object()) {
            Ok(manifest) => manifest,
            Err(_) if store.status().under_way.is_some() => return self.resume(store, seen).await,
            Err(_) if store.object().metadata.deletion_timestamp.is_some() => {
                return self.release(&store).await;
            }
            Err(why) => return self.stick(store, invalid(why)).await,
        };
        let next = intent(wanted(store.object(), &manifest), store.status());
        self.retire(&mut store, &next).await;
        match next {
            Intent::Resume => self.resume(store, seen).await,
            Intent::Release => self.release(&store).await,
            Intent::Rest { phase, stable } => self.rest(store, &manifest, phase, stable).await,
            Intent::Begin { baseline, candidate } => {
                self.begin(store, manifest, baseline, candidate, seen).await
            }
        }
    }

    fn tell(&self, reason: &'static str, note: String) {
        // Whoever tells is too slow: the status has what counts.
        let _ = self.events.try_send(Announcement { warning: true, reason, note });
    }

    /// Says that nothing is to be done.
    async fn rest(
        &self,
        mut store: Store,
        manifest: &Manifest,
        phase: Phase,
        stable: VersionName,
    ) -> Next {
        let mut status = rested(store.status(), moment(store.object()), phase);
        status.stable = Some(stable);
        if let Some(text) = unheard(wanted(store.object(), manifest), store.status()) {
            let why = match parse(text) {
                Err(error) => error.to_string(),
                Ok(_) => "no rollout is under way".to_owned(),
            };
            self.tell("OrderRefused", why.clone());
            let (text, at) = (text.to_owned(), Timestamp::now());
            status = reported(&status, OrderReport { text, at, refused: Some(why) });
        }
        written(store.write(status).await)
    }

    /// Says why something can't be done. It is tried again.
    async fn stick(&self, mut store: Store, Stuck(word, why): Stuck) -> Next {
        let status = stuck(store.status(), moment(store.object()), word, &why);
        if status.conditions != store.status().conditions {
            self.tell(word, why);
        }
        written(store.write(status).await)
    }

    /// Begins a rollout, and carries it out to its end.
    async fn begin(
        &self,
        store: Store,
        manifest: Manifest,
        baseline: VersionName,
        candidate: VersionName,
        seen: &mut Seen,
    ) -> Next {
        let store = match self.keep_until_released(store).await {
            Ok(store) => store,
            Err(next) => return next,
        };
        let text = spec_text(store.object());
        let retry = unheard(wanted(store.object(), &manifest), store.status()).map(str::to_owned);
        let begun = match manifest.checked(baseline, candidate) {
            Ok(spec) => self.begun(&store, spec).await,
            Err(error) => Err(invalid(error)),
        };
        let (mesh, course) = match begun {
            Ok(begun) => begun,
            Err(stuck) => return self.stick(store, stuck).await,
        };
        let desk = Desk::default();
        if let Some(text) = retry.filter(|text| parse(text).is_ok_and(|o| o.verb == Verb::Retry)) {
            desk.give(&text);
            desk.taken(Timestamp::now());
        }
        self.carry_out(store, desk, text, mesh, course, true, seen).await
    }

    async fn begun(&self, store: &Store, spec: Spec) -> Result<(Mesh, Course), Stuck> {
        if let Some(until) = frozen(&spec.plan) {
            return Err(Stuck("Frozen", format!("spec.freeze: nothing begins before {until}")));
        }
        let namespace = store.object().namespace().unwrap_or_default();
        let generation = Generation(store.status().generation);
        let deployments = self.deployments(&namespace, &spec);
        let begun = mesh::begin(&self.cluster, &namespace, spec, generation).await?;
        let Beginning { mut mesh, plan, present } = begun;
        // Another object of the name, or the same retried, is another rollout to those whom its hooks call.
        let uid = store.object().uid().unwrap_or_default();
        let run = format!("{uid}/{}", Timestamp::now().as_millisecond());
        let (rollout, outputs) = Rollout::start(plan, present, run);
        deployments.into_iter().for_each(|known| mesh.router.guard(known, &rollout));
        Ok((mesh, Course { rollout, outputs, at: Duration::ZERO }))
    }

    /// The Deployments that the rollout looks at, if any.
    fn deployments(&self, namespace: &str, spec: &Spec) -> Option<Deployments> {
        let known = spec.deployments.as_ref();
        known.map(|known| Deployments::of(&self.cluster, namespace, known))
    }

    /// Goes on with what was left under way.
    async fn resume(&self, store: Store, seen: &mut Seen) -> Next {
        let Some(under_way) = store.status().under_way.clone() else { return Next::Again };
        let text = under_way.spec.clone();
        match self.resumed(&store, &under_way).await {
            Ok((mesh, course, keep)) => {
                self.carry_out(store, Desk::default(), text, mesh, course, keep, seen).await
            }
            Err(stuck) => self.stick(store, stuck).await,
        }
    }

    /// The rollout as it was, its split asked for again; and whether that is to be stored first: a rollback that was not is done again.
    async fn resumed(
        &self,
        store: &Store,
        under_way: &UnderWay,
    ) -> Result<(Mesh, Course, bool), Stuck> {
        let unreadable = |why: String| Stuck("StateUnreadable", why);
        let mut rollout: Rollout = serde_json::from_str(&under_way.state)
            .map_err(|error| unreadable(error.to_string()))?;
        let began: Value =
            serde_json::from_str(&under_way.spec).map_err(|error| unreadable(error.to_string()))?;
        let (name, namespace) =
            (store.object().name_any(), store.object().namespace().unwrap_or_default());
        let (baseline, candidate) = (under_way.baseline.clone(), under_way.candidate.clone());
        let spec = Manifest::read(&name, &namespace, &began)
            .and_then(|manifest| manifest.checked(baseline, candidate))
            .map_err(|error| unreadable(error.to_string()))?;
        // Whoever may write the status must not have more called, or other files read, than a Rollout may.
        if !rollout.plan().calls_as(&spec.plan) {
            let what = "status.underWay.state calls others than status.underWay.spec";
            return Err(unreadable(what.to_owned()));
        }
        let (mut mesh, rolled_back) =
            mesh::resume(&self.cluster, &namespace, &spec, &rollout).await?;
        let deployments = self.deployments(&namespace, &spec);
        deployments.into_iter().for_each(|known| mesh.router.guard(known, &rollout));
        let at = time(under_way, Timestamp::now());
        rollout.wake(at);
        let outputs = match rolled_back {
            true => rollout.roll_back_again(at),
            false => rollout.again(),
        };
        Ok((mesh, Course { rollout, outputs, at }, rolled_back))
    }

    /// Carries a rollout out until it ends, or another operator has it.
    #[allow(clippy::too_many_arguments)] // what a rollout consists of
    async fn carry_out(
        &self,
        store: Store,
        desk: Desk,
        text: String,
        mesh: Mesh,
        course: Course,
        keep: bool,
        seen: &mut Seen,
    ) -> Next {
        let plan = course.rollout.plan();
        let versions = (plan.baseline.clone(), plan.candidate.clone());
        desk.observed(store.object().metadata.generation.unwrap_or(0));
        desk.stored(store.status().phase);
        let stored = store.status().order.clone();
        let heard = desk.unsaid().or(stored).map(|report| report.text);
        let (scales, events) = (mesh.router.scales(), self.events.clone());
        let mut clerk = Clerk::new(store, desk.clone(), text, scales, events);
        let mut superseded = clerk.superseded();
        let began: Vec<Output> = if keep { course.outputs.clone() } else { Vec::new() };
        if clerk.keep(course.at, &course.rollout, &began).await.is_err()
            && !course.rollout.goes_back()
        {
            return Next::Wait;
        }
        let (wishes, wished) = mpsc::channel(WAITING);
        let Mesh { router, source, watches: _watches, .. } = mesh;
        let engine = Engine { router, source };
        tokio::select! {
            _ = engine.run(course, &mut clerk, wished) => {}
            () = listen(seen, &versions, heard, &desk, &wishes) => {}
            _ = superseded.wait_for(|superseded| *superseded) => {}
        }
        Next::Again
    }

    /// Has the object stay until it is released.
    async fn keep_until_released(&self, store: Store) -> Result<Store, Next> {
        let finalizers = store.object().finalizers();
        if finalizers.iter().any(|known| known == FINALIZER) {
            return Ok(store);
        }
        let with = finalizers.iter().cloned().chain([FINALIZER.to_owned()]).collect();
        let fence = &self.cluster.fence;
        let object =
            finalize(&self.api, store.object(), with, fence).await.map_err(|_| Next::Wait)?;
        Store::open(self.api.clone(), object, &self.identity, fence.clone()).map_err(|_| Next::Wait)
    }

    /// Lets the object go. Its routes are those of the version that runs: a rollout has ended before.
    async fn release(&self, store: &Store) -> Next {
        let others = store.object().finalizers().iter().filter(|known| *known != FINALIZER);
        let others: Vec<_> = others.cloned().collect();
        if others.len() == store.object().finalizers().len() {
            return Next::Wait;
        }
        match finalize(&self.api, store.object(), others, &self.cluster.fence).await {
            Ok(_) => Next::Gone,
            Err(_) => Next::Wait,
        }
    }
}

/// Hands on what the object says of a rollout under way, until it is gone.
async fn listen(
    seen: &mut Seen,
    (baseline, candidate): &(VersionName, VersionName),
    mut heard: Option<String>,
    desk: &Desk,
    wishes: &mpsc::Sender<Wish>,
) {
    let mut deleted: Option<Instant> = None;
    loop {
        let object = seen.borrow_and_update().clone();
        let Some(object) = object else { return };
        if let Ok(manifest) = manifest(&object) {
            let wanted = wanted(&object, &manifest);
            if wanted.deleted {
                deleted.get_or_insert_with(Instant::now);
            }
            if let Some(mut order) = wish(wanted, (baseline, candidate), desk.phase()) {
                order.force = deleted.is_some_and(|since| since.elapsed() >= FAREWELL);
                // Where it makes no sense any more, it is over.
                let _ = give(wishes, order).await;
            }
            if let Some(text) = wanted.order.filter(|text| heard.as_deref() != Some(text)) {
                heard = Some(text.to_owned());
                hand_on(text, desk, wishes).await;
            }
            desk.observed(object.metadata.generation.unwrap_or(0));
        }
        tokio::select! {
            changed = seen.changed() => if changed.is_err() { return },
            // Proxies that confirm nothing are not waited for, for ever.
            () = sleep(FAREWELL), if deleted.is_some() => {}
        }
    }
}

/// Gives an order as it is in the annotation, and reports what becomes of it.
async fn hand_on(text: &str, desk: &Desk, wishes: &mpsc::Sender<Wish>) {
    desk.give(text);
    let refused = match parse(text) {
        Ok(order) => give(wishes, order).await.err().map(|refused| refused.to_string()),
        Err(error) => Some(error.to_string()),
    };
    desk.report(OrderReport { text: text.to_owned(), at: Timestamp::now(), refused });
}

async fn give(wishes: &mpsc::Sender<Wish>, order: Order) -> Result<(), Refused> {
    let over = || Refused("the rollout is over".to_owned());
    let (reply, answer) = oneshot::channel();
    wishes.send(Wish::Order(order, reply)).await.map_err(|_| over())?;
    answer.await.map_err(|_| over())?
}

pub(crate) fn manifest(object: &DynamicObject) -> Result<Manifest, String> {
    let spec = object.data.get("spec").unwrap_or(&Value::Null);
    let namespace = object.namespace().unwrap_or_default();
    Manifest::read(&object.name_any(), &namespace, spec).map_err(|error| error.to_string())
}

fn wanted<'o>(object: &'o DynamicObject, manifest: &'o Manifest) -> Wanted<'o> {
    Wanted {
        baseline: manifest.baseline(),
        candidate: manifest.candidate(),
        order: object.annotations().get(ANNOTATION).map(|text| &**text),
        deleted: object.metadata.deletion_timestamp.is_some(),
    }
}

/// `spec` as it is, to be kept.
fn spec_text(object: &DynamicObject) -> String {
    object.data.get("spec").map(Value::to_string).unwrap_or_default()
}

fn moment(object: &DynamicObject) -> Moment {
    Moment { generation: object.metadata.generation.unwrap_or(0), now: Timestamp::now() }
}

/// The rollout's time: that of the last write, and what the clock says has passed since. One that was set back counts as standing still.
fn time(under_way: &UnderWay, now: Timestamp) -> Duration {
    let passed = now.duration_since(under_way.wall).max(SignedDuration::ZERO);
    Duration::from_millis(under_way.at_ms).saturating_add(passed.unsigned_abs())
}

fn written(written: Result<(), StoreError>) -> Next {
    match written {
        Err(StoreError::Gone) => Next::Gone,
        Ok(()) | Err(_) => Next::Wait,
    }
}
