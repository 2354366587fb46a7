//! The HTTP API in one table: the router serves it and the OpenAPI document describes it, so every
//! route is documented.
//!
//! Schemas come from the types that are sent and read. Requests and responses have separate
//! schemas: a field that a request may omit is always present in a response.

use prometheus_client::encoding::prometheus_text;
use schemars::Schema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};
use serin_core::rollout::command::Action;
use serin_core::rollout::event::{Event, TimedEvent};

pub(super) use self::route::ApiRoute;
use super::{CommandBody, Problem, RolloutView};

mod route;

const JSON: &str = "application/json";
const TEXT: &str = "text/plain";

/// Every route.
pub(super) fn routes() -> Vec<ApiRoute> {
    vec![
        ApiRoute::get("/v1/rollouts", super::list, "list", "List rollouts, the newest first")
            .query::<String>("service", "Rollouts of this service only.")
            .query::<bool>("promoted", "Promoted rollouts only.")
            .fails(400, "The query has an unknown field or an invalid value.")
            .responds::<Vec<RolloutView>>(200, JSON, "The rollouts in the store.")
            .fails(500, "The store can't be read."),
        ApiRoute::post("/v1/rollouts", super::apply, "apply", "Apply a rollout")
            .describe(
                "The server validates the rollout and starts it, or queues it behind the running rollout of its service.",
            )
            .query::<bool>(
                "replace",
                "Whether to abort running and queued rollouts of the service first.",
            )
            .body::<String>("application/yaml", "The rollout, in YAML (or JSON, which is YAML).")
            .responds::<RolloutView>(201, JSON, "Accepted: started or queued, or ended already.")
            .fails(400, "The body is not UTF-8, or the query has an unknown field.")
            .fails(409, "The rollout failed to start. The store has it as failed, with the reason.")
            .fails(422, "The rollout is invalid: the field and the reason. Nothing was changed.")
            .fails(500, "The store can't be written."),
        ApiRoute::get("/v1/rollouts/{id}", super::show, "show", "Show a rollout")
            .parameter::<i64>("id", "Number of the rollout.")
            .responds::<RolloutView>(200, JSON, "The rollout, with its status while it runs.")
            .fails(400, "The number is invalid.")
            .fails(404, "Unknown rollout.")
            .fails(500, "The store can't be read."),
        ApiRoute::get("/v1/rollouts/{id}/events", super::events, "events", "Stream the events of a rollout")
            .describe(
                "Server-sent events from the first, or after last-event-id, until the rollout ends. The data of each is JSON of \
                 this schema, its id the sequence number.",
            )
            .parameter::<i64>("id", "Number of the rollout.")
            .header::<i64>("last-event-id", "Id of the last event that the client received.")
            .responds::<TimedEvent<Event>>(200, "text/event-stream", "The events, each once and in order.")
            .fails(400, "The number is invalid.")
            .fails(404, "Unknown rollout.")
            .fails(500, "The store can't be read."),
        ApiRoute::post("/v1/rollouts/{id}/{action}", super::execute, "command", "Control a rollout")
            .describe("A command that is in effect already changes nothing.")
            .parameter::<i64>("id", "Number of the rollout.")
            .parameter::<Action>("action", "Action of the command.")
            .body::<CommandBody>(JSON, "Author, reason and options of the command.")
            .responds::<RolloutView>(200, JSON, "Done, or in effect already.")
            .fails(400, "The number is invalid, or the body is not JSON.")
            .fails(404, "Unknown rollout or action.")
            .fails(409, "The state of the rollout rejects the command: the reason. Nothing was changed.")
            .fails(415, "The content type is not JSON.")
            .fails(422, "The body has an unknown or invalid field.")
            .fails(500, "The store can't be read."),
        ApiRoute::get("/metrics", super::metrics_page, "metrics", "Metrics for Prometheus")
            .responds::<String>(200, prometheus_text::CONTENT_TYPE, "Prometheus's text format.")
            .fails(500, "The store can't be read."),
        ApiRoute::get("/healthz", async || "ok\n", "healthz", "Liveness")
            .without_token()
            .responds::<String>(200, TEXT, "The process responds."),
        ApiRoute::get("/readyz", super::ready, "readyz", "Readiness")
            .describe("Probes the store with a write, every ten seconds at most.")
            .without_token()
            .responds::<String>(200, TEXT, "Rollouts are resumed, and the store is writable.")
            .fails(503, "Not ready: the reason."),
        ApiRoute::get("/openapi.json", super::openapi, "openapi", "This document")
            .without_token()
            .responds::<Map<String, Value>>(200, JSON, "OpenAPI 3.1."),
    ]
}

/// The OpenAPI 3.1 document.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let problem = schemas.sent.subschema_for::<Problem>();
    let mut paths = Map::new();
    for route in routes() {
        let operations = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Value::Object(operations) = operations {
            operations.insert(route.method.to_owned(), route.operation(&mut schemas));
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "serin",
            "description": "Apply, show and control rollouts of services behind Envoy.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "responses": {
                "Problem": {
                    "description": "The reason of the failure.",
                    "content": { JSON: { "schema": problem } },
                },
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token for reads, or one for reads and commands. A server without tokens listens on loopback only.",
                },
            },
        },
    })
}

/// Generates the schemas of types.
struct Schemas {
    /// Of responses.
    sent: SchemaGenerator,
    /// Of requests.
    read: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        let settings = settings.with_transform(RecursiveTransform(in_prose));
        Self {
            sent: settings.clone().for_serialize().into_generator(),
            read: settings.for_deserialize().into_generator(),
        }
    }

    /// The named schemas.
    fn definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.read.take_definitions(true);
        definitions.extend(self.sent.take_definitions(true));
        definitions.sort_keys();
        definitions
    }
}

/// Removes line breaks and links of rustdoc from descriptions.
fn in_prose(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ").replace("[`", "`").replace("`]", "`");
    }
}
