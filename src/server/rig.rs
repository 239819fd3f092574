//! What fuzz targets drive: a proxy on one thread whose connections are [`Memory`] and whose time
//! passes when nothing else happens. Compiled for fuzzing alone.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::Notify;

use super::handshake::Handshakes;
use super::status::Status;
use super::worker::Local;
use super::{collector, connection, proxied};
use crate::clock::Random;
use crate::config;
use crate::exchange::ClientPeer;
use crate::h1::client::Closing;
use crate::net::{Memory, Stream};
use crate::route::condition;
use crate::snapshot::{CurrentSnapshot, SnapshotStore, compile};
use crate::worker::Worker;

/// A proxy.
#[derive(Debug)]
pub struct Rig {
    store: SnapshotStore,
}

impl Rig {
    /// A proxy with this configuration, whose first listener is the one that is driven.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(text: &str) -> Result<Self, String> {
        let loaded = config::load_str("rig.toml", text).map_err(|report| format!("{report:?}"))?;
        let snapshot = compile::compile_config(&loaded.config, None, 1024);
        let snapshot = snapshot.map_err(|findings| format!("{findings:?}"))?;
        Ok(Self { store: Arc::new(ArcSwap::from_pointee(snapshot)) })
    }

    /// Serves one connection, as a worker of its own, while `client` is at its other end.
    ///
    /// # Errors
    /// The runtime cannot be made; or a request ended in a defect.
    pub fn serve<F: Future>(&self, client: impl FnOnce(Memory) -> F) -> Result<F::Output, String> {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true);
        let runtime = runtime.build_local(LocalOptions::default()).map_err(|e| e.to_string())?;
        let (here, there) = Memory::pair();
        let (output, panics) = runtime.block_on(async {
            let status = Status::new(
                self.store.clone(),
                collector::new_desk().0,
                1,
                crate::discovery::registry::Registry::default(),
            );
            let worker = Worker::new(0, Arc::new([Notify::new()]), Random::seeded(1));
            let local = Rc::new(Local {
                worker: Rc::new(worker),
                current: CurrentSnapshot::new(self.store.clone()),
                status: Arc::new(status),
                handshakes: Handshakes::default(),
            });
            let served = tokio::task::spawn_local(serve(local.clone(), there));
            let output = client(here).await;
            // Whoever has left is noticed, or waited for no longer than a time-out.
            let _ended = served.await;
            local.worker.close_idle();
            (output, local.status.panics.load(Relaxed))
        });
        if panics > 0 { Err("a request ended in a defect".into()) } else { Ok(output) }
    }
}

async fn serve(local: Rc<Local>, stream: Memory) {
    let snapshot = local.current.get_snapshot();
    let Some(listener) = snapshot.listeners.first().cloned() else { return };
    let waker = std::future::poll_fn(|cx| std::task::Poll::Ready(cx.waker().clone())).await;
    let seat = local.worker.seats.take_seat(waker, listener.id);
    let ip = std::net::IpAddr::from([192, 0, 2, 1]);
    let peer = ClientPeer {
        ip: Some(ip),
        text: ip.to_string().into(),
        trusted: listener.trusts(ip),
        listener: listener.id,
        tls: None,
        ends: None,
    };
    let closing = Rc::new(Closing::new(listener.counts.room.clone()));
    let way = connection::ConnectionEnd { seat: &seat, listener, closing, full: None };
    connection::serve_connection(&local, Stream::Memory(stream), peer, way).await;
}

/// The client and the server that a PROXY header names.
#[must_use]
pub fn proxy_header(header: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
    let told = proxied::parse_header(header).ok()??;
    Some((told.client, told.server))
}

/// The cookies of a field.
pub fn cookies(field: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    condition::cookies(field)
}
