//! Ports for the servers of a test, outside the kernel's range for outgoing connections.
//!
//! Tests stop servers and restart them on the same port while clients retry. Inside the kernel's
//! range, an outgoing connection may take the port in between, or even get the port that it
//! connects to and connect to itself.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below Linux's default `ip_local_port_range` (32768 to 60999) and above the usual services.
const FIRST: u16 = 16_000;
const COUNT: u16 = 16_000;

/// Each process starts at another port and wraps around, so that parallel suites rarely collide.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(..COUNT)));

/// A free port of 127.0.0.1. The port is not reserved: bind it soon.
///
/// # Panics
/// No port is free.
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
