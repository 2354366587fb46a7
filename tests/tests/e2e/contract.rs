//! The responses of `serin serve` conform to its OpenAPI document.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response};
use serde_json::{Value, json};
use serin_tests::{Fault, Server, Spec, http, text, until};

use crate::world::World;

const READER: &str = "the-token-of-readers";
const OPERATOR: &str = "the-token-of-operators";

/// The document, and the responses covered so far.
struct Contract<'s> {
    server: &'s Server,
    document: Value,
    seen: BTreeSet<String>,
}

/// Escapes a key of an object for a JSON pointer.
fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

impl Contract<'_> {
    async fn of(server: &Server) -> Contract<'_> {
        let document = http::get(server.address(), "/openapi.json").await.expect("the document");
        let document: Value = serde_json::from_slice(document.body()).expect("JSON");
        let printed = server.ok(&["openapi"]).await;
        assert_eq!(document, serde_json::from_str::<Value>(&printed).expect("JSON"));
        Contract { server, document, seen: BTreeSet::new() }
    }

    /// Sends a request, and checks the response against the document's route. `parameters` replace
    /// placeholders such as `{id}`; a parameter without a placeholder becomes the query.
    async fn ask(&mut self, ask: Ask<'_>) -> (u16, Vec<Value>) {
        let mut path = ask.route.to_owned();
        for (name, value) in ask.parameters {
            let place = format!("{{{name}}}");
            path = match path.contains(&place) {
                true => path.replace(&place, value),
                false => format!("{path}?{name}={value}"),
            };
        }
        let request = Request::builder()
            .method(ask.method.to_uppercase().as_str())
            .uri(format!("{}{path}", self.server.url()))
            .header("authorization", format!("Bearer {}", ask.token))
            .header("content-type", ask.content_type)
            .body(Full::new(ask.body))
            .expect("a request");
        let answer = http::send(request).await.expect("a response");
        let values = self.check(ask.method, ask.route, &answer);
        (answer.status().as_u16(), values)
    }

    /// Checks the response's status, content type and values against the document, and returns the
    /// values.
    fn check(&mut self, method: &str, route: &str, answer: &Response<Bytes>) -> Vec<Value> {
        let status = answer.status().as_u16();
        let what = format!("{method} {route} {status}");
        let place = format!("/paths/{}/{method}/responses/{status}", escaped(route));
        let documented = self.document.pointer(&place).unwrap_or_else(|| panic!("{what}"));
        let place = match documented["$ref"].as_str() {
            Some(reference) => reference.trim_start_matches('#').to_owned(),
            None => place,
        };
        let content = &self.document.pointer(&place).expect("a response")["content"];
        let (media_type, _) = content.as_object().and_then(|c| c.iter().next()).expect("a content");
        let sent = answer.headers()["content-type"].to_str().expect("text");
        assert!(sent.starts_with(media_type), "{what}: {sent}, not {media_type}");
        let schema = self.schema(&format!("{place}/content/{}/schema", escaped(media_type)));
        let body = text(answer.body());
        let json = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| panic!("{text}"));
        let values: Vec<Value> = match media_type.as_str() {
            "application/json" => vec![json(&body)],
            "text/event-stream" => {
                body.lines().filter_map(|line| line.strip_prefix("data: ")).map(json).collect()
            }
            _ => vec![body.into()],
        };
        for value in &values {
            let errors: Vec<_> = schema.iter_errors(value).map(|e| e.to_string()).collect();
            assert!(errors.is_empty(), "{what}: {value}: {errors:?}");
        }
        self.seen.insert(what);
        values
    }

    /// The schema at this pointer of the document.
    fn schema(&self, place: &str) -> jsonschema::Validator {
        let mut schema = self.document.pointer(place).expect(place).clone();
        // The schema's references point to the components.
        schema["components"] = self.document["components"].clone();
        jsonschema::validator_for(&schema).expect("a schema")
    }

    /// Parts of the document that no response has covered.
    fn unseen(&self) -> Vec<String> {
        let paths = self.document["paths"].as_object().expect("paths");
        let answers = paths.iter().flat_map(|(route, operations)| {
            operations.as_object().expect("operations").iter().flat_map(
                move |(method, operation)| {
                    let statuses = operation["responses"].as_object().expect("responses").keys();
                    statuses.map(move |status| format!("{method} {route} {status}"))
                },
            )
        });
        answers.filter(|answer| !self.seen.contains(answer)).collect()
    }
}

/// A request of a route.
struct Ask<'a> {
    method: &'a str,
    route: &'a str,
    parameters: &'a [(&'a str, &'a str)],
    token: &'a str,
    content_type: &'a str,
    body: Bytes,
}

fn get<'a>(route: &'a str, parameters: &'a [(&'a str, &'a str)]) -> Ask<'a> {
    let (content_type, body) = ("text/plain", Bytes::new());
    Ask { method: "get", route, parameters, token: READER, content_type, body }
}

fn apply(body: impl Into<Bytes>) -> Ask<'static> {
    let (method, route, parameters) = ("post", "/v1/rollouts", &[]);
    let (token, content_type, body) = (OPERATOR, "application/yaml", body.into());
    Ask { method, route, parameters, token, content_type, body }
}

/// One byte more than the limit of a body: the server has read all of it when it rejects it, so
/// that the client always receives the response.
const TOO_LONG: usize = (1 << 20) + 1;

const ORDER: &str = "/v1/rollouts/{id}/{action}";

fn order<'a>(parameters: &'a [(&'a str, &'a str)], body: &Value) -> Ask<'a> {
    let (method, route) = ("post", ORDER);
    let (token, content_type, body) = (OPERATOR, "application/json", body.to_string().into());
    Ask { method, route, parameters, token, content_type, body }
}

const SHOW: &str = "/v1/rollouts/{id}";
const EVENTS: &str = "/v1/rollouts/{id}/events";
const FIRST: &[(&str, &str)] = &[("id", "1")];
const SECOND: &[(&str, &str)] = &[("id", "2")];

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_as_documented() {
    let world = World::new().await;
    let load = world.load();
    let tokens = [
        ("SERIN_READ_TOKEN", READER),
        ("SERIN_OPERATE_TOKEN", OPERATOR),
        // For the commands of this test.
        ("SERIN_TOKEN", OPERATOR),
    ];
    let server = Server::with(world.envoy.dir(), &tokens).await;
    let contract = &mut Contract::of(&server).await;
    failures(contract).await;
    a_life(contract, &world).await;
    load.stop().await;

    // Other tests cover responses that take an unreadable store, or half a minute.
    let unseen = contract.unseen();
    let rare = |answer: &String| ["408", "500", "503"].iter().any(|rare| answer.ends_with(rare));
    assert!(unseen.iter().all(rare), "{unseen:#?}");
}

/// Error responses conform to the document.
async fn failures(contract: &mut Contract<'_>) {
    let nobody = &[("id", "7")][..];
    let by = &json!({ "by": "ada" });
    for (ask, expected) in [
        (get("/v1/rollouts", &[("promoted", "perhaps")]), 400),
        (get("/v1/rollouts", &[("servic", "shop")]), 400),
        (get("/v1/rollouts", &[("service", "cart")]), 200),
        (get(SHOW, nobody), 404),
        (get(SHOW, &[("id", "x")]), 400),
        (get(EVENTS, nobody), 404),
        (get(EVENTS, &[("id", "x")]), 400),
        (apply("kind: Pod"), 422),
        (apply(""), 422),
        (apply(&b"\xff"[..]), 400),
        (apply("a".repeat(TOO_LONG)), 413),
        (Ask { token: READER, ..apply("") }, 403),
        (Ask { token: "guess", ..apply("") }, 401),
        (order(&[("id", "7"), ("action", "pause")], by), 404),
        (order(&[("id", "7"), ("action", "dance")], by), 404),
        (order(&[("id", "x"), ("action", "pause")], by), 400),
        (order(&[("id", "7"), ("action", "pause")], &json!({ "bye": 1 })), 422),
        (
            order(&[("id", "7"), ("action", "pause")], &json!({ "by": "a".repeat(TOO_LONG - 9) })),
            413,
        ),
        (Ask { content_type: "text/plain", ..order(&[("id", "7"), ("action", "undo")], by) }, 415),
        (Ask { token: READER, ..order(&[("id", "7"), ("action", "undo")], by) }, 403),
        (Ask { token: "guess", ..order(&[("id", "7"), ("action", "undo")], by) }, 401),
    ] {
        let what = format!("{} {}: {:?}", ask.method, ask.route, ask.body.get(..20));
        let (status, answers) = contract.ask(ask).await;
        assert_eq!(status, expected, "{what}: {answers:?}");
    }
    for route in ["/v1/rollouts", SHOW, EVENTS, "/metrics"] {
        assert_eq!(contract.ask(Ask { token: "", ..get(route, nobody) }).await.0, 401, "{route}");
    }
    for route in ["/v1/rollouts", "/metrics", "/healthz", "/readyz", "/openapi.json"] {
        assert_eq!(
            contract.ask(Ask { token: OPERATOR, ..get(route, &[]) }).await.0,
            200,
            "{route}"
        );
    }
}

/// A rollout that is promoted and undone, one with a faulty candidate, and one that can't start.
async fn a_life(contract: &mut Contract<'_>, world: &World) {
    let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3_600));
    let by = &json!({ "by": "ada", "reason": "to see" });
    let spec = Spec::new(&world.envoy).interval(Duration::from_millis(300)).without_tripwire();
    let spec = spec.field("rollbackWindow: 1h");
    let led = spec.clone().step("50%", hour, 10).step("100%", second, 10);
    assert_eq!(contract.ask(apply(led.yaml())).await.0, 201);
    assert_eq!(contract.ask(apply(led.yaml())).await.0, 201, "queued");
    until_shown(contract, FIRST, |view| view["status"]["live"] == true).await;
    for verb in ["pause", "resume", "advance", "promote"] {
        let (status, answer) = contract.ask(order(&[("id", "1"), ("action", verb)], by)).await;
        assert_eq!(status, 200, "{verb}: {answer:?}");
    }
    until_shown(contract, FIRST, |view| view["status"]["step"].is_null()).await;
    let conflict = contract.ask(order(&[("id", "1"), ("action", "pause")], by)).await;
    assert_eq!(conflict.0, 409, "{conflict:?}");
    assert_eq!(contract.ask(order(&[("id", "1"), ("action", "undo")], by)).await.0, 200);
    let (_, events) = contract.ask(get(EVENTS, FIRST)).await;
    assert_eq!(events.last().expect("events")["reason"]["kind"], "command");

    until_shown(contract, SECOND, |view| view["status"]["live"] == true).await;
    world.v2.set_faults([Fault::errors(0.5)]);
    let (_, events) = contract.ask(get(EVENTS, SECOND)).await;
    assert_eq!(events.last().expect("events")["reason"]["kind"], "harm");
    let event = contract.schema("/components/schemas/TimedEventEvent");
    assert!(
        !event.is_valid(&json!({ "at": 1, "event": "rollingBack" })),
        "the schema requires fields"
    );

    let gone = led.yaml().replace("filterConfig: /", "filterConfig: /gone/");
    assert_eq!(contract.ask(apply(gone)).await.0, 409);
    let (_, listed) = contract.ask(get("/v1/rollouts", &[])).await;
    let phases = listed[0].as_array().expect("a list").iter().map(|view| &view["phase"]);
    assert_eq!(phases.collect::<Vec<_>>(), ["failed", "ended", "ended"]);
}

async fn until_shown(
    contract: &mut Contract<'_>,
    rollout: &[(&str, &str)],
    holds: impl Fn(&Value) -> bool,
) {
    until(Duration::from_secs(30), "a status", async || {
        let (_, mut shown) = contract.ask(get(SHOW, rollout)).await;
        let view = shown.remove(0);
        if holds(&view) { Ok(()) } else { Err(view) }
    })
    .await;
}
