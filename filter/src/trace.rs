//! Correlation keys of a call graph: W3C Trace Context (`traceparent`, `tracestate`) and Envoy's
//! `x-request-id`.

use crate::table::BUCKETS;

/// The `tracestate` key of serin.
const KEY: &[u8] = b"serin=";

/// The trace id of a `traceparent`: 32 lower-case hexadecimal digits, not all zero
/// (Trace Context, 3.2). A repeated header has no trace id.
#[must_use]
pub fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let (version, rest) = traceparent.split_at_checked(2)?;
    let (id, rest) = rest.strip_prefix(b"-")?.split_at_checked(32)?;
    let hexadecimal = |digits: &[u8]| digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    let valid = hexadecimal(version)
        && version != b"ff"
        && hexadecimal(id)
        && id.iter().any(|digit| *digit != b'0')
        && rest.first() == Some(&b'-')
        && !rest.contains(&b',');
    valid.then_some(id)
}

/// The bucket in a `tracestate`.
#[must_use]
pub fn parse_bucket(tracestate: &[u8]) -> Option<u32> {
    let digits = members(tracestate).find_map(|member| member.strip_prefix(KEY))?;
    let digits = (digits.len() <= 6).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|bucket| *bucket < BUCKETS)
}

/// The `tracestate` with a bucket. The modified member is the first (Trace Context, 3.5).
#[must_use]
pub fn with_bucket(tracestate: Option<&[u8]>, bucket: u32) -> Vec<u8> {
    let mut value = KEY.to_vec();
    value.extend_from_slice(bucket.to_string().as_bytes());
    for member in members(tracestate.unwrap_or_default()) {
        if !member.is_empty() && !member.starts_with(KEY) {
            value.push(b',');
            value.extend_from_slice(member);
        }
    }
    value
}

fn members(tracestate: &[u8]) -> impl Iterator<Item = &[u8]> {
    tracestate.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// An `x-request-id` without the digit in which Envoy encodes the sampling decision, which may
/// change between hops.
#[must_use]
pub fn normalize_request_id(mut id: Vec<u8>) -> Vec<u8> {
    if id.len() == 36
        && let Some(digit) = id.get_mut(14)
    {
        *digit = b'4';
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn only_valid_trace_ids_parse() {
        let parent = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(trace_id(parent), Some(ID));
        let later = [&parent[..], b"-more"].concat();
        assert_eq!(trace_id(&later), Some(ID));
        for bad in [
            &b""[..],
            b"00",
            b"00-",
            b"ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            b"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            b"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            b"00-4bf92f3577b34da6a3ce929d0e0e4736",
            b"\xff\xff-\xff",
            &[&parent[..], b",", parent].concat(),
        ] {
            assert_eq!(trace_id(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn tracestate_round_trips_a_bucket() {
        let value = with_bucket(Some(b"rojo=00f067, serin=7 ,,congo=t61"), 999_999);
        assert_eq!(value, b"serin=999999,rojo=00f067,congo=t61");
        assert_eq!(parse_bucket(&value), Some(999_999));
        assert_eq!(parse_bucket(&with_bucket(None, 0)), Some(0));
        for bad in [&b""[..], b"rojo=1", b"serin=", b"serin=1000000", b"serin=-1", b"serin=\xff"] {
            assert_eq!(parse_bucket(bad), None, "{bad:?}");
        }
        assert_eq!(parse_bucket(b"serin=0000000000000001"), None);
    }

    #[test]
    fn a_normalized_request_id_ignores_sampling() {
        let plain = b"a1b2c3d4-0000-4000-8000-0123456789ab".to_vec();
        let traced = b"a1b2c3d4-0000-9000-8000-0123456789ab".to_vec();
        assert_eq!(normalize_request_id(plain.clone()), normalize_request_id(traced));
        assert_eq!(normalize_request_id(plain.clone()), plain);
        assert_eq!(normalize_request_id(b"custom".to_vec()), b"custom");
    }
}
