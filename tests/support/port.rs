//! Ports for programs that cannot choose one themselves.

use std::{
    fs,
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

/// Returns a free port below the range that the kernel uses for port 0 and for outgoing
/// connections. So no other program takes it before the caller does, or while a server restarts.
pub(crate) fn reserved_port() -> u16 {
    const LOWEST: u32 = 10_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let chosen_from = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    let chosen_from = chosen_from.and_then(|range| range.split_whitespace().next()?.parse().ok());
    let ports = chosen_from.unwrap_or(32_768_u32).max(20_000) - LOWEST;
    for _ in 0..ports {
        // Test processes that run at the same time start at different ports.
        let nth = process::id() * 101 + TAKEN.fetch_add(1, Relaxed);
        let port = u16::try_from(LOWEST + nth % ports).unwrap();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}
