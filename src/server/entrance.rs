//! Where connections come in: accepted, given a place or told that there is none, made secure, and
//! served.
//!
//! When all places are taken, idle connections make room: those of this worker first, then those of
//! others. Only when none is idle does the one that came in hear 503, and those beyond the few that
//! may wait for that stay in the listening socket's queue.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::listener::Acceptor;
use super::proxied::{self, ToldByProxy};
use super::worker::Local;
use super::{connection, streams};
use crate::clock;
use crate::exchange::ClientPeer;
use crate::exchange::{Refusal, identity};
use crate::h1::client::Closing;
use crate::net::room::{self, RoomFull, RoomPlace};
use crate::net::seats::Seat;
use crate::net::{Ends, Stream};
use crate::snapshot::Listener;

/// The pause in accepting when the system has no descriptors or memory left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Idle connections of each kind that are closed then.
const AT_ONCE: usize = 8;
/// The longest wait for a place.
const PATIENCE: Duration = Duration::from_millis(500);
/// The pause after which somebody else is asked again to make room.
const ASK_AGAIN: Duration = Duration::from_millis(10);
/// The longest time for somebody for whom there is no place to hear it, handshake included.
const GOODBYE: Duration = Duration::from_secs(2);

/// The context in which connections are accepted.
pub(super) struct AcceptContext {
    pub listener: Arc<Listener>,
    pub closing: Rc<Closing>,
}

/// A connection that came in.
struct ArrivedClient {
    local: Rc<Local>,
    settings: Arc<Listener>,
    closing: Rc<Closing>,
    stream: Stream,
    from: Option<SocketAddr>,
}

/// Accepts until told to stop, then once more until nobody waits: a listening socket that is closed
/// resets the connections still in its queue.
pub(super) async fn accept_connections(
    local: Rc<Local>,
    acceptor: Acceptor,
    door: AcceptContext,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            biased;
            accepted = acceptor.accept_connection() => match accepted {
                Ok((stream, from)) => admit_connection(&local, &door, stream, from).await,
                Err(error) if is_connection_error(&error) => {}
                Err(error) => note_exhausted(&local, &door, &error).await,
            },
            _ = stopped.wait_for(|stop| *stop) => return,
        }
    }
}

/// Errors of one connection, not of the listener.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// The system has no descriptors, or no memory for another connection.
async fn note_exhausted(local: &Local, door: &AcceptContext, error: &io::Error) {
    door.listener.counts.starved.fetch_add(1, Relaxed);
    for _ in 0..AT_ONCE {
        local.make_room(None);
    }
    local.worker.connections.borrow_mut().let_go_of(AT_ONCE);
    if let Some(left_out) = local.worker.quotas.take_line("descriptors", clock::now()) {
        let listen = &door.listener.name;
        tracing::warn!(%listen, %error, left_out, key = "listen.limits.connections", raise = "ulimit -n", "accepting connections is paused");
    }
    sleep(ACCEPT_PAUSE).await;
}

async fn admit_connection(
    local: &Rc<Local>,
    door: &AcceptContext,
    stream: Stream,
    from: Option<SocketAddr>,
) {
    let snapshot = local.current.get_snapshot();
    // A listener that has just gone serves those who came before it with what it had.
    let settings = snapshot.listener(door.listener.id).unwrap_or(&door.listener).clone();
    let counts = settings.counts.clone();
    counts.accepted.fetch_add(1, Relaxed);
    counts.room.set_limit(settings.connections);
    let closing = door.closing.clone();
    let arrived = ArrivedClient { local: local.clone(), settings, closing, stream, from };
    // Nobody else is accepted until this one has a place, or one among the few that wait for a
    // place.
    let (full, waiting) = loop {
        let full = match counts.room.take_place() {
            Ok(inside) => {
                spawn_local(arrived.identify_and_serve(None, Some(inside)));
                return;
            }
            Err(full) => full,
        };
        match counts.room.wait_for_place() {
            Some(waiting) => break (full, waiting),
            None => sleep(ASK_AGAIN).await,
        }
    };
    spawn_local(async move {
        match arrived.find_place(full).await {
            Ok(inside) => {
                // It has a place of its own now: whoever is served does not wait.
                drop(waiting);
                arrived.identify_and_serve(None, Some(inside)).await;
            }
            Err(full) => {
                arrived.turn_away(full).await;
                drop(waiting);
            }
        }
    });
}

impl Local {
    /// Asks an idle client connection to go, of one listener or of all: one of this worker's own if
    /// there is any. Others see to it otherwise.
    fn make_room(&self, listener: Option<&Listener>) {
        if self.worker.seats.make_room(listener.map(|listener| listener.id)) {
            return;
        }
        // As many as there are workers at most: what nobody can fulfil must not pile up.
        let most = u32::try_from(self.worker.workers).unwrap_or(u32::MAX);
        match listener {
            Some(listener) => listener.counts.room.want_place(most),
            None => room::want_any(most),
        }
        self.worker.call_others();
    }

    /// Counts a client that has too many connections, and says so in the log.
    #[cold]
    fn tell_crowded(&self, settings: &Listener, client: IpAddr) {
        settings.counts.refused_per_client.fetch_add(1, Relaxed);
        if let Some(left_out) = self.worker.quotas.take_line("connections_per_client", clock::now())
        {
            let (listen, key) = (&settings.name, "listen.limits.connections_per_client");
            let limit = settings.per_client.as_ref().map_or(0, |per_client| per_client.most);
            tracing::warn!(%listen, %client, limit, key, left_out, "connection refused: its client has too many");
        }
    }

    /// Makes the room that other workers have asked for, as far as there is something idle here.
    pub(super) fn make_wanted_room(&self) {
        let seats = &self.worker.seats;
        room::heed_any(|| seats.make_room(None));
        for listener in &self.current.get_snapshot().listeners {
            listener.counts.room.make_wanted_room(|| seats.make_room(Some(listener.id)));
        }
    }
}

impl ArrivedClient {
    /// Waits until somebody has made room.
    async fn find_place(&self, mut full: RoomFull) -> Result<RoomPlace, RoomFull> {
        let until = clock::now() + PATIENCE;
        loop {
            self.local.make_room((full == RoomFull::Listener).then_some(&*self.settings));
            let again = clock::now() + ASK_AGAIN;
            while clock::now() < again {
                // It may have been freed already, and then nobody says so.
                let _woken = timeout(again - clock::now(), room::wait_for_freed()).await;
                match self.settings.counts.room.take_place() {
                    Ok(inside) => return Ok(inside),
                    Err(still) => full = still,
                }
            }
            if clock::now() >= until {
                return Err(full);
            }
        }
    }

    /// Tells a client that there is no place, and says so in the log.
    async fn turn_away(self, full: RoomFull) {
        let counts = self.settings.counts.clone();
        counts.refused.fetch_add(1, Relaxed);
        if let Some(left_out) = self.local.worker.quotas.take_line("connections", clock::now()) {
            let listen = &self.settings.name;
            let client = self.from.map_or_else(|| "unix".to_owned(), |from| from.ip().to_string());
            let ((all, most), open) = (room::open_and_allowed(), counts.room.open_count());
            let (limit, key) = match full {
                RoomFull::Listener => (self.settings.connections, "listen.limits.connections"),
                RoomFull::Process => (most, "ulimit -n"),
            };
            tracing::warn!(%listen, client, open, all, limit, key, left_out, "connection refused: none is idle");
        }
        let _told = timeout(GOODBYE, self.identify_and_serve(Some(Refusal::Crowded), None)).await;
    }

    /// Learns who this is, shakes hands, and serves. With `full`, each request is told that there
    /// is no room.
    async fn identify_and_serve(self, mut full: Option<Refusal>, _inside: Option<RoomPlace>) {
        let Self { local, settings, closing, mut stream, from } = self;
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let seats = &local.worker.seats;
        let seat = if full.is_some() {
            seats.take_aside(waker, settings.id)
        } else {
            seats.take_seat(waker, settings.id)
        };
        let tells = local.current.get_snapshot().announces;
        let mut ip = from.map(|from| from.ip().to_canonical());
        let mut told = None;
        if let Some(from) = ip.filter(|_| settings.proxy_protocol) {
            // Boxed, so that a connection does not hold the memory of its header for good.
            let header = Box::pin(proxied::read_client(&mut stream, from, &settings));
            let Some(Ok(said)) = seat.unless_asked(header).await else {
                return note_reclaimed(&seat, &settings);
            };
            ip = said.as_ref().map_or(ip, |told| Some(told.client.ip().to_canonical()));
            told = said;
        }
        let crowds = |ip: &IpAddr| told.is_some() || !settings.trusts(*ip);
        let counted = settings.per_client.as_ref().zip(ip.filter(crowds));
        let place = counted.map(|(per_client, ip)| {
            let state = &per_client.state;
            let network = identity::client_network(ip);
            state.admit_key(state.hash(std::iter::once(&network[..])), per_client.most).ok_or(ip)
        });
        let mut crowded = false;
        if let Some(Err(ip)) = place {
            local.tell_crowded(&settings, ip);
            (full, crowded) = (full.or(Some(Refusal::ClientConnections)), true);
        }
        // Nobody is told by what is not asked for.
        let ends = if tells { connection_ends(told, from, &stream) } else { None };
        let (stream, tls) = match &settings.tls {
            None => (stream, None),
            Some(server) => {
                // Boxed, so that a connection does not hold the memory of its handshake for good.
                let (of, quotas) = ((&*settings, ip), &local.worker.quotas);
                let secure =
                    Box::pin(local.handshakes.secure_connection(stream, of, server, quotas));
                let Some(secure) = seat.unless_asked(secure).await else {
                    return note_reclaimed(&seat, &settings);
                };
                let Some((stream, facts)) = secure else { return };
                (stream, Some(Box::new(facts)))
            }
        };
        seat.begin_serving();
        let peer = ClientPeer {
            ip,
            text: ip.map_or_else(|| "unix".into(), |ip| ip.to_string().into()),
            trusted: ip.map_or(settings.trusts_unix, |ip| settings.trusts(ip)),
            listener: settings.id,
            tls,
            ends,
        };
        let way =
            connection::ConnectionEnd { seat: &seat, listener: settings.clone(), closing, full };
        // Awaited here and not in a function that chooses: each wake-up would go through that too.
        if crowded {
            let _told =
                timeout(GOODBYE, Box::pin(serve_either_protocol(&local, stream, peer, way))).await;
        } else if peer.tls.as_ref().is_some_and(|tls| tls.http2) {
            // Boxed, so that other connections do not hold the memory of these.
            Box::pin(streams::serve_streams(&local, (Vec::new(), stream), peer, way)).await;
        } else {
            connection::serve_connection(&local, stream, peer, way).await;
        }
        drop(place);
        note_reclaimed(&seat, &settings);
    }
}

/// Serves whatever the client speaks.
async fn serve_either_protocol(
    local: &Rc<Local>,
    stream: Stream,
    peer: ClientPeer,
    way: connection::ConnectionEnd<'_>,
) {
    if peer.tls.as_ref().is_some_and(|tls| tls.http2) {
        streams::serve_streams(local, (Vec::new(), stream), peer, way).await;
    } else {
        connection::serve_connection(local, stream, peer, way).await;
    }
}

/// Counts a connection that has made room for another.
fn note_reclaimed(seat: &Seat<'_>, settings: &Listener) {
    if seat.is_asked() {
        settings.counts.room.reclaimed.fetch_add(1, Relaxed);
    }
}

/// Returns whose a connection is.
fn connection_ends(
    told: Option<ToldByProxy>,
    from: Option<SocketAddr>,
    stream: &Stream,
) -> Option<Box<Ends>> {
    let ends = match told {
        Some(ToldByProxy { client, server, tlvs }) => Ends::new(client, server, tlvs.into_iter()),
        None => Ends::new(from?, stream.local_address()?, std::iter::empty()),
    };
    Some(Box::new(ends))
}
