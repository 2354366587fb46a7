//! The control interface of the simulator: the generation that each proxy has acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::extract::{Path, State};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The number of proxies that have acknowledged a generation, and the time of the last
/// acknowledgement in seconds since 1970.
type Acknowledged = BTreeMap<u64, (u32, f64)>;

/// Acknowledgements, by group.
#[derive(Debug)]
pub(crate) struct Acknowledgements(Vec<Mutex<Acknowledged>>);

impl Acknowledgements {
    pub(crate) fn new(groups: u32) -> Self {
        Self((0..groups).map(|_| Mutex::default()).collect())
    }

    pub(crate) fn add(&self, group: u32, generation: u64, at: SystemTime) {
        let at = at.duration_since(SystemTime::UNIX_EPOCH).expect("a clock after 1970");
        let mut of_group = self.0[group as usize].lock().expect("a lock");
        let (proxies, last) = of_group.entry(generation).or_default();
        *proxies += 1;
        *last = at.as_secs_f64();
    }

    /// The newest generation of a group.
    fn newest(&self, group: usize) -> Value {
        let of_group = self.0.get(group).map(|it| it.lock().expect("a lock"));
        let newest =
            of_group.and_then(|it| it.last_key_value().map(|(generation, it)| (*generation, *it)));
        match newest {
            Some((generation, (proxies, last))) => {
                json!({ "generation": generation, "proxies": proxies, "last": last })
            }
            None => json!({ "generation": 0, "proxies": 0, "last": 0.0 }),
        }
    }
}

pub(crate) async fn serve(address: SocketAddr, acknowledgements: Arc<Acknowledgements>) {
    async fn newest(State(all): State<Arc<Acknowledgements>>, Path(group): Path<usize>) -> String {
        all.newest(group).to_string()
    }
    let router = Router::new().route("/{group}", get(newest)).with_state(acknowledgements);
    let listener = TcpListener::bind(address).await.expect("a free address");
    axum::serve(listener, router).await.expect("the server does not end");
}
