//! The stream context: selects a version on the request headers and counts the completed request.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

use crate::config::Service;
use crate::config::wire::{Override, Route, Sticky};
use crate::histogram;
use crate::meter::{AssignedRequest, BegunStream, CompletedRequest, Meter};
use crate::outcome::{Outcome, ResponseInfo};
use crate::redirect::{ORIGINAL_URL, RedirectedRequests, StreamIdentity};
use crate::request::Request;
use crate::rpc::{self, Rpc, RpcStatus};
use crate::select::{Assignment, Reason, Selection, select};
use crate::tunnel::Tunnel;
use crate::worker::Worker;
use crate::{CLUSTER_HEADER, VERSION_HEADER, authority, host, trace};

pub(crate) struct Stream {
    worker: Rc<Worker>,
    redirected: Rc<RedirectedRequests<RedirectedRequest>>,
    /// Whether the request headers have arrived.
    started: bool,
    /// `None` before the headers, for an unknown authority, and for a bypassed request.
    request: Option<MeasuredRequest>,
}

/// A request to a service of the configuration.
struct MeasuredRequest {
    service: usize,
    unusual_authority: bool,
    start_us: u64,
    rpc: Option<Rpc>,
    /// `None` for a request without a body and for an RPC.
    tunnel: Option<Tunnel>,
    first_byte_us: Option<u64>,
    /// `None` if the mesh splits.
    assigned: Option<AssignedRequest>,
    reason: Option<Reason>,
    /// Identity for the response's `set-cookie`.
    new_identity: Option<String>,
    /// The status of an RPC, as far as it has arrived.
    rpc_status: RpcStatus,
    /// Set if the request was counted before its end.
    begun: Option<BegunStream>,
    /// Whether the filter decided if the request counts before its end.
    checked_begin: bool,
}

/// A request at the end of a stream whose response the proxy follows itself.
pub(crate) struct RedirectedRequest {
    request: MeasuredRequest,
    elapsed_us: u64,
    cluster: Option<Vec<u8>>,
    status: Option<u64>,
}

impl RedirectedRequest {
    /// Counts the redirect as the response of the service.
    pub(crate) fn complete(&self, worker: &Worker) {
        let completed = CompletedRequest {
            cluster: self.cluster.as_deref(),
            outcome: Outcome::Success,
            unreadable: false,
            status: self.status,
            first_byte_us: Some(self.elapsed_us),
            latency_us: self.elapsed_us,
        };
        self.request.complete(worker, &completed);
    }
}

impl MeasuredRequest {
    /// Whether the response is a stream. Reads the status of an RPC in the response headers.
    fn is_stream(&mut self, has_body: bool) -> bool {
        if !has_body {
            if self.rpc.is_some()
                && let Some(status) = host::response_header_line("grpc-status")
            {
                self.rpc_status = RpcStatus::Known(rpc::parse_status(&status));
            }
            return false;
        }
        if self.rpc == Some(Rpc::Grpc) {
            return true;
        }
        if let Some(tunnel) = self.tunnel
            && host::response_header_line(":status").is_some_and(|status| tunnel.is_open(&status))
        {
            return true;
        }
        let Some(content_type) = host::response_header_line("content-type") else { return false };
        if self.rpc.is_some() {
            let encoding = host::response_header_line("content-encoding");
            self.rpc_status = RpcStatus::in_body(&content_type, encoding.as_deref());
        }
        rpc::is_stream(&content_type)
    }

    /// Counts the request before its end, with these times: to the first byte, the latency, and now.
    fn begin(&mut self, worker: &Worker, times: [u64; 3]) {
        self.checked_begin = true;
        let Some(service) = worker.config.services.get(self.service) else { return };
        let Some(cluster) = host::property(&["xds", "cluster_name"]) else { return };
        let [.., now_us] = times;
        worker.detect_overdue(self.service, now_us);
        let assigned = self.assigned.as_ref();
        let begin = |meter: &mut Meter| meter.begin(service, assigned, &cluster, times);
        self.begun = worker.with_meter(self.service, begin).flatten();
    }

    /// Counts a request that is slower than every boundary of the histogram before its end.
    fn begin_if_slow(&mut self, worker: &Worker) {
        // A host call per chunk would read the time itself.
        let now_us = worker.tick_us.get();
        let latency_us = now_us.saturating_sub(self.start_us);
        if !self.checked_begin
            && histogram::bucket(latency_us) == histogram::BOUNDARIES
            && let Some(first_byte_us) = self.first_byte_us
        {
            self.checked_begin = true;
            if is_from_upstream(response_details().as_deref()) {
                self.begin(worker, [first_byte_us, latency_us, now_us]);
            }
        }
    }

    /// The status of an RPC that has ended.
    fn final_status(&self, http_status: u64) -> Option<u64> {
        let header = || host::property(&["response", "headers", "grpc-status"]);
        self.rpc_status.at_end(self.rpc?, http_status, header)
    }

    fn complete(&self, worker: &Worker, completed: &CompletedRequest<'_>) {
        let Some(service) = worker.config.services.get(self.service) else { return };
        let complete =
            |meter: &mut Meter| meter.complete(service, self.assigned, self.begun, completed);
        if let Some(version) = worker.with_meter(self.service, complete).flatten() {
            worker.trip(self.service, version);
        }
    }
}

fn response_details() -> Option<Vec<u8>> {
    host::property(&["response", "code_details"])
}

/// Whether an upstream sent the response with these details. Without details it did.
fn is_from_upstream(details: Option<&[u8]>) -> bool {
    details.is_none_or(|details| details == b"via_upstream")
}

/// The response details of a stream that the proxy recreates.
const INTERNAL_REDIRECT: &[u8] = b"internal_redirect";

/// The current request, read by host calls.
struct HostRequest<'w>(&'w Worker);

impl Request for HostRequest<'_> {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        // Pseudo-headers are never repeated, and a read of the line is cheaper.
        let is_pseudo_header = name.starts_with(':');
        (if is_pseudo_header { host::request_header_line } else { host::request_header })(name)
    }

    fn first_line(&self, name: &str) -> Option<Vec<u8>> {
        host::request_header_line(name)
    }

    fn source(&self) -> Option<Vec<u8>> {
        host::property(&["source", "address"])
    }

    fn random(&self) -> u64 {
        self.0.random()
    }
}

impl Stream {
    pub(crate) fn new(
        worker: Rc<Worker>,
        redirected: Rc<RedirectedRequests<RedirectedRequest>>,
    ) -> Self {
        Self { worker, redirected, started: false, request: None }
    }

    /// Selects a version and sets the route header, whose name it returns. `None` for a request
    /// that the filter does not measure.
    fn start(&self, has_body: bool) -> Option<(MeasuredRequest, Option<&'static str>)> {
        let worker = &*self.worker;
        let redirected = self.redirected.take(continued_stream);
        let mut unusual_authority = false;
        let index = worker.config.service(|| {
            let authority = host::request_header_line(":authority")?;
            unusual_authority = authority::is_unusual(&authority);
            Some(authority)
        });
        if let Some(redirected) = redirected {
            if index == Some(redirected.request.service) {
                let request = redirected.request;
                let assigned = request.assigned.as_ref();
                let service = worker.config.services.get(request.service)?;
                let header = assigned.and_then(|it| set_route_header(service, it.version()));
                return Some((request, header));
            }
            redirected.complete(worker);
        }
        let index = index?;
        let service = worker.config.services.get(index)?;
        let start_us = worker.now_us();
        worker.detect_overdue(index, start_us);
        let selection = select(service, &HostRequest(worker));
        remove_override(&service.override_, &HostRequest(worker));
        let mut route_header = None;
        // Even an empty message of an RPC has a body.
        let content_type = has_body.then(|| host::request_header_line("content-type")).flatten();
        let rpc = content_type.as_deref().and_then(Rpc::of);
        let mut request = MeasuredRequest {
            service: index,
            unusual_authority,
            start_us,
            rpc,
            tunnel: (has_body && rpc.is_none()).then(tunnel),
            first_byte_us: None,
            assigned: None,
            reason: None,
            new_identity: None,
            rpc_status: RpcStatus::Missing,
            begun: None,
            checked_begin: false,
        };
        match selection {
            Selection::Bypass => {
                worker.with_meter(index, Meter::count_bypassed);
                return None;
            }
            Selection::Observe => {}
            Selection::Version(assignment) => {
                let Assignment { version, reason, bucket, new_identity, slices } = assignment;
                let (version, reason) = match worker.is_tripped(index, version, start_us) {
                    true => (0, Reason::Tripwire),
                    false => (version, reason),
                };
                route_header = set_route_header(service, version);
                if service.propagates_bucket() {
                    propagate_bucket(bucket);
                }
                let start = |meter: &mut Meter| meter.start(version, reason, start_us);
                let assigned = worker.with_meter(index, start).flatten();
                request.assigned = assigned.map(|assigned| assigned.in_slices(slices));
                request.reason = Some(reason);
                request.new_identity = new_identity;
            }
        }
        Some((request, route_header))
    }

    fn respond(&mut self, has_body: bool) {
        let worker = &*self.worker;
        let Some(request) = &mut self.request else { return };
        let Some(service) = worker.config.services.get(request.service) else { return };
        if request.first_byte_us.is_some() {
            return;
        }
        let now_us = worker.now_us();
        let first_byte_us = now_us.saturating_sub(request.start_us);
        request.first_byte_us = Some(first_byte_us);
        if let Some(assigned) = &mut request.assigned {
            worker.with_meter(request.service, |meter| meter.responded(assigned));
        }
        if request.is_stream(has_body) {
            request.begin(worker, [first_byte_us, first_byte_us, now_us]);
        }
        if let Some(identity) = request.new_identity.take() {
            add_identity_cookie(service, &identity);
        }
        if let Some(name) = &service.reveal {
            add_reveal_header(service, name, request.reason);
        }
    }

    fn complete(&mut self) {
        let worker = &*self.worker;
        if !self.started
            && let Some(redirected) = self.redirected.take(continued_stream)
        {
            // An earlier filter rejected the rest of a redirected request.
            return redirected.complete(worker);
        }
        let Some(request) = self.request.take() else { return };
        let Some(service) = worker.config.services.get(request.service) else { return };
        let now_us = worker.now_us();
        let status = host::property_u64(&["response", "code"]);
        let read_cluster = || host::property(&["xds", "cluster_name"]);
        let cluster = request.begun.is_none().then(read_cluster).flatten();
        // The filter sees no response headers of an internal redirect.
        let details = request.first_byte_us.is_none().then(response_details).flatten();
        if details.as_deref() == Some(INTERNAL_REDIRECT) {
            let elapsed_us = now_us.saturating_sub(request.start_us);
            let redirected = RedirectedRequest { request, elapsed_us, cluster, status };
            if let Some(oldest) = self.redirected.add(stream_identity(), now_us, redirected) {
                oldest.complete(worker);
            }
            return;
        }
        let response = ResponseInfo {
            // A bridge replaces the HTTP status of an RPC by one of its own.
            status: status.filter(|_| !matches!(request.rpc_status, RpcStatus::Known(_))),
            flags: host::property_u64(&["response", "flags"]).unwrap_or(0),
            grpc_status: status.and_then(|status| request.final_status(status)),
        };
        let from_upstream = || is_from_upstream(details.or_else(response_details).as_deref());
        let outcome = Outcome::classify(response, &service.blame, from_upstream);
        if request.unusual_authority && cluster.is_none() && outcome.lacks_upstream() {
            // The routes do not match this form of the name. That is no failure of a version.
            return;
        }
        let completed = CompletedRequest {
            cluster: cluster.as_deref(),
            outcome,
            unreadable: matches!(request.rpc_status, RpcStatus::Unreadable),
            status,
            first_byte_us: request.first_byte_us,
            latency_us: now_us.saturating_sub(request.start_us),
        };
        request.complete(worker, &completed);
    }
}

fn stream_identity() -> StreamIdentity {
    StreamIdentity {
        connection: host::property_u64(&["connection", "id"]),
        request_id: host::request_header("x-request-id"),
    }
}

/// The stream's identity, and whether an internal redirect created it.
fn continued_stream() -> (StreamIdentity, bool) {
    (stream_identity(), host::request_header(ORIGINAL_URL).is_some())
}

/// Removes the header and the cookie of an override: upstreams could log their secret.
fn remove_override(Override { header, cookie }: &Override, request: &impl Request) {
    if let Some(name) = header
        && host::has_request_header(name)
    {
        host::remove_request_header(name);
    }
    if let Some(name) = cookie
        && let Some(rest) = request.without_cookie(name)
    {
        match rest.is_empty() {
            true => host::remove_request_header("cookie"),
            false => host::set_request_header("cookie", &rest),
        }
    }
}

/// Sets the header that the routes match, and returns its name.
fn set_route_header(service: &Service, version: usize) -> Option<&'static str> {
    let version = service.versions.get(version)?;
    let (header, value) = match service.route {
        Route::VersionHeader => (VERSION_HEADER, version.name.as_str()),
        Route::ClusterHeader => (CLUSTER_HEADER, version.cluster.as_str()),
    };
    host::set_request_header(header, value.as_bytes());
    Some(header)
}

/// Propagates the bucket in `tracestate` of a traced request.
fn propagate_bucket(bucket: Option<u32>) {
    if let Some(bucket) = bucket
        && host::has_request_header("traceparent")
    {
        let tracestate = host::request_header("tracestate");
        let value = trace::with_bucket(tracestate.as_deref(), bucket);
        host::set_request_header("tracestate", &value);
    }
}

fn add_identity_cookie(service: &Service, identity: &str) {
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

/// Adds the version that served and the reason to the response.
fn add_reveal_header(service: &Service, header: &str, reason: Option<Reason>) {
    let cluster = host::property(&["xds", "cluster_name"]).unwrap_or_default();
    let served = service.versions.iter().find(|v| v.cluster.as_bytes() == cluster);
    if let Some(served) = served {
        let reason = reason.map_or("mesh", Reason::label);
        host::add_response_header(header, &format!("{}; reason={reason}", served.name));
    }
}

fn tunnel() -> Tunnel {
    Tunnel::of(host::request_header_line(":method").as_deref())
}

/// Traps on demand, in the build for failure tests.
#[cfg(feature = "trap")]
#[allow(clippy::panic)]
fn trap() {
    if host::has_request_header("x-serin-trap") {
        panic!("x-serin-trap");
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        #[cfg(feature = "trap")]
        trap();
        self.started = true;
        let (request, route_header) = self.start(!end_of_stream).unzip();
        self.request = request;
        let route_header = route_header.flatten();
        for header in [VERSION_HEADER, CLUSTER_HEADER] {
            // Routes may match either header, so remove a client's value of the other.
            if route_header != Some(header) && host::has_request_header(header) {
                host::remove_request_header(header);
            }
        }
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _: usize, end_of_stream: bool) -> Action {
        self.respond(!end_of_stream);
        Action::Continue
    }

    fn on_http_response_body(&mut self, body_size: usize, _: bool) -> Action {
        if let Some(request) = &mut self.request {
            request.rpc_status.read(body_size, host::response_body);
            request.begin_if_slow(&self.worker);
        }
        Action::Continue
    }

    fn on_http_response_trailers(&mut self, _: usize) -> Action {
        if let Some(request) = &mut self.request
            && request.rpc.is_some()
            && let Some(status) = host::response_trailer("grpc-status")
        {
            request.rpc_status = RpcStatus::Known(rpc::parse_status(&status));
        }
        Action::Continue
    }

    /// The proxy calls this once per stream, also for resets and local replies.
    fn on_log(&mut self) {
        self.complete();
    }
}
