//! Calls to the proxy. A failed call yields `None` and never fails the request.

use std::cell::RefCell;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};

use crate::names::{Generation, ServiceName, VersionName};
use crate::stat::FLUSH_INTERVAL;
use crate::tripwire::BaselineRate;

/// The plugin configuration.
pub(crate) fn configuration() -> Option<Vec<u8>> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX).ok().flatten()
}

/// Requests a tick every [`FLUSH_INTERVAL`].
pub(crate) fn start_ticking() {
    if let Err(status) = hostcalls::set_tick_period(FLUSH_INTERVAL) {
        log::error!("serin: no ticks and no statistics: status {}", status as u32);
    }
}

/// The value of a request header, which need not be UTF-8. Joins the lines of a repeated header by
/// commas (RFC 9110, 5.2). `None` also for an empty value.
pub(crate) fn request_header(name: &str) -> Option<Vec<u8>> {
    property(&["request", "headers", name])
}

/// The first line of a request header: the whole value of a header that is not a list.
pub(crate) fn request_header_line(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
}

/// Whether the request has a header, which may be empty.
pub(crate) fn has_request_header(name: &str) -> bool {
    request_header_line(name).is_some()
}

/// The first line of a response header, in the callback of the response headers.
pub(crate) fn response_header_line(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseHeaders, name).ok().flatten()
}

/// A response trailer, in the callback of the response trailers.
pub(crate) fn response_trailer(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpResponseTrailers, name).ok().flatten()
}

/// A range of the chunk, in the callback of the response body.
pub(crate) fn response_body(start: usize, length: usize) -> Option<Vec<u8>> {
    hostcalls::get_buffer(BufferType::HttpResponseBody, start, length).ok().flatten()
}

/// Sets a request header and replaces the values that the client sent. The proxy selects the route
/// again after a change of a request header: it does so for modules of ABI 0.2.1.
pub(crate) fn set_request_header(name: &str, value: &[u8]) {
    warn(name, hostcalls::set_map_value_bytes(MapType::HttpRequestHeaders, name, Some(value)));
}

/// Removes a request header.
pub(crate) fn remove_request_header(name: &str) {
    warn(name, hostcalls::remove_map_value(MapType::HttpRequestHeaders, name));
}

/// Adds a response header.
pub(crate) fn add_response_header(name: &str, value: &str) {
    warn(name, hostcalls::add_map_value(MapType::HttpResponseHeaders, name, value));
}

fn warn(header: &str, result: Result<(), Status>) {
    if let Err(status) = result {
        log::warn!("serin: cannot change header {header}: status {}", status as u32);
    }
}

/// A stream attribute.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// An integer attribute: eight bytes, little-endian.
pub(crate) fn property_u64(path: &[&str]) -> Option<u64> {
    property(path)?.try_into().ok().map(u64::from_le_bytes)
}

/// Shares the newest generation with all workers of this proxy.
pub(crate) fn share_generation(generation: Generation) {
    set_shared(GENERATION_KEY, generation);
}

/// The newest generation that the proxy accepted.
pub(crate) fn newest_generation() -> Option<Generation> {
    get_shared(GENERATION_KEY)
}

const GENERATION_KEY: &str = "serin.generation";

/// Trips a version in all workers of this proxy, for this generation.
pub(crate) fn share_trip(service: &ServiceName, version: &VersionName, generation: Generation) {
    set_shared(&tripwire_key(service, version), generation);
}

/// Whether a worker of this proxy tripped this version in this generation.
pub(crate) fn is_tripped(
    service: &ServiceName,
    version: &VersionName,
    generation: Generation,
) -> bool {
    get_shared(&tripwire_key(service, version)) == Some(generation)
}

fn tripwire_key(service: &ServiceName, version: &VersionName) -> String {
    // Names contain no slash.
    ["serin.tripwire/", service.as_str(), "/", version.as_str()].concat()
}

/// Shares the failure rate of a baseline with the other workers of this proxy, and with this one
/// after a trap.
pub(crate) fn share_baseline(service: &ServiceName, version: &VersionName, rate: BaselineRate) {
    let key = baseline_key(service, version);
    let _ = hostcalls::set_shared_data(&key, Some(&rate.to_bytes()), None);
}

/// The shared failure rate of a baseline.
pub(crate) fn shared_baseline(
    service: &ServiceName,
    version: &VersionName,
) -> Option<BaselineRate> {
    let (bytes, _) = hostcalls::get_shared_data(&baseline_key(service, version)).ok()?;
    BaselineRate::from_bytes(&bytes?)
}

fn baseline_key(service: &ServiceName, version: &VersionName) -> String {
    ["serin.baseline/", service.as_str(), "/", version.as_str()].concat()
}

fn set_shared(key: &str, generation: Generation) {
    let _ = hostcalls::set_shared_data(key, Some(&generation.0.to_le_bytes()), None);
}

fn get_shared(key: &str) -> Option<Generation> {
    let (bytes, _) = hostcalls::get_shared_data(key).ok()?;
    Some(Generation(u64::from_le_bytes(bytes?.try_into().ok()?)))
}

/// Limit on the metrics of a VM, beyond which new names are not counted.
const MAX_METRICS: usize = 65_536;

thread_local! {
    /// Ids of the metrics that this VM defined, sorted by name. The proxy never frees an id and
    /// creates a new one for each definition, so the VM defines each name once.
    static METRICS: RefCell<Vec<(String, u32)>> = const { RefCell::new(Vec::new()) };
}

fn metric(kind: MetricType, name: String) -> Option<u32> {
    METRICS.with(|metrics| {
        let mut metrics = metrics.try_borrow_mut().ok()?;
        let index = match metrics.binary_search_by(|(other, _)| other.cmp(&name)) {
            Ok(index) => return metrics.get(index).map(|(_, id)| *id),
            Err(index) => index,
        };
        if metrics.len() == MAX_METRICS {
            return None;
        }
        let id = hostcalls::define_metric(kind, &name).ok()?;
        metrics.insert(index, (name, id));
        if metrics.len() == MAX_METRICS {
            log::error!("serin: limit of {MAX_METRICS} statistics reached; restart the proxy");
        }
        Some(id)
    })
}

/// The id of a counter, defined on first use.
pub(crate) fn counter(name: impl Into<String>) -> Option<u32> {
    metric(MetricType::Counter, name.into())
}

/// Increments a counter.
pub(crate) fn increment(counter: Option<u32>, by: u64) {
    if let (Some(id), Ok(by)) = (counter, i64::try_from(by)) {
        let _ = hostcalls::increment_metric(id, by);
    }
}

/// Sets a gauge, unless a worker of this proxy already did.
pub(crate) fn init_gauge(name: &str, value: u64) {
    if let Some(id) = metric(MetricType::Gauge, name.into())
        && let Ok(0) = hostcalls::get_metric(id)
    {
        let _ = hostcalls::record_metric(id, value);
    }
}

/// Sets a gauge.
pub(crate) fn set_gauge(name: impl Into<String>, value: u64) {
    if let Some(id) = metric(MetricType::Gauge, name.into()) {
        let _ = hostcalls::record_metric(id, value);
    }
}
