//! RPC protocols: gRPC, gRPC-Web and Connect. A status comes in trailers, in the headers of a
//! response without a body, or in the last frame of the body. The filter reads it there: Envoy's
//! own gRPC status is that of the client's side of the filter chain, and is derived from the HTTP
//! status where a filter moved the trailers into the body.

use serde_json::Value;

/// The RPC protocol of a request. A unary Connect call is plain HTTP: its HTTP status is its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rpc {
    /// The status is in the trailers.
    Grpc,
    /// The status is in a frame with trailers.
    GrpcWeb,
    /// The status is in the end-of-stream frame.
    ConnectStream,
}

impl Rpc {
    /// The protocol of this content type.
    #[must_use]
    pub fn of(content_type: &[u8]) -> Option<Self> {
        let media_type = media_type(content_type);
        [
            ("application/grpc", Self::Grpc),
            ("application/grpc-web", Self::GrpcWeb),
            ("application/grpc-web-text", Self::GrpcWeb),
            ("application/connect", Self::ConnectStream),
        ]
        .into_iter()
        .find_map(|(name, rpc)| media_type.eq_ignore_ascii_case(name.as_bytes()).then_some(rpc))
    }

    /// The status of a complete response without one, by its HTTP status: that of the gRPC project's
    /// `http-grpc-status-mapping.md`. Connect has an HTTP status of its own for each code.
    #[must_use]
    pub fn missing_status(self, http_status: u64) -> Option<u64> {
        match (self, http_status) {
            (Self::ConnectStream, 200) => Some(UNKNOWN),
            (Self::ConnectStream, _) => None,
            (_, 400) => Some(13),
            (_, 401) => Some(16),
            (_, 403) => Some(7),
            (_, 404) => Some(12),
            (_, 429 | 502..=504) => Some(14),
            _ => Some(UNKNOWN),
        }
    }
}

const UNKNOWN: u64 = 2;

/// A status code, from a header. A client takes a value that is no number for UNKNOWN.
#[must_use]
pub fn parse_status(value: &[u8]) -> u64 {
    std::str::from_utf8(value).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(UNKNOWN)
}

/// Whether a response is a stream by its content type: its start is the response, and the caller
/// determines its end.
#[must_use]
pub fn is_stream(content_type: &[u8]) -> bool {
    const STREAMS: [&str; 7] = [
        "text/event-stream",
        "multipart/x-mixed-replace",
        "application/x-ndjson",
        "application/jsonl",
        "application/json-seq",
        "application/stream",
        "application/vnd.amazon.eventstream",
    ];
    let media_type = media_type(content_type);
    Rpc::of(content_type).is_some()
        || STREAMS.iter().any(|stream| media_type.eq_ignore_ascii_case(stream.as_bytes()))
}

/// The media type of a content type without its `+suffix` and its parameters.
fn media_type(content_type: &[u8]) -> &[u8] {
    content_type.split(|byte| b"+; ".contains(byte)).next().unwrap_or_default()
}

/// The status of an RPC, as far as it has arrived.
#[derive(Debug, Default)]
pub enum RpcStatus {
    /// In trailers that have not arrived, or in no place that is read.
    #[default]
    Missing,
    /// In the body.
    Body(Box<StatusReader>),
    /// This status.
    Known(u64),
    /// In a part of the body that the filter cannot read.
    Unreadable,
}

impl RpcStatus {
    /// The status in the body of a response with these headers.
    #[must_use]
    pub fn in_body(content_type: &[u8], content_encoding: Option<&[u8]>) -> Self {
        let encoded =
            content_encoding.is_some_and(|it| !it.trim_ascii().eq_ignore_ascii_case(b"identity"));
        match StatusReader::new(content_type) {
            Some(_) if encoded => Self::Unreadable,
            Some(reader) => Self::Body(Box::new(reader)),
            None => Self::Missing,
        }
    }

    /// Reads a chunk of the body, of which `read` returns a range by its start and length.
    pub fn read(&mut self, length: usize, read: impl FnMut(usize, usize) -> Option<Vec<u8>>) {
        if let Self::Body(reader) = self {
            reader.add(length, read);
            match reader.status() {
                Some(FrameStatus::Known(status)) => *self = Self::Known(status),
                Some(FrameStatus::Missing) => *self = Self::Missing,
                Some(FrameStatus::Unreadable) => *self = Self::Unreadable,
                None => {}
            }
        }
    }

    /// The status of a response that has ended. `header` reads its header `grpc-status`.
    #[must_use]
    pub fn at_end(
        &self,
        rpc: Rpc,
        http_status: u64,
        header: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Option<u64> {
        match self {
            Self::Known(status) => Some(*status),
            Self::Unreadable => None,
            Self::Missing | Self::Body(_) => match header() {
                Some(status) => Some(parse_status(&status)),
                None => rpc.missing_status(http_status),
            },
        }
    }
}

/// The status in the last frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameStatus {
    /// This status.
    Known(u64),
    /// The frame has no status.
    Missing,
    /// The filter cannot read the frame: it is compressed or too long, or the proxy withholds it.
    Unreadable,
}

/// Reads the status in the last frame of a body. A frame has a flag, a length of four bytes and a
/// payload.
#[derive(Debug, Default)]
pub struct StatusReader {
    is_connect: bool,
    /// The base64 characters of an incomplete group; `None` for a binary body.
    base64: Option<Vec<u8>>,
    /// The beginning of a frame's head.
    head: Vec<u8>,
    /// Bytes of the current frame that are not needed.
    skip: usize,
    /// The payload of the last frame and its length.
    last: Option<(Vec<u8>, usize)>,
    status: Option<FrameStatus>,
}

const HEAD: usize = 5;
/// Bytes of a chunk that are read at a time, to find the heads of frames.
const WINDOW: usize = 512;
/// The same where all bytes are needed: in the last frame and in base64.
const LARGE_WINDOW: usize = 16_384;
/// Bytes of a last frame that are read.
const MAX_LAST: usize = 65_536;

impl StatusReader {
    /// A reader for a response with this content type; `None` if it has no frames.
    #[must_use]
    pub fn new(content_type: &[u8]) -> Option<Self> {
        let rpc = Rpc::of(content_type)?;
        let media_type = media_type(content_type);
        let is_text = media_type.to_ascii_lowercase().ends_with(b"-text");
        (rpc != Rpc::Grpc).then(|| Self {
            is_connect: rpc == Rpc::ConnectStream,
            base64: is_text.then(Vec::new),
            ..Self::default()
        })
    }

    /// The status, once the last frame has arrived.
    #[must_use]
    pub fn status(&self) -> Option<FrameStatus> {
        self.status
    }

    /// Adds a chunk of the body, of which `read` returns a range by its start and length.
    pub fn add(&mut self, length: usize, mut read: impl FnMut(usize, usize) -> Option<Vec<u8>>) {
        let mut start = 0;
        while start < length && self.status.is_none() {
            if self.base64.is_none() {
                let skipped = self.skip.min(length - start);
                self.skip -= skipped;
                start += skipped;
            }
            let needs_all = self.base64.is_some() || self.last.is_some();
            let window = if needs_all { LARGE_WINDOW } else { WINDOW }.min(length - start);
            if window == 0 {
                return;
            }
            let Some(bytes) = read(start, window).filter(|bytes| bytes.len() == window) else {
                self.status = Some(FrameStatus::Unreadable);
                return;
            };
            start += window;
            match self.base64.take() {
                Some(mut group) => {
                    let decoded = decode(&mut group, &bytes);
                    self.base64 = Some(group);
                    self.add_bytes(&decoded);
                }
                None => self.add_bytes(&bytes),
            }
        }
    }

    fn add_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.status.is_none() {
            let wanted = match &self.last {
                _ if self.skip > 0 => self.skip,
                Some((payload, length)) => (*length).min(MAX_LAST) - payload.len(),
                None => HEAD - self.head.len(),
            };
            let (taken, rest) = bytes.split_at(wanted.min(bytes.len()));
            bytes = rest;
            if self.skip > 0 {
                self.skip -= taken.len();
            } else if let Some((payload, _)) = &mut self.last {
                payload.extend_from_slice(taken);
            } else {
                self.head.extend_from_slice(taken);
                self.start_frame();
            }
            if let Some((payload, length)) = &self.last
                && payload.len() == (*length).min(MAX_LAST)
            {
                self.status = Some(match self.is_connect {
                    true => FrameStatus::Known(connect_status(payload)),
                    false => trailer_status(payload, *length),
                });
            }
        }
    }

    fn start_frame(&mut self) {
        let Ok([flags, length @ ..]) = <[u8; HEAD]>::try_from(self.head.as_slice()) else { return };
        self.head.clear();
        let length = u32::from_be_bytes(length) as usize;
        let last = if self.is_connect { 0x02 } else { 0x80 };
        if flags & last == 0 {
            self.skip = length;
        } else if flags & 0x01 != 0 {
            // Compressed.
            self.status = Some(FrameStatus::Unreadable);
        } else {
            self.last = Some((Vec::new(), length));
        }
    }
}

/// The status in `name:value` lines, the beginning of a frame of this length.
fn trailer_status(trailers: &[u8], length: usize) -> FrameStatus {
    let mut lines = trailers.split(|byte| *byte == b'\n');
    if trailers.len() < length {
        // The last line can be incomplete.
        lines.next_back();
    }
    let status = lines.find_map(|line| {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let (name, value) = line.split_at(colon);
        let is_status = name.trim_ascii().eq_ignore_ascii_case(b"grpc-status");
        is_status.then(|| parse_status(value.get(1..).unwrap_or_default()))
    });
    match status {
        Some(status) => FrameStatus::Known(status),
        None if trailers.len() < length => FrameStatus::Unreadable,
        None => FrameStatus::Missing,
    }
}

/// The codes of the Connect protocol, in the order of gRPC's codes.
const CONNECT_CODES: [&str; 16] = [
    "canceled",
    "unknown",
    "invalid_argument",
    "deadline_exceeded",
    "not_found",
    "already_exists",
    "permission_denied",
    "resource_exhausted",
    "failed_precondition",
    "aborted",
    "out_of_range",
    "unimplemented",
    "internal",
    "unavailable",
    "data_loss",
    "unauthenticated",
];

/// The status in the JSON of an end-of-stream frame. A client takes invalid JSON for UNKNOWN.
fn connect_status(end: &[u8]) -> u64 {
    let Ok(Value::Object(end)) = serde_json::from_slice(end) else { return UNKNOWN };
    let Some(error) = end.get("error").filter(|error| !error.is_null()) else { return 0 };
    let code = error.get("code").and_then(Value::as_str);
    let code = (1..).zip(CONNECT_CODES).find(|(_, name)| Some(*name) == code);
    code.map_or(UNKNOWN, |(code, _)| code)
}

/// Decodes base64, in which each group of four characters can end with padding. `group` has the
/// characters of an incomplete group.
fn decode(group: &mut Vec<u8>, text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text {
        let bits = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => PADDING,
            _ => continue,
        };
        group.push(bits);
        if let [a, b, c, d] = group[..] {
            let padding = usize::from(c == PADDING) + usize::from(d == PADDING);
            let value = [a, b, c, d].iter().fold(0, |sum, bits| sum << 6 | u32::from(bits & 63));
            let [_, decoded @ ..] = value.to_be_bytes();
            bytes.extend(decoded.into_iter().take(3 - padding));
            group.clear();
        }
    }
    bytes
}

/// The bits of a padding character: zero in the lower six.
const PADDING: u8 = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::FrameStatus::{Known, Missing, Unreadable};
    use super::*;

    fn frame(flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[flags], &length[..], payload].concat()
    }

    fn base64(bytes: &[u8]) -> Vec<u8> {
        const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let group = |group: &[u8]| {
            let mut bits = [0; 4];
            bits[1..=group.len()].copy_from_slice(group);
            let bits = u32::from_be_bytes(bits);
            let at = |n: usize| ALPHABET[(bits >> (18 - 6 * n) & 63) as usize];
            [0, 1, 2, 3].map(|n| if n > group.len() { b'=' } else { at(n) })
        };
        bytes.chunks(3).flat_map(group).collect()
    }

    /// The status of a body in chunks of this size.
    fn status(content_type: &str, body: &[u8], chunk: usize) -> Option<FrameStatus> {
        let mut reader = StatusReader::new(content_type.as_bytes()).unwrap();
        for chunk in body.chunks(chunk) {
            reader.add(chunk.len(), |start, length| Some(chunk[start..start + length].to_vec()));
        }
        reader.status()
    }

    #[test]
    fn content_types_determine_the_protocol() {
        for (content_type, rpc) in [
            ("application/grpc", Some(Rpc::Grpc)),
            ("application/grpc+proto", Some(Rpc::Grpc)),
            ("Application/GRPC;charset=utf-8", Some(Rpc::Grpc)),
            ("application/grpc-web", Some(Rpc::GrpcWeb)),
            ("application/grpc-web+proto", Some(Rpc::GrpcWeb)),
            ("application/grpc-web-text", Some(Rpc::GrpcWeb)),
            ("application/grpc-web-text+proto", Some(Rpc::GrpcWeb)),
            ("application/connect+json", Some(Rpc::ConnectStream)),
            ("application/grpcx", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(Rpc::of(content_type.as_bytes()), rpc, "{content_type}");
        }
    }

    #[test]
    fn some_content_types_are_streams() {
        for stream in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "application/x-ndjson",
            "application/stream+json",
            "application/grpc",
            "application/connect+proto",
        ] {
            assert!(is_stream(stream.as_bytes()), "{stream}");
        }
        for other in ["text/html", "application/json", "application/octet-stream", ""] {
            assert!(!is_stream(other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn a_missing_status_is_that_of_the_http_status() {
        let statuses = [200, 400, 401, 403, 404, 429, 500, 503, 504];
        let missing = |rpc: Rpc| statuses.map(|status| rpc.missing_status(status));
        let grpc = [2, 13, 16, 7, 12, 14, 2, 14, 14].map(Some);
        assert_eq!((missing(Rpc::Grpc), missing(Rpc::GrpcWeb)), (grpc, grpc));
        let connect = [Some(2), None, None, None, None, None, None, None, None];
        assert_eq!(missing(Rpc::ConnectStream), connect);
        assert_eq!([&b"14"[..], b" 0 ", b"x", b"", b"\xff"].map(parse_status), [14, 0, 2, 2, 2]);
    }

    #[test]
    fn the_last_frame_of_grpc_web_has_the_status() {
        let messages = [frame(0, &[7; 2_000]), frame(0, b""), frame(1, b"\x80\0\0\0\0")].concat();
        for (trailers, expected) in [
            (&b"grpc-status:14\r\ngrpc-message:x\r\n"[..], Known(14)),
            (b"x: 1\r\nGrpc-Status: 0\r\n", Known(0)),
            (b"grpc-status: x", Known(2)),
            (b"x:1\r\n", Missing),
            (b"", Missing),
        ] {
            let body = [&messages[..], &frame(0x80, trailers)].concat();
            for chunk in [1, 2, 3, 5, 7, 600, 10_000] {
                let binary = status("application/grpc-web+proto", &body, chunk);
                assert_eq!(binary, Some(expected), "{chunk}");
                // Each frame is encoded by itself.
                let text = [base64(&messages), base64(&frame(0x80, trailers))].concat();
                assert_eq!(status("application/grpc-web-text", &text, chunk), Some(expected));
            }
        }
        assert_eq!(status("application/grpc-web", &messages, 9), None);
        assert_eq!(status("application/grpc-web", &frame(0x81, b"x"), 9), Some(Unreadable));
    }

    #[test]
    fn the_status_can_come_late_in_a_long_last_frame() {
        let line = |length: usize| [&b"a:"[..], &vec![b'x'; length - 4], b"\r\n"].concat();
        for (trailers, expected) in [
            ([b"grpc-status:13\r\n".to_vec(), line(100_000)].concat(), Known(13)),
            ([line(60_000), b"grpc-status:13\r\n".to_vec()].concat(), Known(13)),
            ([line(MAX_LAST - 15), b"grpc-status:13\r\n".to_vec()].concat(), Unreadable),
            ([line(MAX_LAST), b"grpc-status:13\r\n".to_vec()].concat(), Unreadable),
            (line(MAX_LAST), Missing),
        ] {
            let body = frame(0x80, &trailers);
            for chunk in [99, 20_000, 200_000] {
                assert_eq!(status("application/grpc-web", &body, chunk), Some(expected));
            }
        }
    }

    #[test]
    fn an_unreadable_status_is_no_missing_one() {
        let at_end =
            |content_type: &str, encoding: Option<&str>, body: &[u8], header: Option<&str>| {
                let encoding = encoding.map(str::as_bytes);
                let mut status = RpcStatus::in_body(content_type.as_bytes(), encoding);
                status.read(body.len(), |start, length| Some(body[start..start + length].to_vec()));
                let rpc = Rpc::of(content_type.as_bytes()).unwrap();
                status.at_end(rpc, 200, || header.map(|header| header.as_bytes().to_vec()))
            };
        let [web, connect] = ["application/grpc-web", "application/connect+json"];
        let [ok, none] = [&b"grpc-status:0"[..], b"x:1"].map(|trailers| frame(0x80, trailers));
        let compressed = frame(0x81, b"x");
        for (content_type, encoding, body, header, expected) in [
            (web, None, &ok, None, Some(0)),
            (web, Some("identity"), &ok, None, Some(0)),
            (web, Some(" Identity "), &ok, Some("7"), Some(0)),
            (web, Some("gzip"), &ok, Some("7"), None),
            (web, None, &compressed, Some("7"), None),
            (web, None, &none, None, Some(2)),
            (web, None, &none, Some("7"), Some(7)),
            (web, None, &ok[..9].to_vec(), None, Some(2)),
            (connect, None, &frame(2, b"{}"), None, Some(0)),
            (connect, None, &frame(2, b"{"), None, Some(2)),
            (connect, None, &frame(2, b"{}")[..6].to_vec(), None, Some(2)),
            (connect, None, &frame(3, b"{}"), None, None),
            ("application/grpc", Some("gzip"), &Vec::new(), None, Some(2)),
        ] {
            let status = at_end(content_type, encoding, body, header);
            assert_eq!(status, expected, "{content_type} {encoding:?} {body:?} {header:?}");
        }
    }

    #[test]
    fn the_last_frame_of_a_connect_stream_has_the_status() {
        let long = format!(r#"{{"metadata": {{"x": ["{}"]}}}}"#, "x".repeat(60_000));
        let cut = format!(r#"{{"metadata": {{"x": ["{}"]}}}}"#, "x".repeat(MAX_LAST));
        for (end, expected) in [
            (r#"{"error": {"code": "unavailable", "message": "x"}, "metadata": {}}"#, 14),
            (r#"{"error": {"code": "canceled"}}"#, 1),
            (r#"{"error": {"code": "unauthenticated"}}"#, 16),
            (r#"{"error": {"code": 7}}"#, 2),
            (r#"{"error": null}"#, 0),
            ("{}", 0),
            ("", 2),
            ("nonsense", 2),
            ("[]", 2),
            (&long, 0),
            (&cut, 2),
        ] {
            let body = [frame(0, b"message"), frame(2, end.as_bytes())].concat();
            for chunk in [1, 5, 600] {
                let status = status("application/connect+json", &body, chunk);
                assert_eq!(status, Some(Known(expected)), "{:.80}", end);
            }
        }
        let compressed = status("application/connect+json", &frame(3, b"{}"), 9);
        assert_eq!(compressed, Some(Unreadable));
    }

    proptest! {
        /// Arbitrary bytes have the same status in chunks of every size.
        #[test]
        fn the_status_does_not_depend_on_chunks(
            body in prop::collection::vec(prop::sample::select(&b"\x00\x01\x02\x80A=g{"[..]), 0..200),
            chunk in 1_usize..60,
        ) {
            for content_type in
                ["application/grpc-web", "application/grpc-web-text", "application/connect+json"]
            {
                let whole = status(content_type, &body, body.len().max(1));
                prop_assert_eq!(status(content_type, &body, chunk), whole);
            }
        }
    }

    #[test]
    fn payloads_are_not_read() {
        let mut reader = StatusReader::new(b"application/grpc-web").unwrap();
        let body = frame(0, &[0; 100_000]);
        let mut read = Vec::new();
        reader.add(body.len(), |start, length| {
            read.push((start, length));
            Some(body[start..start + length].to_vec())
        });
        assert_eq!((read, reader.status()), (vec![(0, WINDOW)], None));
        // A failed read is unreadable, and no further one is made.
        reader.add(10, |_, _| None);
        reader.add(10, |_, _| unreachable!("read"));
        assert_eq!(reader.status(), Some(Unreadable));
        assert!(StatusReader::new(b"application/grpc").is_none());
    }

    #[test]
    fn base64_and_last_frames_are_read_in_large_windows() {
        let messages = base64(&frame(0, &[0; 75_000]));
        let last = frame(0x80, &[b'x'; 40_000]);
        for (content_type, body, expected) in [
            ("application/grpc-web-text", messages, vec![16_384; 6]),
            ("application/grpc-web", last, vec![512, 16_384, 16_384]),
        ] {
            let mut reader = StatusReader::new(content_type.as_bytes()).unwrap();
            let mut windows = Vec::new();
            reader.add(body.len(), |start, length| {
                windows.push(length);
                Some(body[start..start + length].to_vec())
            });
            windows.pop();
            assert_eq!(windows, expected, "{content_type}");
        }
    }
}
