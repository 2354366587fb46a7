//! What a call graph carries along where its applications forward it: W3C Trace Context (`traceparent`, `tracestate`) and Envoy's
//! `x-request-id`. Pure.

use crate::table::BUCKETS;

/// serin's key among the members of `tracestate`.
const KEY: &[u8] = b"serin=";

/// The trace id of a `traceparent`: 32 lower-case hexadecimal digits, not all zero (Trace Context, 3.2).
#[must_use]
pub fn trace_id(traceparent: &[u8]) -> Option<&[u8]> {
    let (version, rest) = traceparent.split_at_checked(2)?;
    let (id, rest) = rest.strip_prefix(b"-")?.split_at_checked(32)?;
    let hexadecimal = |digits: &[u8]| digits.iter().all(|d| matches!(d, b'0'..=b'9' | b'a'..=b'f'));
    let valid = hexadecimal(version)
        && version != b"ff"
        && hexadecimal(id)
        && id.iter().any(|digit| *digit != b'0')
        && rest.first() == Some(&b'-');
    valid.then_some(id)
}

/// The bucket that a filter before has put into a `tracestate`.
#[must_use]
pub fn bucket(tracestate: &[u8]) -> Option<u32> {
    let digits = members(tracestate).find_map(|member| member.strip_prefix(KEY))?;
    let digits = (digits.len() <= 6).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|bucket| *bucket < BUCKETS)
}

/// The `tracestate` that hands a bucket on: what changed comes first (Trace Context, 3.5), the rest stays.
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

/// An `x-request-id` without the digit in which Envoy notes whether the request is traced: it may change on the way.
#[must_use]
pub fn request_id(mut id: Vec<u8>) -> Vec<u8> {
    if id.len() == 36
        && let Some(note) = id.get_mut(14)
    {
        *note = b'4';
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn trace_ids() {
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
        ] {
            assert_eq!(trace_id(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn buckets_travel_in_tracestate() {
        let value = with_bucket(Some(b"rojo=00f067, serin=7 ,,congo=t61"), 999_999);
        assert_eq!(value, b"serin=999999,rojo=00f067,congo=t61");
        assert_eq!(bucket(&value), Some(999_999));
        assert_eq!(bucket(&with_bucket(None, 0)), Some(0));
        for bad in [&b""[..], b"rojo=1", b"serin=", b"serin=1000000", b"serin=-1", b"serin=\xff"] {
            assert_eq!(bucket(bad), None, "{bad:?}");
        }
        assert_eq!(bucket(b"serin=0000000000000001"), None);
    }

    #[test]
    fn a_request_id_stays_the_same_whether_traced_or_not() {
        let plain = b"a1b2c3d4-0000-4000-8000-0123456789ab".to_vec();
        let traced = b"a1b2c3d4-0000-9000-8000-0123456789ab".to_vec();
        assert_eq!(request_id(plain.clone()), request_id(traced));
        assert_eq!(request_id(plain.clone()), plain);
        assert_eq!(request_id(b"mine".to_vec()), b"mine");
    }
}
