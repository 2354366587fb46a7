//! The subset of HTTP/1 in the benchmark's own requests and responses.

/// The length of the first complete head in these bytes.
pub(crate) fn heads(bytes: &[u8]) -> Option<usize> {
    const END: &[u8] = b"\r\n\r\n";
    bytes.windows(END.len()).position(|window| window == END).map(|start| start + END.len())
}

/// A response.
pub(crate) struct Answer<'b> {
    pub(crate) status: u16,
    pub(crate) body: &'b [u8],
}

/// The first complete response in these bytes.
pub(crate) fn answer(bytes: &[u8]) -> Option<Answer<'_>> {
    let (head, rest) = bytes.split_at(heads(bytes)?);
    let head = std::str::from_utf8(head).expect("Envoy's headers are text");
    let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().expect("a length"));
    Some(Answer { status, body: rest.get(..length)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_whole_or_not_there() {
        let whole = b"HTTP/1.1 200 OK\r\nserver: envoy\r\ncontent-length: 2\r\n\r\nv1";
        assert!((0..whole.len()).all(|length| answer(&whole[..length]).is_none()));
        let answer = answer(whole).unwrap();
        assert_eq!((answer.status, answer.body), (200, &b"v1"[..]));
    }
}
