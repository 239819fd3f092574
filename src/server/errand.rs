//! A request of the proxy's own that takes the way of a client's: how caches are warmed.
//!
//! It comes from loopback through a trusted hand, so that it may say by which scheme clients come.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use super::connection::{self, NewRequest};
use super::worker::Local;
use crate::clock;
use crate::exchange::ClientPeer;
use crate::exchange::Outgoing;
use crate::net::Timer;
use crate::upstream::detached::{DetachedClient, Receiver};
use crate::wire::head::Fields;
use crate::wire::{RequestHead, Version};

/// A request and who wants to know what came of it.
#[derive(Debug)]
pub struct Errand {
    /// The listener where it comes in.
    pub listener: u16,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// The host, with a port or without.
    pub host: Box<str>,
    /// Path and query.
    pub target: Box<str>,
    /// The sender of the answer.
    pub reply: oneshot::Sender<ErrandOutcome>,
}

/// The result of an errand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrandOutcome {
    /// The status; 0 when there was no response.
    pub status: u16,
    /// The value of `Cache-Status`.
    pub cache: Box<str>,
    /// The response came to its end.
    pub whole: bool,
}

impl Errand {
    /// Walks it. The listener may be gone by now, and then nobody answers.
    pub(super) async fn run_errand(self, local: Rc<Local>) {
        let Self { listener, scheme, host, target, reply } = self;
        let snapshot = local.current.get_snapshot();
        let Some(listener) = snapshot.listener(listener).cloned() else { return };
        drop(snapshot);
        let ip = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peer = ClientPeer {
            ip: Some(ip),
            text: ip.to_string().into(),
            trusted: true,
            listener: listener.id,
            tls: None,
            ends: None,
        };
        let mut head = RequestHead::default();
        head.set(b"GET", target.as_bytes(), Version::Http11);
        // What browsers accept, so that the variant that is stored is the one that they will ask
        // for.
        let codings: &[u8] =
            if scheme == "https" { b"gzip, deflate, br, zstd" } else { b"gzip, deflate" };
        for (name, value) in [
            (&b"host"[..], host.as_bytes()),
            (b"accept", b"*/*"),
            (b"accept-encoding", codings),
            (b"user-agent", b"tidegate-warm"),
            (b"x-forwarded-proto", scheme.as_bytes()),
        ] {
            head.fields.push(name, value);
        }
        let mut taster = Taster::default();
        let mut client = DetachedClient::new(&[], &mut taster);
        let mut timer = Timer::default();
        let (peer, listener, head) = (&peer, &*listener, &mut head);
        let request = NewRequest { peer, listener, head, started: clock::now() };
        connection::run_exchange(&local, request, &mut client, &mut timer).await;
        // Whoever asked may have left.
        let _left = reply.send(taster.0);
    }
}

/// Takes a response and keeps nothing but what is told of it.
#[derive(Debug, Default)]
struct Taster(ErrandOutcome);

impl Receiver for Taster {
    fn begin_response(&mut self, response: &Outgoing<'_>) {
        let mut fields = Fields::default();
        (response.fields)(&mut fields);
        let told = fields.named(b"cache-status").next().unwrap_or_default();
        self.0.status = response.status;
        self.0.cache = String::from_utf8_lossy(told).into();
    }

    fn poll_take(&mut self, _: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(data.len()))
    }

    fn flush_body(&mut self) {}

    fn finish_response(&mut self, _: Option<&Fields>) {
        self.0.whole = true;
    }

    fn cut_response(&mut self) {}

    fn poll_unwanted(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
