//! Tells what happens to an object as Events of Kubernetes. Whatever can't be told holds up nothing.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;

use crate::kubernetes::event_mapping::EventNote;
use crate::kubernetes::objects::user_message;

/// What Events say is their source.
const CONTROLLER: &str = "serin.dev/operator";

/// Tells what comes, one after the other, until nothing can come any more.
pub(crate) async fn publish_events(
    client: Client,
    about: ObjectReference,
    identity: String,
    mut announcements: mpsc::Receiver<EventNote>,
) {
    let api: Api<Event> = Api::namespaced(client, about.namespace.as_deref().unwrap_or("default"));
    while let Some(note) = announcements.recv().await {
        let event = event(&about, &identity, note);
        if let Err(error) = api.create(&PostParams::default(), &event).await {
            let what = format!("an Event of {}", about.name.as_deref().unwrap_or_default());
            tracing::warn!(error = %user_message(&what, "Event", error), "Event not written");
        }
    }
}

fn event(about: &ObjectReference, identity: &str, announcement: EventNote) -> Event {
    let EventNote { warning, reason, note } = announcement;
    let name = about.name.as_deref().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        action: Some(reason.to_owned()),
        reason: Some(reason.to_owned()),
        note: Some(note),
        type_: Some(if warning { "Warning" } else { "Normal" }.to_owned()),
        event_time: Some(MicroTime(Timestamp::now())),
        regarding: Some(about.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(identity.to_owned()),
        ..Event::default()
    }
}
