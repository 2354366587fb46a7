//! Faults of a version. Each fault hits a share of the requests.

use std::time::Duration;

/// A fault. An upstream can have several at once.
///
/// Each fault hits a random share of the requests (0.0 to 1.0), independently of the others. The
/// delays of a request add up. The first fault in the list that replaces the response determines
/// it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    share: f64,
    effect: Effect,
    /// How many more requests the fault can hit; `None`: no limit.
    left: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Effect {
    Delay(Duration),
    Replace(ResponseKind),
}

/// The upstream's action for a request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ResponseKind {
    Answer,
    Status(u16),
    GrpcError(u8),
    GrpcTrailers(u8),
    Break,
    Reset,
    Hang,
}

impl Fault {
    /// Responds with status 500, also to gRPC calls.
    pub fn errors(share: f64) -> Self {
        Self::status(share, 500)
    }

    /// Responds with this status, also to gRPC calls.
    pub fn status(share: f64, status: u16) -> Self {
        Self::new(share, Effect::Replace(ResponseKind::Status(status)))
    }

    /// Responds to a gRPC call trailers-only with this `grpc-status`. Other requests are not
    /// affected.
    pub fn grpc_errors(share: f64, status: u8) -> Self {
        Self::new(share, Effect::Replace(ResponseKind::GrpcError(status)))
    }

    /// Responds to a gRPC call with a message and this `grpc-status` in the trailers. Other
    /// requests are not affected.
    pub fn grpc_trailers(share: f64, status: u8) -> Self {
        Self::new(share, Effect::Replace(ResponseKind::GrpcTrailers(status)))
    }

    /// Delays the response. Several delays make a tail: 150 ms for all requests, 600 ms more for
    /// one in ten.
    pub fn delay(share: f64, by: Duration) -> Self {
        Self::new(share, Effect::Delay(by))
    }

    /// Resets the TCP connection instead of a response. Over HTTP/2 this ends all other requests
    /// on the connection as well.
    pub fn resets(share: f64) -> Self {
        Self::new(share, Effect::Replace(ResponseKind::Reset))
    }

    /// Breaks off the response in mid-body: HTTP/1 resets the connection, HTTP/2 the stream.
    pub fn breaks(share: f64) -> Self {
        Self::new(share, Effect::Replace(ResponseKind::Break))
    }

    /// Never responds. The upstream drops the request when the client gives up.
    pub fn hangs(share: f64) -> Self {
        Self::new(share, Effect::Replace(ResponseKind::Hang))
    }

    /// The same fault, limited to this number of requests.
    #[must_use]
    pub fn times(mut self, requests: u32) -> Self {
        self.left = Some(requests);
        self
    }

    fn new(share: f64, effect: Effect) -> Self {
        assert!(
            (0.0..=1.0).contains(&share),
            "the share of a fault is between 0 and 1, not {share}"
        );
        Self { share, effect, left: None }
    }
}

/// The combined effect of the active faults on one request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct FaultOutcome {
    pub(super) delay: Duration,
    pub(super) ending: ResponseKind,
}

impl FaultOutcome {
    const HEALTHY: Self = Self { delay: Duration::ZERO, ending: ResponseKind::Answer };

    /// Draws a random number for each fault.
    pub(super) fn roll(faults: &mut [Fault], is_grpc: bool) -> Self {
        let mut fate = Self::HEALTHY;
        for fault in faults.iter_mut().filter(|fault| fastrand::f64() < fault.share) {
            if fault.left == Some(0) {
                continue;
            }
            match fault.effect {
                Effect::Delay(by) => fate.delay += by,
                Effect::Replace(ResponseKind::GrpcError(_) | ResponseKind::GrpcTrailers(_))
                    if !is_grpc =>
                {
                    continue;
                }
                Effect::Replace(ending) if fate.ending == ResponseKind::Answer => {
                    fate.ending = ending
                }
                Effect::Replace(_) => continue,
            }
            fault.left = fault.left.map(|left| left - 1);
        }
        fate
    }

    pub(super) fn is_faulty(&self) -> bool {
        *self != Self::HEALTHY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_add_up_and_the_first_replacement_decides() {
        let mut faults = [
            Fault::grpc_errors(1.0, 14),
            Fault::delay(1.0, Duration::from_millis(150)),
            Fault::hangs(0.0),
            Fault::resets(1.0),
            Fault::errors(1.0),
            Fault::delay(1.0, Duration::from_millis(600)),
        ];
        let delay = Duration::from_millis(750);
        assert_eq!(
            FaultOutcome::roll(&mut faults, false),
            FaultOutcome { delay, ending: ResponseKind::Reset }
        );
        assert_eq!(
            FaultOutcome::roll(&mut faults, true),
            FaultOutcome { delay, ending: ResponseKind::GrpcError(14) }
        );
    }

    #[test]
    fn a_grpc_fault_leaves_other_requests_alone() {
        assert!(!FaultOutcome::roll(&mut [Fault::grpc_errors(1.0, 14)], false).is_faulty());
    }

    #[test]
    fn a_fault_can_be_over_after_some_requests() {
        let mut faults = [Fault::errors(1.0).times(2)];
        let faulty = [(); 4].map(|()| FaultOutcome::roll(&mut faults, false).is_faulty());
        assert_eq!(faulty, [true, true, false, false]);
    }

    #[test]
    #[should_panic(expected = "between 0 and 1, not 5")]
    fn a_percentage_is_not_a_share() {
        Fault::errors(5.0);
    }
}
