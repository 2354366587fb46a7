//! The journal of a rollout in the status of its object. Its events become Kubernetes Events.

use std::time::Duration;

use jiff::Timestamp;
use serin_core::judge::Ruling;
use serin_core::ports::Journal;
use serin_core::rollout::event::Event;
use serin_core::rollout::machine::{Output, Rollout};
use tokio::sync::watch;
use tokio::time::Instant;

use super::progress::{StartedWith, StatusContext, command_status, progressed};
use super::reporter::RolloutReporter;
use super::scale_down::report_write;
use crate::operator::mailbox::CommandMailbox;
use crate::storage::status::{StatusError, StatusStore};
use crate::storage::unpersisted::UnpersistedEvents;

/// The maximum age of the stored evidence. Nothing is acted on in between: a crash loses only
/// observations.
const REFRESH: Duration = Duration::from_secs(10);

/// The journal of one object.
#[derive(Debug)]
pub(crate) struct StatusJournal {
    store: StatusStore,
    mailbox: CommandMailbox,
    /// The `spec` that the rollout began with.
    spec: String,
    /// Whether replicas follow the weights.
    scales: bool,
    reporter: RolloutReporter,
    /// Becomes true when another operator has written the status.
    superseded: watch::Sender<bool>,
    last_write: Option<Instant>,
    unpersisted: UnpersistedEvents,
}

impl StatusJournal {
    /// The journal of a rollout that began with this `spec`. `scales` tells whether replicas follow
    /// the weights.
    #[must_use]
    pub(crate) fn new(
        store: StatusStore,
        mailbox: CommandMailbox,
        spec: String,
        scales: bool,
        reporter: RolloutReporter,
    ) -> Self {
        let (superseded, _) = watch::channel(false);
        Self {
            store,
            mailbox,
            spec,
            scales,
            reporter,
            superseded,
            last_write: None,
            unpersisted: UnpersistedEvents::default(),
        }
    }

    /// Becomes true when another operator has written the status, or the object is gone.
    #[must_use]
    pub(crate) fn superseded(&self) -> watch::Receiver<bool> {
        self.superseded.subscribe()
    }

    /// Whether no output needs the write before it is executed, and the stored state is recent.
    fn may_wait(&self, outputs: &[Output]) -> bool {
        let acts = |output: &Output| !matches!(output, Output::RecordRuling(_));
        let fresh = self.last_write.is_some_and(|written| written.elapsed() < REFRESH);
        fresh
            && self.unpersisted.is_empty()
            && !outputs.iter().any(acts)
            && self.mailbox.unreported().is_none()
    }
}

impl StatusJournal {
    /// Writes the status of the rollout, and the result of a command that is not reported yet.
    async fn write(
        &mut self,
        now: Timestamp,
        at: Duration,
        rollout: &Rollout,
    ) -> Result<(), StatusError> {
        let context = StatusContext { generation: self.mailbox.generation(), now };
        let started = StartedWith { spec: &self.spec, scales: self.scales };
        let (before, events) = (self.store.status(), self.unpersisted.events());
        let mut status = progressed(before, context, started, at, rollout, events)
            .map_err(StatusError::Failed)?;
        let report = self.mailbox.unreported();
        if let Some(report) = &report {
            status = command_status(&status, report.clone());
        }
        let phase = status.phase;
        self.store.write(status).await?;
        report.iter().for_each(|report| self.mailbox.mark_reported(report));
        self.mailbox.set_phase(phase);
        Ok(())
    }
}

impl Drop for StatusJournal {
    fn drop(&mut self) {
        self.reporter.stopped();
    }
}

impl Journal for StatusJournal {
    type Error = StatusError;

    async fn commit(
        &mut self,
        at: Duration,
        rollout: &Rollout,
        outputs: &[Output],
    ) -> Result<(), StatusError> {
        self.reporter.progress(rollout);
        if self.may_wait(outputs) {
            return Ok(());
        }
        let now = Timestamp::now();
        let is_command = |output: &Output| matches!(output, Output::Emit(event) if matches!(**event, Event::Command(_)));
        if outputs.iter().any(is_command) {
            self.mailbox.accept(now);
        }
        self.unpersisted.add(outputs);
        let written = self.write(now, at, rollout).await;
        self.unpersisted.after_write(written.is_ok(), rollout);
        self.reporter.store_write(written.is_ok());
        match &written {
            Ok(()) => self.last_write = Some(Instant::now()),
            Err(error) => {
                report_write(&self.reporter, error);
                if let StatusError::Superseded | StatusError::Gone = error {
                    self.superseded.send_replace(true);
                }
            }
        }
        written
    }

    fn event(&mut self, _: Duration, event: &Event) {
        self.reporter.event(event);
    }

    fn on_poll(&mut self, late: Duration, took: Duration) {
        self.reporter.poll(late, took);
    }

    /// The persisted state contains the rulings' effects.
    fn ruling(&mut self, _: &Ruling) {}
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use http_body_util::BodyExt;
    use kube::api::DynamicObject;
    use kube::client::Body;
    use kube::{Api, Client};
    use serde_json::{Value, json};
    use serin_core::rollout::event::RolloutVerdict;
    use tower::service_fn;

    use super::*;
    use crate::kubernetes::fence::Fence;
    use crate::kubernetes::objects::rollouts;
    use crate::kubernetes::status::RolloutPhase;
    use crate::storage::journal_contract::{JournalFixture, StoredRollout, check};
    use crate::telemetry::operator::{OperatorMetrics, RolloutLabels};

    /// An API server with one object. A real one can't be made to fail a single write.
    #[derive(Clone)]
    struct ApiServer(Arc<Mutex<(Value, bool)>>);

    impl ApiServer {
        fn new() -> Self {
            let object = json!({
                "apiVersion": "serin.dev/v1",
                "kind": "ServiceRollout",
                "metadata": {"name": "shop", "namespace": "default", "resourceVersion": "1"},
                "spec": {},
            });
            Self(Arc::new(Mutex::new((object, true))))
        }

        async fn answer(self, request: hyper::Request<Body>) -> (u16, Value) {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            let mut server = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let (object, writable) = &mut *server;
            if body.is_empty() {
                return (200, object.clone());
            }
            if !*writable {
                let status = json!({"kind": "Status", "status": "Failure", "code": 500, "reason": "InternalError"});
                return (500, status);
            }
            object["status"] = serde_json::from_slice::<Value>(&body).unwrap()["status"].take();
            (200, object.clone())
        }

        fn client(&self) -> Client {
            let server = self.clone();
            let service = service_fn(move |request| {
                let answer = server.clone().answer(request);
                async move {
                    let (code, body) = answer.await;
                    let body = Body::from(body.to_string().into_bytes());
                    hyper::Response::builder().status(code).body(body)
                }
            });
            Client::new(service, "default")
        }
    }

    struct Fixture {
        server: ApiServer,
        journal: StatusJournal,
    }

    impl Fixture {
        fn new() -> Self {
            let server = ApiServer::new();
            let api = Api::namespaced_with(server.client(), "default", &rollouts());
            let object = server.0.lock().unwrap().0.clone();
            let object: DynamicObject = serde_json::from_value(object).unwrap();
            let fence = Fence::shut();
            fence.renewed(Instant::now());
            let store = StatusStore::open(api, object, "operator", fence).unwrap();
            let labels =
                RolloutLabels { namespace: "default".to_owned(), rollout: "shop".to_owned() };
            let (events, _) = tokio::sync::mpsc::channel(1);
            let metrics = Arc::new(OperatorMetrics::default());
            let reporter = RolloutReporter::new(labels, metrics, events);
            let mailbox = CommandMailbox::default();
            let journal = StatusJournal::new(store, mailbox, "{}".to_owned(), false, reporter);
            Self { server, journal }
        }
    }

    impl JournalFixture for Fixture {
        type Journal = StatusJournal;

        fn journal(&mut self) -> &mut StatusJournal {
            // Only the age of the stored state may delay a write.
            self.journal.last_write = None;
            &mut self.journal
        }

        fn set_writable(&mut self, writable: bool) {
            self.server.0.lock().unwrap().1 = writable;
        }

        fn stored(&self) -> StoredRollout {
            let status = self.server.0.lock().unwrap().0["status"].clone();
            if status.is_null() {
                return StoredRollout::None;
            }
            let status: crate::kubernetes::status::ObjectStatus =
                serde_json::from_value(status).unwrap();
            match status.checkpoint {
                Some(checkpoint) => {
                    StoredRollout::Running(serde_json::from_str(&checkpoint.state).unwrap())
                }
                None => {
                    assert_eq!(status.phase, RolloutPhase::Stopped);
                    StoredRollout::Ended(RolloutVerdict::Interrupted)
                }
            }
        }
    }

    #[tokio::test]
    async fn a_status_keeps_the_contract_of_journals() {
        check(Fixture::new).await;
    }
}
