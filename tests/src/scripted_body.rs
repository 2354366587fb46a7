//! A response body whose chunks, trailers and failure come at given times.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::{Sleep, sleep};

/// A step of a body, after a pause.
#[derive(Debug)]
pub enum Step {
    /// A chunk.
    Data(Vec<u8>),
    /// The trailers.
    Trailers(&'static [(&'static str, &'static str)]),
    /// Ends the connection (HTTP/1) or the stream (HTTP/2).
    Reset,
}

/// A body of steps.
#[derive(Debug)]
pub struct ScriptedBody {
    steps: VecDeque<(Duration, Step)>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ScriptedBody {
    /// A body of these steps, each after its pause.
    #[must_use]
    pub fn new(steps: impl Into<VecDeque<(Duration, Step)>>) -> Self {
        Self { steps: steps.into(), pause: None }
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some((pause, _)) = self.steps.front() else { return Poll::Ready(None) };
        if !pause.is_zero() {
            let pause = *pause;
            let pause = self.pause.get_or_insert_with(|| Box::pin(sleep(pause)));
            ready!(pause.as_mut().poll(context));
        }
        self.pause = None;
        let Some((_, step)) = self.steps.pop_front() else { return Poll::Ready(None) };
        Poll::Ready(Some(match step {
            Step::Data(data) => Ok(Frame::data(data.into())),
            Step::Trailers(trailers) => Ok(Frame::trailers(trailer_map(trailers))),
            Step::Reset => Err(io::Error::other("a reset")),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.steps.is_empty()
    }
}

fn trailer_map(trailers: &[(&'static str, &'static str)]) -> HeaderMap {
    let pair = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    trailers.iter().map(pair).collect()
}
