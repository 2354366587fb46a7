//! Requests whose response the proxy follows itself, by an internal redirect: it ends the stream and
//! creates another one for the rest of the request. The proxy sanitizes the headers of the first
//! stream only, so that the others keep the request id.

use std::cell::RefCell;

/// Header with the URL before an internal redirect. The proxy sets it, and removes a value of an
/// external client.
pub const ORIGINAL_URL: &str = "x-envoy-original-url";

/// The data by which a stream is recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamIdentity {
    /// The caller's connection.
    pub connection: Option<u64>,
    /// The header `x-request-id`.
    pub request_id: Option<Vec<u8>>,
}

/// The index of the redirected request, oldest first, that a stream continues: of the same
/// connection, with the same request id or with [`ORIGINAL_URL`].
fn position<'r>(
    redirected: impl Iterator<Item = &'r StreamIdentity> + Clone,
    stream: &StreamIdentity,
    has_original_url: bool,
) -> Option<usize> {
    stream.connection?;
    let mut same_id = redirected.clone();
    let mut same_connection = redirected;
    let same_id = same_id.position(|other| other == stream && other.request_id.is_some());
    same_id.or_else(|| {
        let same = |other: &StreamIdentity| other.connection == stream.connection;
        has_original_url.then(|| same_connection.position(same))?
    })
}

/// Time in which a redirected request must return. It returns at once, unless an earlier filter
/// delays it.
const TIMEOUT_US: u64 = 5_000_000;

/// Limit on redirected requests that have not returned.
const MAX_REDIRECTED: usize = 1_024;

/// A redirected request.
#[derive(Debug)]
struct Redirected<R> {
    stream: StreamIdentity,
    redirected_us: u64,
    request: R,
}

/// The redirected requests of a worker that have not returned, oldest first.
#[derive(Debug)]
pub struct RedirectedRequests<R>(RefCell<Vec<Redirected<R>>>);

impl<R> Default for RedirectedRequests<R> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<R> RedirectedRequests<R> {
    /// Adds a request that returns in another stream of its connection. Returns the oldest one if
    /// there are too many.
    #[must_use]
    pub fn add(&self, stream: StreamIdentity, redirected_us: u64, request: R) -> Option<R> {
        let mut all = self.0.try_borrow_mut().ok()?;
        all.push(Redirected { stream, redirected_us, request });
        (all.len() > MAX_REDIRECTED).then(|| all.remove(0).request)
    }

    /// Removes the request that a stream continues. Reads the stream's identity, and whether it has
    /// [`ORIGINAL_URL`], only if there is a redirected request.
    pub fn take(&self, stream: impl FnOnce() -> (StreamIdentity, bool)) -> Option<R> {
        let mut all = self.0.try_borrow_mut().ok()?;
        if all.is_empty() {
            return None;
        }
        let (stream, has_original_url) = stream();
        let index = position(all.iter().map(|one| &one.stream), &stream, has_original_url)?;
        Some(all.remove(index).request)
    }

    /// Removes the requests that do not return.
    #[must_use]
    pub fn expire(&self, now_us: u64) -> Vec<R> {
        let is_expired =
            |one: &mut Redirected<R>| now_us.saturating_sub(one.redirected_us) >= TIMEOUT_US;
        let Ok(mut all) = self.0.try_borrow_mut() else { return Vec::new() };
        all.extract_if(.., is_expired).map(|one| one.request).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(connection: Option<u64>, request_id: Option<&str>) -> StreamIdentity {
        let request_id = request_id.map(|id| id.as_bytes().to_vec());
        StreamIdentity { connection, request_id }
    }

    #[test]
    fn a_redirected_request_continues_on_its_connection_with_its_id_or_the_original_url() {
        let redirected = [
            stream(None, Some("a")),
            stream(Some(1), Some("b")),
            stream(Some(1), None),
            stream(Some(1), Some("c")),
            stream(Some(2), None),
        ];
        for (connection, request_id, has_original_url, expected) in [
            (Some(1), Some("c"), false, Some(3)),
            (Some(1), Some("c"), true, Some(3)),
            (Some(1), Some("x"), true, Some(1)),
            (Some(1), None, true, Some(1)),
            (Some(2), Some("x"), true, Some(4)),
            // Another request of the connection.
            (Some(1), Some("x"), false, None),
            (Some(1), None, false, None),
            (Some(2), Some("c"), false, None),
            (Some(3), Some("c"), true, None),
            (None, Some("a"), true, None),
            (None, None, true, None),
        ] {
            let stream = stream(connection, request_id);
            let index = position(redirected.iter(), &stream, has_original_url);
            assert_eq!(index, expected, "{stream:?} {has_original_url}");
        }
    }

    #[test]
    fn a_redirected_request_returns_once_or_expires() {
        let redirected = RedirectedRequests::default();
        let unread = || panic!("there is no redirected request");
        assert_eq!(redirected.take(unread), None);
        assert_eq!(redirected.add(stream(Some(1), Some("a")), 0, "first"), None);
        assert_eq!(redirected.add(stream(Some(1), Some("b")), 1, "second"), None);
        let continued = || (stream(Some(1), Some("b")), false);
        assert_eq!(redirected.take(continued), Some("second"));
        assert_eq!(redirected.take(continued), None);
        assert!(redirected.expire(TIMEOUT_US - 1).is_empty());
        assert_eq!(redirected.expire(TIMEOUT_US), ["first"]);
    }

    #[test]
    fn the_oldest_of_too_many_redirected_requests_is_returned() {
        let redirected = RedirectedRequests::default();
        let added: Vec<_> = (0..=MAX_REDIRECTED)
            .filter_map(|number| redirected.add(stream(None, None), 0, number))
            .collect();
        assert_eq!(added, [0]);
    }
}
