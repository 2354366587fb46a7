//! Acquires and renews the Lease, and runs the operator while it is held.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Error};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::event_mapping::EventNote;
use super::fence::Fence;
use super::lease::{
    LEASE_DURATION, LeaseAction, LeaseObserver, LeaseRecord, RENEW_DEADLINE, RENEW_INTERVAL,
};
use crate::telemetry::operator::OperatorMetrics;

/// Timeout of a request; the next request may still be in time.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A candidate for the lease.
#[derive(Debug)]
pub(crate) struct Leader {
    api: Api<Lease>,
    name: String,
    identity: String,
    fence: Fence,
    metrics: Arc<OperatorMetrics>,
    events: mpsc::Sender<EventNote>,
    began: Instant,
    observer: LeaseObserver,
}

impl Leader {
    /// A candidate for the lease of this name.
    #[must_use]
    pub(crate) fn new(
        client: Client,
        namespace: &str,
        name: &str,
        identity: &str,
        fence: Fence,
        metrics: Arc<OperatorMetrics>,
        events: mpsc::Sender<EventNote>,
    ) -> Self {
        Self {
            api: Api::namespaced(client, namespace),
            name: name.to_owned(),
            identity: identity.to_owned(),
            fence,
            metrics,
            events,
            began: Instant::now(),
            observer: LeaseObserver::default(),
        }
    }

    /// Runs the work whenever this operator leads, until the work returns the reason for its end.
    pub(crate) async fn lead<W: Future<Output = String>>(mut self, work: impl Fn() -> W) -> String {
        loop {
            self.acquire().await;
            info!(identity = self.identity, "this operator leads");
            let note = format!("{} leads", self.identity);
            self.publish(EventNote { warning: false, reason: "LeaderElection", note });
            self.metrics.set_leader(true);
            let reason = tokio::select! {
                reason = work() => Some(reason),
                () = self.renew_until_lost() => None,
            };
            self.fence.close();
            self.metrics.set_leader(false);
            match reason {
                Some(reason) => return reason,
                None => warn!(identity = self.identity, "this operator no longer leads"),
            }
        }
    }

    /// Waits for the lease.
    async fn acquire(&mut self) {
        let mut reported = None;
        loop {
            match self.try_acquire().await {
                Ok(true) => return,
                Ok(false) => reported = None,
                Err(reason) => self.report(reason, &mut reported),
            }
            sleep(RENEW_INTERVAL).await;
        }
    }

    /// Counts an error; logs and publishes it unless it equals the previous one.
    fn report(&self, error: String, reported: &mut Option<String>) {
        let reason = "LeaseFailed";
        self.metrics.error(reason);
        if reported.as_ref() != Some(&error) {
            warn!(lease = self.name, reason, "{error}");
            self.publish(EventNote { warning: true, reason, note: error.clone() });
            *reported = Some(error);
        }
    }

    /// Publishes a note about the lease. A full queue drops it.
    fn publish(&self, note: EventNote) {
        if self.events.try_send(note).is_err() {
            self.metrics.error("EventDropped");
        }
    }

    /// Renews the lease until it is lost.
    async fn renew_until_lost(&mut self) {
        let mut reported = None;
        loop {
            let Some(until) = self.fence.until() else { return };
            sleep(RENEW_INTERVAL.min(RENEW_DEADLINE)).await;
            let renewed = tokio::select! {
                renewed = self.try_acquire() => renewed,
                () = sleep_until(until) => return,
            };
            match renewed {
                Ok(true) => reported = None,
                Ok(false) => return,
                Err(error) => {
                    self.report(error, &mut reported);
                    if self.fence.check().is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Acquires or renews the lease if it may. Returns whether this operator holds it.
    async fn try_acquire(&mut self) -> Result<bool, String> {
        let sent = Instant::now();
        match timeout(TIMEOUT, self.request()).await {
            Ok(Ok(true)) => {
                self.fence.renewed(sent);
                Ok(true)
            }
            Ok(Ok(false)) => Ok(false),
            // The next read shows the other writer.
            Ok(Err(Error::Api(status))) if status.code == 409 => {
                Err("another operator wrote the lease first".to_owned())
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    async fn request(&mut self) -> Result<bool, Error> {
        let lease = self.api.get_opt(&self.name).await?;
        let record = lease.as_ref().map(record);
        let now = self.began.elapsed();
        let params = PostParams::default();
        match self.observer.next_action(record.as_ref(), &self.identity, now) {
            LeaseAction::Wait => Ok(false),
            LeaseAction::Create => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..Default::default() };
                let lease = Lease { metadata, spec: Some(self.spec(None, 0)) };
                self.api.create(&params, &lease).await.map(|_| true)
            }
            step => {
                let Some(mut lease) = lease else { return Ok(false) };
                // The object as it was read: the server rejects the write if the object has
                // changed since.
                let before = lease.spec.take();
                lease.spec = Some(match step {
                    LeaseAction::Acquire { transitions } => self.spec(None, transitions),
                    _ => self.spec(before, record.map_or(0, |record| record.transitions)),
                });
                self.api.replace(&self.name, &params, &lease).await.map(|_| true)
            }
        }
    }

    fn spec(&self, before: Option<LeaseSpec>, transitions: i32) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(LEASE_DURATION.as_secs()).ok(),
            acquire_time: before.and_then(|spec| spec.acquire_time).or(Some(now.clone())),
            renew_time: Some(now),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }
}

/// Releases the lease, so that a standby acquires it at once.
pub(crate) async fn release_lease(client: Client, namespace: &str, name: &str, identity: &str) {
    let api: Api<Lease> = Api::namespaced(client, namespace);
    let Ok(Ok(mut lease)) = timeout(TIMEOUT, api.get(name)).await else { return };
    if let Some(spec) = &mut lease.spec
        && spec.holder_identity.as_deref() == Some(identity)
    {
        spec.holder_identity = Some(String::new());
        match timeout(TIMEOUT, api.replace(name, &PostParams::default(), &lease)).await {
            Ok(Ok(_)) => {}
            // A lease that is not released expires soon.
            Ok(Err(error)) => warn!(lease = name, reason = "LeaseNotReleased", "{error}"),
            Err(_) => warn!(lease = name, reason = "LeaseNotReleased", "no answer"),
        }
    }
}

fn record(lease: &Lease) -> LeaseRecord {
    let spec = lease.spec.clone().unwrap_or_default();
    LeaseRecord {
        holder: spec.holder_identity.unwrap_or_default(),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
        transitions: spec.lease_transitions.unwrap_or(0),
    }
}
