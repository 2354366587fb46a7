//! Recognizes the stream that continues a request after an internal redirect. The proxy sanitizes
//! the headers of the first stream only, so that the others keep the request id.

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
pub fn position<'r>(
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
}
