//! Ports for the servers of a test, outside the range from which the kernel takes the ports of outgoing connections.
//!
//! Servers here are stopped and come back on the same port while clients keep trying it. Inside the kernel's range an outgoing
//! connection may take the port in between, or, worse, be given the very port it connects to and be connected to itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux' default `ip_local_port_range` (32768 to 60999) and above the usual services.
const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;

/// Each process starts somewhere else and goes round, so that suites in parallel rarely ask for the same port.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..COUNT)));

/// A free port of 127.0.0.1. Nothing reserves it: bind it soon.
///
/// # Panics
/// When none of the ports is free.
pub fn free() -> u16 {
    listen().local_addr().expect("a bound socket has an address").port()
}

/// A socket that listens on a free port of 127.0.0.1.
pub(crate) fn listen() -> TcpListener {
    (0..COUNT)
        .map(|_| FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT)
        .find_map(|port| TcpListener::bind(local(port)).ok())
        .expect("a free port between 16000 and 31999")
}

/// 127.0.0.1 at this port.
pub(crate) fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
