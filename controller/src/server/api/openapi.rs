//! The whole HTTP interface, in one table: the router serves it, and the OpenAPI document tells of it. A route that is not documented can't be
//! served.
//!
//! Schemas come from the types that are sent and read. What is sent has a schema of its own contract: a field that may be left out of
//! a request is always there in an answer.

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
        ApiRoute::get("/v1/rollouts", super::list, "list", "All rollouts, the last first")
            .query::<String>("service", "Only those of this service.")
            .query::<bool>("promoted", "Whether only those that were promoted.")
            .fails(400, "The query has another field, or a value that is none.")
            .answers::<Vec<RolloutView>>(200, JSON, "What is in the store.")
            .fails(500, "The store can't be read."),
        ApiRoute::post("/v1/rollouts", super::apply, "apply", "Take a rollout on")
            .describe(
                "It is begun at once, or queued behind the rollout that has its service. What it says is checked as a \
                 whole first.",
            )
            .query::<bool>(
                "replace",
                "Whether what is under way or queued for the service is aborted for it: that goes back to its baseline first.",
            )
            .body::<String>("application/yaml", "The rollout, in YAML (or JSON, which is YAML).")
            .answers::<RolloutView>(201, JSON, "Taken on: begun or queued, or ended already.")
            .fails(400, "The body is not UTF-8, or the query has a field that is none of these.")
            .fails(409, "It could not begin. It is kept as failed, with the reason.")
            .fails(422, "It is not valid: what is wrong, and where. Nothing was changed.")
            .fails(500, "The store can't be written."),
        ApiRoute::get("/v1/rollouts/{id}", super::show, "show", "Where a rollout stands")
            .parameter::<i64>("id", "Its number.")
            .answers::<RolloutView>(200, JSON, "What is kept of it, and its status while it is under way.")
            .fails(400, "The number is none.")
            .fails(404, "There is no such rollout.")
            .fails(500, "The store can't be read."),
        ApiRoute::get("/v1/rollouts/{id}/events", super::events, "events", "What happens in a rollout")
            .describe(
                "Server-sent events: everything that was told of the rollout, from the beginning or from where the client was, and then \
                 what is, until it has ended. The data of each is JSON of this schema, its id the sequence number.",
            )
            .parameter::<i64>("id", "Its number.")
            .header::<i64>("last-event-id", "The id of the last event that the client has heard.")
            .answers::<TimedEvent<Event>>(200, "text/event-stream", "The events, each once and in order.")
            .fails(400, "The number is none.")
            .fails(404, "There is no such rollout.")
            .fails(500, "The store can't be read."),
        ApiRoute::post("/v1/rollouts/{id}/{action}", super::execute, "command", "Give an order")
            .describe("To order what is so already changes nothing.")
            .parameter::<i64>("id", "The rollout's number.")
            .parameter::<Action>("action", "What is to be done.")
            .body::<CommandBody>(JSON, "Who wants it, and why.")
            .answers::<RolloutView>(200, JSON, "Done, or so already.")
            .fails(400, "The number is none, or the body is not JSON.")
            .fails(404, "There is no such rollout, or no such order.")
            .fails(409, "It makes no sense now: the reason. Nothing was changed.")
            .fails(415, "The body is not said to be JSON.")
            .fails(422, "The body's fields are not those of an order.")
            .fails(500, "The store can't be read."),
        ApiRoute::get("/metrics", super::metrics_page, "metrics", "Where all rollouts stand, for Prometheus")
            .answers::<String>(200, prometheus_text::CONTENT_TYPE, "Prometheus's text format.")
            .fails(500, "The store can't be read."),
        ApiRoute::get("/healthz", async || "ok\n", "healthz", "Whether the server lives")
            .without_token()
            .answers::<String>(200, TEXT, "It answers: that is all it says."),
        ApiRoute::get("/readyz", super::ready, "readyz", "Whether the server can take rollouts on")
            .describe("Asked often, it writes to the store every ten seconds at most.")
            .without_token()
            .answers::<String>(200, TEXT, "It goes on with what was in its store, and can write it.")
            .fails(503, "It does not yet, or can't: the reason."),
        ApiRoute::get("/openapi.json", super::openapi, "openapi", "This document")
            .without_token()
            .answers::<Map<String, Value>>(200, JSON, "OpenAPI 3.1."),
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
            "description": "Rollouts of services behind Envoy: taken on, looked at, ordered about.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas.definitions(),
            "responses": {
                "Problem": {
                    "description": "Why it was not done.",
                    "content": { JSON: { "schema": problem } },
                },
            },
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "The server's token: one to look, another to look and order. Without tokens only its own machine reaches it.",
                },
            },
        },
    })
}

/// Makes the schemas of types.
struct Schemas {
    /// Of what the server sends.
    sent: SchemaGenerator,
    /// Of what it reads.
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

    /// All that were made and have a name.
    fn definitions(mut self) -> Map<String, Value> {
        let mut definitions = self.read.take_definitions(true);
        definitions.extend(self.sent.take_definitions(true));
        definitions.sort_keys();
        definitions
    }
}

/// Doc comments are written for rustdoc: takes their line breaks and links out of the descriptions.
fn in_prose(schema: &mut Schema) {
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace('\n', " ").replace("[`", "`").replace("`]", "`");
    }
}
