//! Calls to the proxy. Each gives an `Option` or nothing: whatever the proxy answers, the filter goes on and the request is served.

use std::cell::RefCell;

use proxy_wasm::hostcalls;
use proxy_wasm::types::{BufferType, MapType, MetricType, Status};

use crate::names::{Generation, ServiceName, VersionName};
use crate::stat::FLUSH_INTERVAL;

/// The plugin's configuration, as the proxy was given it.
pub(crate) fn configuration() -> Option<Vec<u8>> {
    hostcalls::get_buffer(BufferType::PluginConfiguration, 0, usize::MAX).ok().flatten()
}

/// Asks for ticks every [`FLUSH_INTERVAL`].
pub(crate) fn start_ticking() {
    if let Err(status) = hostcalls::set_tick_period(FLUSH_INTERVAL) {
        log::error!("no ticks, so no statistics: status {}", status as u32);
    }
}

/// The value of a request header. Any bytes: nobody promises UTF-8.
pub(crate) fn request_header(name: &str) -> Option<Vec<u8>> {
    hostcalls::get_map_value_bytes(MapType::HttpRequestHeaders, name).ok().flatten()
}

/// Sets a request header, over whatever the client sent under that name.
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
        log::warn!("{header} could not be changed: status {}", status as u32);
    }
}

/// Makes the proxy look its route up again, now that the headers have changed. Proxies before Envoy 1.33 do so by themselves and do
/// not know the call.
pub(crate) fn refresh_route() {
    let _ = hostcalls::call_foreign_function("clear_route_cache", None);
}

/// A property of the stream as the proxy holds it.
pub(crate) fn property(path: &[&str]) -> Option<Vec<u8>> {
    hostcalls::get_property(path.to_vec()).ok().flatten()
}

/// A whole number among the properties: eight little-endian bytes, durations in nanoseconds.
pub(crate) fn property_u64(path: &[&str]) -> Option<u64> {
    property(path)?.try_into().ok().map(u64::from_le_bytes)
}

/// Tells all workers of this proxy which generation is the newest.
pub(crate) fn announce(generation: Generation) {
    share(NEWEST, generation);
}

/// The newest generation that the proxy accepted.
pub(crate) fn newest_generation() -> Option<Generation> {
    shared(NEWEST)
}

const NEWEST: &str = "serin.generation";

/// Tells all workers of this proxy that a version is cut off for as long as this generation lasts.
pub(crate) fn cut_off(service: &ServiceName, version: &VersionName, generation: Generation) {
    share(&tripwire(service, version), generation);
}

/// Whether a worker of this proxy has cut this version off under this generation.
pub(crate) fn is_cut_off(
    service: &ServiceName,
    version: &VersionName,
    generation: Generation,
) -> bool {
    shared(&tripwire(service, version)) == Some(generation)
}

fn tripwire(service: &ServiceName, version: &VersionName) -> String {
    // No name contains a slash.
    ["serin.tripwire/", service.as_str(), "/", version.as_str()].concat()
}

fn share(key: &str, generation: Generation) {
    let _ = hostcalls::set_shared_data(key, Some(&generation.0.to_le_bytes()), None);
}

fn shared(key: &str) -> Option<Generation> {
    let (bytes, _) = hostcalls::get_shared_data(key).ok()?;
    Some(Generation(u64::from_le_bytes(bytes?.try_into().ok()?)))
}

/// More names than any sane set of rollouts makes in a proxy's life. What is beyond is not counted.
const MAX_METRICS: usize = 65_536;

thread_local! {
    /// Ids of all metrics this VM has defined, by name and in order. The proxy makes a new id at each definition and keeps it for good, so each name is
    /// defined once in the life of the VM.
    static METRICS: RefCell<Vec<(String, u32)>> = const { RefCell::new(Vec::new()) };
}

fn metric(kind: MetricType, name: String) -> Option<u32> {
    METRICS.with(|metrics| {
        let mut metrics = metrics.try_borrow_mut().ok()?;
        let place = match metrics.binary_search_by(|(other, _)| other.cmp(&name)) {
            Ok(place) => return metrics.get(place).map(|(_, id)| *id),
            Err(place) => place,
        };
        if metrics.len() == MAX_METRICS {
            return None;
        }
        let id = hostcalls::define_metric(kind, &name).ok()?;
        metrics.insert(place, (name, id));
        if metrics.len() == MAX_METRICS {
            log::error!(
                "serin: {MAX_METRICS} statistics exist, no more are made until the proxy is restarted"
            );
        }
        Some(id)
    })
}

/// The id of the counter with this name.
pub(crate) fn counter(name: impl Into<String>) -> Option<u32> {
    metric(MetricType::Counter, name.into())
}

/// Raises a counter.
pub(crate) fn increment(counter: Option<u32>, by: u64) {
    if let (Some(id), Ok(by)) = (counter, i64::try_from(by)) {
        let _ = hostcalls::increment_metric(id, by);
    }
}

/// Sets a gauge that nobody in this proxy has set yet.
pub(crate) fn set_gauge_once(name: &str, value: u64) {
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
