//! A route and its documentation.

use axum::handler::Handler;
use axum::routing::{self, MethodRouter};
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema};
use serde_json::{Map, Value, json};

use super::super::ApiState;
use super::Schemas;

/// The handler of a method of a path, and its documentation.
pub(in super::super) struct ApiRoute {
    /// With `{names}` in braces, as in the router and in OpenAPI.
    pub(in super::super) path: &'static str,
    /// Its handler.
    pub(in super::super) serve: MethodRouter<ApiState>,
    /// Whether it needs no token.
    pub(in super::super) open: bool,
    /// `get` or `post`.
    pub(super) method: &'static str,
    name: &'static str,
    summary: &'static str,
    description: Option<&'static str>,
    parameters: Vec<Parameter>,
    body: Option<Content>,
    responses: Vec<(u16, Content)>,
    failures: Vec<(u16, &'static str)>,
}

struct Parameter {
    location: &'static str,
    name: &'static str,
    description: &'static str,
    schema: MakeSchema,
}

struct Content {
    media_type: &'static str,
    description: &'static str,
    schema: MakeSchema,
}

type MakeSchema = fn(&mut SchemaGenerator) -> Schema;

impl Content {
    fn json(&self, schemas: &mut SchemaGenerator) -> Value {
        json!({ self.media_type: { "schema": (self.schema)(schemas) } })
    }
}

impl ApiRoute {
    /// A read: either token allows it.
    pub(super) fn get<T: 'static>(
        path: &'static str,
        handler: impl Handler<T, ApiState>,
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        Self::new(path, "get", routing::get(handler), name, summary)
    }

    /// A command: the operate token allows it.
    pub(super) fn post<T: 'static>(
        path: &'static str,
        handler: impl Handler<T, ApiState>,
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        let route = Self::new(path, "post", routing::post(handler), name, summary);
        route.fails(403, "The token allows reads only.")
    }

    fn new(
        path: &'static str,
        method: &'static str,
        serve: MethodRouter<ApiState>,
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            path,
            serve,
            open: false,
            method,
            name,
            summary,
            description: None,
            parameters: Vec::new(),
            body: None,
            responses: Vec::new(),
            failures: vec![(408, "The request or its response took more than 30 seconds.")],
        }
    }

    /// Needs no token.
    pub(super) fn without_token(self) -> Self {
        Self { open: true, ..self }
    }

    /// Details beyond the summary.
    pub(super) fn describe(self, description: &'static str) -> Self {
        Self { description: Some(description), ..self }
    }

    /// A path parameter.
    pub(super) fn parameter<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        self.with::<T>("path", name, description)
    }

    /// An optional query parameter.
    pub(super) fn query<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        self.with::<T>("query", name, description)
    }

    /// An optional header.
    pub(super) fn header<T: JsonSchema>(
        self,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        self.with::<T>("header", name, description)
    }

    fn with<T: JsonSchema>(
        mut self,
        location: &'static str,
        name: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.parameters.push(Parameter { location, name, description, schema });
        self
    }

    /// The request body.
    pub(super) fn body<T: JsonSchema>(
        self,
        media_type: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        let body = Some(Content { media_type, description, schema });
        Self { body, ..self }.fails(413, "The body is longer than a mebibyte.")
    }

    /// A response.
    pub(super) fn responds<T: JsonSchema>(
        mut self,
        status: u16,
        media_type: &'static str,
        description: &'static str,
    ) -> Self {
        let schema = SchemaGenerator::subschema_for::<T>;
        self.responses.push((status, Content { media_type, description, schema }));
        self
    }

    /// An error response, with a [`Problem`](super::Problem).
    pub(super) fn fails(mut self, status: u16, reason: &'static str) -> Self {
        self.failures.push((status, reason));
        self
    }

    /// Its Operation Object.
    pub(super) fn operation(&self, schemas: &mut Schemas) -> Value {
        let mut operation = json!({ "operationId": self.name, "summary": self.summary });
        let mut set = |field: &str, value: Value| {
            if let Value::Object(operation) = &mut operation {
                operation.insert(field.to_owned(), value);
            }
        };
        if let Some(description) = self.description {
            set("description", description.into());
        }
        if !self.open {
            set("security", json!([{}, { "token": [] }]));
        }
        if !self.parameters.is_empty() {
            let parameters = self.parameters.iter().map(|parameter| {
                json!({
                    "name": parameter.name,
                    "in": parameter.location,
                    "required": parameter.location == "path",
                    "description": parameter.description,
                    "schema": (parameter.schema)(&mut schemas.read),
                })
            });
            set("parameters", parameters.collect());
        }
        if let Some(body) = &self.body {
            set(
                "requestBody",
                json!({
                    "description": body.description,
                    "required": true,
                    "content": body.json(&mut schemas.read),
                }),
            );
        }
        set("responses", self.responses(schemas));
        operation
    }

    fn responses(&self, schemas: &mut Schemas) -> Value {
        let response = |(status, body): &(u16, Content)| {
            let content = body.json(&mut schemas.sent);
            (*status, json!({ "description": body.description, "content": content }))
        };
        let mut responses: Vec<_> = self.responses.iter().map(response).collect();
        let unauthorized = (401, "The token is missing or unknown.");
        let failures = self.failures.iter().chain((!self.open).then_some(&unauthorized));
        responses.extend(failures.map(|(status, reason)| {
            let problem =
                json!({ "$ref": "#/components/responses/Problem", "description": reason });
            (*status, problem)
        }));
        responses.sort_by_key(|(status, _)| *status);
        let named = responses.into_iter().map(|(status, response)| (status.to_string(), response));
        named.collect::<Map<_, _>>().into()
    }
}
