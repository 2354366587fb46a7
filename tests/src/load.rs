//! An open-loop load generator: requests start on a schedule, independent of earlier responses.
//!
//! A closed loop would send fewer requests to a slow version and so hide the harm. Requests are
//! evenly spaced. A late generator catches up and skips none. Every request ends in exactly one
//! [`Record`], so that tests assert "no request was lost" exactly.

mod client;
mod report;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

use self::client::Caller;
pub(crate) use self::client::{chain, grpc_status, text};
pub use self::report::{Outcome, Record, Report, Tally};

/// Protects against a typing error.
const MAX_RATE: u32 = 20_000;

/// Target, rate and kind of requests. See [`LoadPlan::new`].
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The target, on this machine only.
    pub target: SocketAddr,
    /// Requests per second, 1 to 20,000.
    pub rate: u32,
    /// The number of users. Each request comes from a random user, named in `x-user-id: user-<n>`.
    /// `None`: no such header.
    pub users: Option<u32>,
    /// The host in the requests, if it is not the target.
    pub host: Option<&'static str>,
    /// The protocol of the requests.
    pub protocol: Protocol,
    /// The timeout of a request, after which it counts as failed.
    pub timeout: Duration,
    /// The duration, unless the load is stopped earlier.
    pub max_duration: Duration,
}

/// Protocols of requests.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Protocol {
    /// GET over HTTP/1.1 on kept-alive connections.
    Http1,
    /// GET over HTTP/2 with prior knowledge, on a few connections.
    Http2,
    /// gRPC calls over HTTP/2 with prior knowledge, on a few connections.
    Grpc,
}

impl Protocol {
    /// All protocols.
    pub const ALL: [Self; 3] = [Self::Http1, Self::Http2, Self::Grpc];
}

impl LoadPlan {
    /// HTTP/1.1 from 1,000 users, with a timeout of ten seconds, for five minutes at most.
    pub fn new(target: SocketAddr, rate: u32) -> Self {
        Self {
            target,
            rate,
            users: Some(1_000),
            host: None,
            protocol: Protocol::Http1,
            timeout: Duration::from_secs(10),
            max_duration: Duration::from_secs(300),
        }
    }
}

/// Whether an address belongs to this machine, or to a cluster on it: clusters use the range for
/// benchmarks (RFC 2544).
fn is_local(address: IpAddr) -> bool {
    let benchmark = |address: Ipv4Addr| matches!(address.octets(), [198, 18 | 19, ..]);
    address.is_loopback() || matches!(address, IpAddr::V4(address) if benchmark(address))
}

/// A running load. Drop starts no more requests.
#[derive(Debug)]
pub struct Load {
    ledger: Arc<ResultLog>,
    stop: oneshot::Sender<()>,
    driver: JoinHandle<()>,
}

impl Load {
    /// Starts to send.
    ///
    /// # Panics
    /// The plan is out of bounds.
    pub fn start(plan: LoadPlan) -> Self {
        assert!(is_local(plan.target.ip()), "load goes to this machine only, not {}", plan.target);
        assert!(
            (1..=MAX_RATE).contains(&plan.rate),
            "a rate is 1 to {MAX_RATE}, not {}",
            plan.rate
        );
        assert!(plan.users != Some(0), "requests without a user are `None`");
        let ledger = Arc::new(ResultLog::default());
        let (stop, stopped) = oneshot::channel();
        let driver = tokio::spawn(drive(plan, ledger.clone(), stopped));
        Self { ledger, stop, driver }
    }

    /// The requests that have ended so far.
    pub fn so_far(&self) -> Report {
        Report::new(self.ledger.records().iter().flatten().cloned().collect())
    }

    /// Starts no more requests, waits for the open requests (at most for the plan's timeout) and
    /// reports.
    pub async fn stop(self) -> Report {
        // The driver may have ended already.
        let _ = self.stop.send(());
        self.driver.await.expect("the load generator does not panic");
        let records = std::mem::take(&mut *self.ledger.records());
        let started = records.len();
        let ended: Vec<_> = records.into_iter().flatten().collect();
        assert_eq!(ended.len(), started, "every request started has an end");
        Report::new(ended)
    }
}

/// A slot for each request, in order of start times; empty until the request has ended.
#[derive(Debug, Default)]
struct ResultLog(Mutex<Vec<Option<Arc<Record>>>>);

impl ResultLog {
    fn records(&self) -> MutexGuard<'_, Vec<Option<Arc<Record>>>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

async fn drive(plan: LoadPlan, ledger: Arc<ResultLog>, mut stopped: oneshot::Receiver<()>) {
    let caller = Arc::new(Caller::new(&plan));
    let mut under_way = JoinSet::new();
    let start = Instant::now();
    for number in 0_u32.. {
        let due = Duration::from_secs(1) * number / plan.rate;
        if due >= plan.max_duration {
            break;
        }
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            () = sleep_until(start + due) => {}
        }
        let (caller, ledger) = (caller.clone(), ledger.clone());
        let place = number as usize;
        ledger.records().push(None);
        under_way.spawn(async move {
            let record = caller.call(place).await;
            ledger.records()[place] = Some(Arc::new(record));
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
}
