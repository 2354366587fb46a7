//! A cheap load generator: raw HTTP/1 on kept-alive connections, to this machine only.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::http;
use crate::subject::{SERVICES, authority};

/// One Envoy worker serves a connection: this many connections reach every worker.
const CONNECTIONS: u32 = 16;

/// Number of users.
const USERS: u32 = 10_000;

/// When requests start.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// Each request follows the response to the previous one on its connection.
    Saturate,
    /// A fixed rate over all connections, independent of responses.
    Rate(u32),
}

/// The services of the requests.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Callers {
    /// All requests are for one service.
    OneService,
    /// Each request is for the next service.
    AllServices,
}

/// A request with its end.
pub(crate) struct Sample {
    pub(crate) start: Instant,
    pub(crate) latency: Duration,
    /// The version that responded; `None`: the status was not 200.
    pub(crate) version: Option<[u8; 2]>,
}

impl Sample {
    pub(crate) fn end(&self) -> Instant {
        self.start + self.latency
    }
}

/// Connections that several loads share.
pub(crate) struct Clients(Vec<Client>);

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    place: u32,
}

impl Clients {
    /// Connects to an Envoy.
    pub(crate) async fn connect(target: SocketAddr) -> Self {
        assert!(target.ip().is_loopback(), "load goes to this machine only");
        let mut clients = Vec::new();
        for place in 0..CONNECTIONS {
            let stream = TcpStream::connect(target).await.expect("Envoy listens");
            stream.set_nodelay(true).expect("a socket accepts options");
            clients.push(Client { stream, unread: Vec::with_capacity(4096), place });
        }
        Self(clients)
    }

    /// Sends for this time, and returns all requests, in any order.
    ///
    /// # Panics
    /// Envoy closes a connection.
    pub(crate) async fn send(
        &mut self,
        pace: Pace,
        callers: Callers,
        time: Duration,
    ) -> Vec<Sample> {
        let start = Instant::now();
        let mut running = JoinSet::new();
        for mut client in std::mem::take(&mut self.0) {
            running.spawn(async move {
                let samples = client.send(pace, callers, start, time).await;
                (client, samples)
            });
        }
        let mut all = Vec::new();
        for (client, samples) in running.join_all().await {
            self.0.push(client);
            all.extend(samples);
        }
        all
    }
}

impl Client {
    async fn send(
        &mut self,
        pace: Pace,
        callers: Callers,
        begin: Instant,
        time: Duration,
    ) -> Vec<Sample> {
        let mut samples = Vec::new();
        for number in 0_u32.. {
            let start = match pace {
                Pace::Saturate => Instant::now(),
                Pace::Rate(rate) => self.due(rate, number, begin).await,
            };
            if start.duration_since(begin) >= time {
                break;
            }
            let service = match callers {
                Callers::OneService => 7,
                Callers::AllServices => number as usize % SERVICES,
            };
            let version = self.call(service).await;
            samples.push(Sample { start, latency: start.elapsed(), version });
        }
        samples
    }

    /// Waits for the start time of the request with this number. A request that starts late
    /// because the previous response is late counts from its scheduled time; a late timer does not
    /// count.
    async fn due(&self, rate: u32, number: u32, begin: Instant) -> Instant {
        let due = begin + Duration::from_secs(1) * (number * CONNECTIONS + self.place) / rate;
        if due <= Instant::now() {
            return due;
        }
        tokio::time::sleep_until(due.into()).await;
        Instant::now()
    }

    async fn call(&mut self, service: usize) -> Option<[u8; 2]> {
        let request = format!(
            "GET /cart HTTP/1.1\r\nhost: {}\r\nx-user-id: user-{}\r\nuser-agent: bench-filter\r\naccept: */*\r\n\r\n",
            authority(service),
            fastrand::u32(..USERS)
        );
        self.stream.write_all(request.as_bytes()).await.expect("Envoy accepts the request");
        self.unread.clear();
        loop {
            if let Some(answer) = http::answer(&self.unread) {
                return (answer.status == 200).then(|| answer.body.try_into().ok()).flatten();
            }
            let bytes = self.stream.read_buf(&mut self.unread).await.expect("Envoy responds");
            assert!(bytes > 0, "Envoy closed a connection");
        }
    }
}
