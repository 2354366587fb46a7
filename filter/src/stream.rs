//! One request: chosen for when its headers arrive, counted when it has ended.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::config::Service;
use crate::config::wire::{Route, Sticky};
use crate::meter::{Chosen, Ended, Meter};
use crate::outcome::{Facts, Outcome};
use crate::request::Request;
use crate::select::{Choice, Reason, Selection, select};
use crate::worker::Worker;
use crate::{CLUSTER_HEADER, VERSION_HEADER, host, trace};

pub(crate) struct Stream {
    worker: Rc<Worker>,
    /// `None` if the request is for no service of the configuration, is to be left alone, or its headers never arrived.
    request: Option<Measured>,
}

/// A request for a service.
struct Measured {
    service: usize,
    start_us: u64,
    grpc: bool,
    first_byte_us: Option<u64>,
    /// `None` if the mesh chooses.
    chosen: Option<Chosen>,
    reason: Option<Reason>,
    /// An identity that the user has to be given.
    issued: Option<String>,
}

/// The request as the proxy holds it.
struct Headers<'w>(&'w Worker);

impl Request for Headers<'_> {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        host::request_header(name)
    }

    fn source(&self) -> Option<Vec<u8>> {
        host::property(&["source", "address"])
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

impl Stream {
    pub(crate) fn new(worker: Rc<Worker>) -> Self {
        Self { worker, request: None }
    }

    /// Decides about the request, and tells the routes by the header whose name is returned. `None` if it is to be left alone.
    fn begin(&self, has_body: bool) -> Option<(Measured, Option<&'static str>)> {
        let worker = &*self.worker;
        let index = worker.config.service(|| host::request_header(":authority"))?;
        let service = worker.config.services.get(index)?;
        let start_us = worker.now_us();
        worker.look_for_overdue(index, start_us);
        let selection = select(service, &Headers(worker));
        if let Some(name) = &service.override_.header
            && host::request_header(name).is_some()
        {
            host::remove_request_header(name);
        }
        let mut told = None;
        let mut request = Measured {
            service: index,
            start_us,
            // A message is a body, even an empty one.
            grpc: has_body && host::request_header("content-type").is_some_and(|it| is_grpc(&it)),
            first_byte_us: None,
            chosen: None,
            reason: None,
            issued: None,
        };
        match selection {
            Selection::Bypass => {
                worker.with_meter(index, Meter::bypass);
                return None;
            }
            Selection::Observe => {}
            Selection::Version(choice) => {
                let Choice { version, reason, bucket, issued, places } = choice;
                let (version, reason) = match worker.is_cut_off(index, version, start_us) {
                    true => (0, Reason::Tripwire),
                    false => (version, reason),
                };
                told = tell_routes(service, version);
                if service.propagates() {
                    hand_on(bucket);
                }
                let choose = |meter: &mut Meter| meter.choose(version, reason, start_us);
                let chosen = worker.with_meter(index, choose).flatten();
                request.chosen = chosen.map(|chosen| chosen.at(places));
                request.reason = Some(reason);
                request.issued = issued;
            }
        }
        Some((request, told))
    }

    fn answer(&mut self) {
        let worker = &*self.worker;
        let Some(request) = &mut self.request else { return };
        let Some(service) = worker.config.services.get(request.service) else { return };
        if request.first_byte_us.is_some() {
            return;
        }
        request.first_byte_us = Some(worker.now_us().saturating_sub(request.start_us));
        if let Some(chosen) = &mut request.chosen {
            worker.with_meter(request.service, |meter| meter.answered(chosen));
        }
        if let Some(identity) = request.issued.take() {
            issue(service, &identity);
        }
        if let Some(name) = &service.reveal {
            reveal(service, name, request.reason);
        }
    }

    fn end(&self) {
        let worker = &*self.worker;
        let Some(request) = &self.request else { return };
        let Some(service) = worker.config.services.get(request.service) else { return };
        let status = host::property_u64(&["response", "code"]);
        let grpc_status = || host::property_u64(&["response", "grpc_status"]);
        let facts = Facts {
            status,
            flags: host::property_u64(&["response", "flags"]).unwrap_or(0),
            // The proxy derives one for plain HTTP too, where it means nothing.
            grpc_status: request.grpc.then(grpc_status).flatten(),
        };
        let by_a_version = || {
            host::property(&["response", "code_details"])
                .is_none_or(|details| details == b"via_upstream")
        };
        let cluster = host::property(&["xds", "cluster_name"]);
        let ended = Ended {
            cluster: cluster.as_deref(),
            outcome: Outcome::of(facts, &service.blame, by_a_version),
            status,
            first_byte_us: request.first_byte_us,
            latency_us: worker.now_us().saturating_sub(request.start_us),
        };
        let fails =
            worker.with_meter(request.service, |meter| meter.end(service, request.chosen, &ended));
        if let Some(version) = fails.flatten() {
            worker.cut_off(request.service, version);
        }
    }
}

/// Tells the routes which version is chosen, over whatever the client sent under that name, which is returned.
fn tell_routes(service: &Service, version: usize) -> Option<&'static str> {
    let version = service.versions.get(version)?;
    let (header, value) = match service.route {
        Route::VersionHeader => (VERSION_HEADER, version.name.as_str()),
        Route::ClusterHeader => (CLUSTER_HEADER, version.cluster.as_str()),
    };
    host::set_request_header(header, value.as_bytes());
    Some(header)
}

/// Hands the bucket on to the services that this one calls, where applications forward trace context.
fn hand_on(bucket: Option<u32>) {
    if let Some(bucket) = bucket
        && host::request_header("traceparent").is_some()
    {
        let tracestate = host::request_header("tracestate");
        let value = trace::with_bucket(tracestate.as_deref(), bucket);
        host::set_request_header("tracestate", &value);
    }
}

/// Gives the user an identity, for the next requests.
fn issue(service: &Service, identity: &str) {
    let cookie = service.sticky.iter().find_map(|source| match source {
        Sticky::IdentityCookie(cookie) => Some(cookie),
        _ => None,
    });
    if let Some(cookie) = cookie {
        let secure = if cookie.secure { "; Secure" } else { "" };
        let (name, age) = (&cookie.name, cookie.max_age_seconds);
        let value =
            format!("{name}={identity}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
        host::add_response_header("set-cookie", &value);
    }
}

/// Tells the caller which version served, and why it was chosen.
fn reveal(service: &Service, header: &str, reason: Option<Reason>) {
    let cluster = host::property(&["xds", "cluster_name"]).unwrap_or_default();
    let served = service.versions.iter().find(|v| v.cluster.as_bytes() == cluster);
    if let Some(served) = served {
        let reason = reason.map_or("mesh", Reason::label);
        host::add_response_header(header, &format!("{}; reason={reason}", served.name));
    }
}

/// `application/grpc`, `application/grpc+proto`, but not `application/grpc-web`, whose status is in the body.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// A poison request, in the build that shows what becomes of the others.
#[cfg(feature = "trap")]
#[allow(clippy::panic)]
fn trap() {
    if host::request_header("x-serin-trap").is_some() {
        panic!("a request asked for it");
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        #[cfg(feature = "trap")]
        trap();
        let (request, told) = self.begin(!end_of_stream).unzip();
        self.request = request;
        let told = told.flatten();
        let mut changed = told.is_some();
        for header in [VERSION_HEADER, CLUSTER_HEADER] {
            // Whoever sends the others chooses nothing by them: routes may go by both.
            if told != Some(header) && host::request_header(header).is_some() {
                host::remove_request_header(header);
                changed = true;
            }
        }
        if changed {
            host::refresh_route();
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, _: bool) -> Action {
        self.answer();
        Action::Continue
    }

    /// The last callback of a stream, once, also for resets and the proxy's own answers.
    fn on_log(&mut self) {
        self.end();
    }
}
