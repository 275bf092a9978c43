//! Free ports on loopback.

use std::{
    collections::BTreeSet,
    io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// One port for each thing that listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api_server: u16,
    pub(super) controller_manager: u16,
}

impl Ports {
    /// Chooses ports that are free now. All are held until the last is found, so that they differ.
    pub(super) fn choose() -> io::Result<Self> {
        let held = [bind()?, bind()?, bind()?, bind()?];
        let [etcd, etcd_peer, api_server, controller_manager] = held.each_ref().map(port);
        Ok(Self {
            etcd: etcd?,
            etcd_peer: etcd_peer?,
            api_server: api_server?,
            controller_manager: controller_manager?,
        })
    }
}

/// A port for a program that a test starts: free now, and given once in this process.
///
/// # Errors
/// Nearly all ports are taken.
pub fn free_port() -> io::Result<u16> {
    port(&bind()?)
}

fn bind() -> io::Result<TcpListener> {
    let mut outcome = Err(io::ErrorKind::AddrInUse.into());
    for _ in 0..ATTEMPTS {
        let port = rand::random_range(PORTS);
        if !GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            continue;
        }
        outcome = TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// Programs that are about to start do not listen yet.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

fn port(listener: &TcpListener) -> io::Result<u16> {
    Ok(listener.local_addr()?.port())
}

/// Below what systems hand out to outgoing connections (32768 and up on Linux). A port of that range can be gone
/// when a killed program wants it back: any connection may have got it, even one that tries to reach the program
/// and, by getting its port, reaches itself.
const PORTS: Range<u16> = 20_000..30_000;
/// Enough unless nearly all are taken.
const ATTEMPTS: u32 = 100;
