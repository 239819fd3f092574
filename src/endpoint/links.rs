//! HTTP/2 connections to servers, per worker: requests share them, and whoever needs a new one
//! while somebody else is connecting waits for that one.

use std::cell::RefCell;
use std::rc::Rc;

use super::Endpoint;
use super::connections::IdleConnections;
use super::origin::Origin;
use crate::clock::Instant;
pub use crate::h2::Waiters;
use crate::h2::{Link, link::STREAMS};
use crate::net::MadeWith;
use crate::tls::client::AlpnOffer;

/// Connections to a server that may be stalled before no more are made.
const MOST_STALLED: usize = 2;

/// The most requests that so many connections to a server carry at once: with HTTP/1 each takes one
/// of its own.
#[must_use]
pub fn requests_at_once(offer: AlpnOffer, connections: u32) -> u32 {
    match offer {
        AlpnOffer::Http1 | AlpnOffer::Nothing => connections,
        AlpnOffer::Http2 | AlpnOffer::Either => connections.saturating_mul(STREAMS),
    }
}

/// The connections to all servers.
#[derive(Debug, Default)]
pub struct Links {
    servers: Vec<ServerLinks>,
}

/// The shared connections to one server.
#[derive(Debug, Default)]
struct ServerLinks {
    /// The server's id: another one may have had its slot before.
    owner: u32,
    links: Vec<Rc<Link>>,
    dialing: bool,
    /// The requests that wait for a stream, by what its connection has to be made with.
    waiting: Vec<(MadeWith, Rc<Waiters>)>,
    /// True if it was offered HTTP/2 and chose HTTP/1: there is nothing to wait for.
    declined: bool,
    /// The streams that it allowed on an earlier connection.
    allowed: Option<usize>,
}

impl ServerLinks {
    /// Forgets those that take no more requests, but not what they said.
    fn forget_retired(&mut self) {
        let Self { links, allowed, .. } = self;
        links.retain(|link| {
            if link.is_retired() && link.has_settled() {
                *allowed = Some(link.allowed_streams());
            }
            !link.is_retired()
        });
    }

    /// Lets the first of each queue look again, and forgets queues that nobody uses.
    fn wake_waiters(&mut self) {
        self.waiting.retain(|(_, waiters)| Rc::strong_count(waiters) > 1);
        self.waiting.iter().for_each(|(_, waiters)| waiters.wake_one());
    }

    fn waiters_for(&mut self, made_with: MadeWith) -> Rc<Waiters> {
        if let Some((_, waiters)) = self.waiting.iter().find(|(with, _)| *with == made_with) {
            return waiters.clone();
        }
        self.waiting.retain(|(_, waiters)| Rc::strong_count(waiters) > 1);
        let waiters = Rc::<Waiters>::default();
        self.waiting.push((made_with, waiters.clone()));
        waiters
    }

    /// A place on the first connection that has one: what goes out together is written together.
    /// Whoever takes it lets the next one look whether there are more.
    fn take_stream(&mut self, made_with: MadeWith, most: u32) -> Option<Origin> {
        self.forget_retired();
        // Those that were made with something else age out.
        let mut usable = self.links.iter().filter(|link| link.made_with() == made_with);
        let Some(link) = usable.find(|link| link.has_room(most)) else {
            // What is idle is of no use here.
            self.links.retain(|link| !link.is_in_the_way());
            return None;
        };
        let stream = link.take_place();
        // If there are no more, the next one connects unless somebody does.
        link.wake_next(!self.dialing);
        Some(Origin::H2(stream))
    }
}

/// The turn of a request.
#[derive(Debug)]
pub enum DialTurn {
    /// A stream.
    Stream(Origin),
    /// The right to connect: nobody else does. So many streams are what the server is known to
    /// allow.
    Dial(usize),
}

impl Links {
    /// The queue for streams to a server, on connections that are made with these settings.
    pub fn waiters_for(&mut self, endpoint: &Endpoint, made_with: MadeWith) -> Rc<Waiters> {
        self.server_links(endpoint).map_or_else(Rc::default, |server| server.waiters_for(made_with))
    }

    /// A stream on a connection that has carried fewer than `most` requests.
    pub fn take_stream(
        &mut self,
        endpoint: &Endpoint,
        made_with: MadeWith,
        most: u32,
    ) -> Option<Origin> {
        self.server_links(endpoint)?.take_stream(made_with, most)
    }

    /// Such a stream, or the right to connect; `None` if one has to wait for either.
    pub fn take_turn(
        &mut self,
        endpoint: &Endpoint,
        made_with: MadeWith,
        most: u32,
    ) -> Option<DialTurn> {
        let most_streams = STREAMS as usize;
        let Some(server) = self.server_links(endpoint) else {
            return Some(DialTurn::Dial(most_streams));
        };
        if let Some(stream) = server.take_stream(made_with, most) {
            return Some(DialTurn::Stream(stream));
        }
        // A server that does not read is not given another connection to leave unread.
        let stalled = server.links.iter().filter(|link| link.is_stalled()).count();
        if (server.dialing || stalled >= MOST_STALLED) && !server.declined {
            return None;
        }
        server.dialing = true;
        if let Some(settled) = server.links.iter().find(|link| link.has_settled()) {
            server.allowed = Some(settled.allowed_streams());
        }
        if server.declined {
            server.wake_waiters();
        }
        Some(DialTurn::Dial(server.allowed.unwrap_or(most_streams)))
    }

    fn server_links(&mut self, endpoint: &Endpoint) -> Option<&mut ServerLinks> {
        let slot = endpoint.slot.index()?;
        if self.servers.len() <= slot {
            self.servers.resize_with(slot + 1, ServerLinks::default);
        }
        let server = self.servers.get_mut(slot)?;
        if server.owner != endpoint.id {
            // Whoever had the slot before is gone, and with it all that waited for it.
            *server = ServerLinks { owner: endpoint.id, ..ServerLinks::default() };
        }
        Some(server)
    }

    /// Closes those that have been idle for long, and forgets those that take no more requests.
    pub fn sweep_stale(&mut self, now: Instant) {
        for server in &mut self.servers {
            server.forget_retired();
            let over = |link: &Link| link.is_stale(now) || link.is_idle() && link.has_left();
            server.links.retain(|link| !over(link));
            // Nobody else tells those who wait that a server has begun to read again.
            if !server.dialing {
                server.wake_waiters();
            }
        }
    }

    /// Closes so many connections without streams.
    pub fn let_go_of(&mut self, count: usize) {
        let mut left = count;
        for server in &mut self.servers {
            server.links.retain(|link| {
                let goes = left > 0 && link.is_idle();
                left -= usize::from(goes);
                !goes
            });
        }
    }

    /// Closes each one as soon as its streams have ended.
    pub fn close_all(&mut self) {
        self.servers.iter_mut().for_each(|server| server.links.clear());
    }
}

/// Somebody connects, until this is dropped.
#[derive(Debug)]
pub struct Dialing<'a> {
    connections: &'a RefCell<IdleConnections>,
    /// The slot and the id of the server.
    server: (Option<usize>, u32),
}

impl<'a> Dialing<'a> {
    /// After [`DialTurn::Dial`].
    #[must_use]
    pub fn new(connections: &'a RefCell<IdleConnections>, endpoint: &Endpoint) -> Self {
        Self { connections, server: (endpoint.slot.index(), endpoint.id) }
    }

    /// The connection, for all who wait.
    pub fn offer_link(&self, link: &Rc<Link>) {
        self.change_links(|server| {
            server.declined = false;
            server.links.push(link.clone());
        });
    }

    /// The server speaks HTTP/1.
    pub fn note_http1(&self) {
        self.change_links(|server| server.declined = true);
    }

    fn change_links(&self, change: impl FnOnce(&mut ServerLinks)) {
        let (Some(slot), id) = self.server else { return };
        let servers = &mut self.connections.borrow_mut().links.servers;
        if let Some(server) = servers.get_mut(slot).filter(|server| server.owner == id) {
            change(server);
        }
    }
}

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        self.change_links(|server| {
            server.dialing = false;
            server.wake_waiters();
        });
    }
}
