//! A client's connection.

use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::drive::Socket;
use super::handle::SharedConnection;
use super::state::{Accept, Ended, H2Config, State};
use super::{H2Client, clock_seconds};
use crate::net::stalls::{Stall, StallMark, StallPeer};
use crate::net::{Stream, Timer};
use crate::wire::RequestHead;

/// A connection and its socket.
#[derive(Debug)]
pub struct Connection {
    shared: SharedConnection,
    socket: Socket,
    /// The number of times that a look made what was encrypted move on.
    flushed: u64,
}

/// A connection, for whoever takes its streams.
#[derive(Debug, Clone)]
pub struct Streams {
    shared: SharedConnection,
    /// The addresses of both ends of the connection.
    ends: Option<Rc<(SocketAddr, SocketAddr)>>,
}

impl Streams {
    /// The stream in this slot, on which `head` was read; there is none where it had a fault.
    #[must_use]
    pub fn client_stream(&self, slot: u32, head: Option<&RequestHead>) -> H2Client {
        H2Client::new(self.shared.clone(), slot, head).between(self.ends.clone())
    }
}

impl Connection {
    /// Starts to speak HTTP/2 on a connection of which `read` has been read already.
    #[must_use]
    pub fn new(stream: Stream, read: &[u8], terms: H2Config) -> Self {
        stream.send_at_once();
        let shared = SharedConnection::new(State::server(terms, clock_seconds).into());
        Self { shared, socket: Socket::new(stream, read), flushed: 0 }
    }

    /// For whoever takes its streams.
    #[must_use]
    pub fn shared_streams(&self) -> Streams {
        Streams { shared: self.shared.clone(), ends: self.socket.both_ends().map(Rc::new) }
    }

    /// Reads and writes. Ready when it is over and everything that can be said has been.
    pub fn poll(&mut self, cx: &mut Context<'_>, accept: &mut dyn Accept) -> Poll<()> {
        self.socket.poll(cx, &self.shared, accept)
    }

    /// Returns whether streams are under way.
    #[must_use]
    pub fn has_streams(&self) -> bool {
        self.shared.borrow().streams() > 0
    }

    /// Ready when the client has taken nothing for a while of what its streams have left to be
    /// sent, and others need that memory: the connection is broken off then. For connections
    /// without streams; those make room by themselves.
    pub fn poll_give_way(&mut self, cx: &Context<'_>, stall: &mut Stall) -> Poll<()> {
        if self.shared.borrow().unsent().is_empty() && !self.socket.is_flushing() {
            stall.end_wait();
            return Poll::Pending;
        }
        stall.poll_cut(cx, self, 0).map(|()| {
            self.shared.borrow_mut().lose();
            self.socket.reset_on_close();
        })
    }

    /// Tells the client that it is going to end.
    pub fn announce_end(&self) {
        self.shared.borrow_mut().announce_end();
    }

    /// Takes no more streams.
    pub fn stop_accepting(&self) {
        self.shared.borrow_mut().end_with_last();
    }

    /// Tells why it is over, if it is for another reason than that it was to end.
    #[must_use]
    pub fn end_cause(&self) -> Option<Ended> {
        self.shared.borrow().ended()
    }

    /// Closes it. Streams that are still under way end.
    pub async fn close_connection(self, timer: &mut Timer) {
        let ended = self.end_cause();
        self.shared.borrow_mut().lose();
        self.socket.close_socket(ended, timer).await;
    }
}

/// What its streams have left to be sent when they are gone.
impl StallPeer for Connection {
    fn stall_mark(&self) -> Option<StallMark> {
        let own = self.shared.borrow().bytes_left().wrapping_add(self.flushed);
        Some(StallMark { own, ..StallMark::default() })
    }

    fn count_untaken(&self) -> Option<u32> {
        self.socket.count_untaken()
    }

    fn insist_on_write(&mut self) {
        // It is tried at the next turn; what was encrypted, at once.
        self.shared.borrow_mut().insist_on_write();
        self.flushed += u64::from(self.socket.flush_again());
    }

    fn is_insisting(&self) -> bool {
        self.shared.borrow().is_insisting()
    }
}
