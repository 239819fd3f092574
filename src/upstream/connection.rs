//! A connection for an attempt: one at rest, a stream of a shared one, or a fresh one. The requests
//! that wait for streams are in the queues of [`crate::endpoint::links`]; how a connection is made
//! is [`crate::endpoint::connect`]'s.

mod lack;
mod way;

use std::cell::RefCell;
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use self::lack::ConnectionLack;
use self::way::{alpn_offer, connect_way, made_with};
use crate::clock::{self, Instant};
use crate::endpoint::Endpoint;
use crate::endpoint::connect::{self, ConnectError, ConnectWay, Connected};
use crate::endpoint::connections::{Demand, IdleConnections};
use crate::endpoint::links::{DialTurn, Dialing, Waiters};
use crate::exchange::Deadline;
use crate::net::timer::earlier_of;
use crate::net::{MadeWith, Opened, Timer};
use crate::tls::client::AlpnOffer;
use crate::upstream::choose::Chosen;
use crate::upstream::exchange_io::AttemptError;
use crate::upstream::request::ForwardRequest;
use crate::upstream::retry::Failure;
use crate::upstream::{Origin, TargetMembers};

/// What one attempt needs of a connection.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionNeeds {
    /// The beginning of the attempt.
    pub now: Instant,
    /// The exchange was repaired: a connection that was at rest has failed it already.
    pub repaired: bool,
    /// The request has a body.
    pub body: bool,
}

/// A connection for an attempt, and whether it is on probation: the server has to ask for the body
/// first. An exchange that was repaired gets none that was at rest.
///
/// # Errors
/// [`AttemptError`].
pub async fn connect_server(
    job: &ForwardRequest<'_>,
    target: TargetMembers<'_>,
    chosen: &Chosen<'_>,
    needs: ConnectionNeeds,
    timer: &mut Timer,
) -> Result<(Origin, bool), AttemptError> {
    let ConnectionNeeds { now, repaired, body } = needs;
    if alpn_offer(job, target) != AlpnOffer::Http2 && !repaired {
        // A server that is to switch protocols need not ask for the body first.
        let body = body && job.request.upgrade.is_none();
        let demand = if job.request.repeatable { Demand::Any } else { Demand::Proven { body } };
        let (endpoint, made_with) = (&chosen.member.endpoint, made_with(job, target, chosen));
        let taken = poll_fn(|cx| {
            let mut connections = job.worker.connections.borrow_mut();
            Poll::Ready(connections.take_idle(cx, endpoint, demand, made_with, now))
        });
        if let Some(taken) = taken.await {
            return Ok((Origin::H1(taken.origin), taken.probation));
        }
    }
    // Pinned where it stays: awaiting it by value copies it.
    pin!(Connector::new(job, target, chosen, now).open_fresh(timer)).await
}

/// The means by which one attempt gets a connection that is not at rest.
struct Connector<'a, 'j> {
    job: &'a ForwardRequest<'j>,
    endpoint: &'a Endpoint,
    connections: &'a RefCell<IdleConnections>,
    way: ConnectWay<'a>,
    made_with: MadeWith,
    /// Requests that one connection carries at most.
    most: u32,
    /// Connections that the server gets at most; 0 for no limit.
    limit: u32,
    /// The end of the exchange, and the deadline that sets it.
    end: (Option<Instant>, Deadline),
    deadline: Option<Instant>,
}

/// The thing that is free first for a request that holds the right to connect, at the limit of
/// connections.
enum StreamFreed {
    Stream(Origin),
    Connection(Opened),
}

impl<'a, 'j> Connector<'a, 'j> {
    /// That of an attempt that begins at `now`.
    fn new(
        job: &'a ForwardRequest<'j>,
        target: TargetMembers<'a>,
        chosen: &'a Chosen<'_>,
        now: Instant,
    ) -> Self {
        let (upstream, endpoint) = (&target.target.upstream, &*chosen.member.endpoint);
        let way = connect_way(job, target, chosen.member);
        let end = job.request.end(target.timeouts.total);
        Self {
            job,
            endpoint,
            connections: &job.worker.connections,
            way,
            made_with: way.made_with(),
            most: upstream.limits.requests_per_connection,
            limit: upstream.limits.connections,
            end,
            deadline: earlier_of(clock::deadline(now, target.timeouts.connect), end.0),
        }
    }

    /// A fresh connection, or a stream of a shared one; neither is ever on probation.
    async fn open_fresh(mut self, timer: &mut Timer) -> Result<(Origin, bool), AttemptError> {
        let (mut dialing, mut waiters) = (None, Rc::default());
        if self.way.offer != AlpnOffer::Http1 {
            waiters =
                self.connections.borrow_mut().links.waiters_for(self.endpoint, self.made_with);
            match self.await_turn(&waiters, timer).await {
                Some(DialTurn::Stream(stream)) => return self.begin_stream(stream, timer).await,
                Some(DialTurn::Dial(streams)) => {
                    self.way.streams = streams;
                    dialing = Some(Dialing::new(self.connections, self.endpoint));
                }
                None => return Err(self.late_error()),
            }
        }
        let opened = match Opened::new(&self.endpoint.open, self.limit) {
            Some(opened) => opened,
            // Boxed, so that requests that find a place do not hold the memory of those that wait
            // for one.
            None => match Box::pin(self.await_freed(dialing.is_some(), &waiters, timer)).await {
                Some(StreamFreed::Connection(opened)) => opened,
                Some(StreamFreed::Stream(stream)) => {
                    drop(dialing);
                    return self.begin_stream(stream, timer).await;
                }
                None => {
                    let of_server = self.endpoint.open.open_count() >= self.limit;
                    return Err(self.classify_error(&ConnectError::NoPlace { of_server }));
                }
            },
        };
        // Boxed, so that requests which find a connection do not hold the memory of those that make
        // one.
        let connected = Box::pin(connect::connect_endpoint(
            self.endpoint,
            self.way,
            (opened, waiters),
            timer,
            self.deadline,
        ))
        .await;
        match connected.map_err(|error| self.classify_error(&error))? {
            Connected::Own(origin) => {
                dialing.iter().for_each(Dialing::note_http1);
                Ok((Origin::H1(origin), false))
            }
            Connected::Shared(link) => {
                let stream = Origin::H2(link.take_place());
                dialing.iter().for_each(|dialing| dialing.offer_link(&link));
                drop(dialing);
                self.begin_stream(stream, timer).await
            }
        }
    }

    /// A stream or the right to connect, in the order of arrival; `None` if the deadline passes
    /// first.
    async fn await_turn(&self, waiters: &Rc<Waiters>, timer: &mut Timer) -> Option<DialTurn> {
        let Self { connections, endpoint, made_with, most, .. } = *self;
        let look = || connections.borrow_mut().links.take_turn(endpoint, made_with, most);
        // Whoever waits already comes first.
        let turn = if waiters.is_empty() { look() } else { None };
        waiters.wake_one();
        match turn {
            Some(turn) => Some(turn),
            None => await_within(waiters.clone().wait_for(look), timer, self.deadline).await,
        }
    }

    /// Leave to open a connection, once another one is closed. Until then a stream of one may end,
    /// which `dialing` requests can take as well. `None` if the deadline passes first.
    async fn await_freed(
        &self,
        dialing: bool,
        waiters: &Rc<Waiters>,
        timer: &mut Timer,
    ) -> Option<StreamFreed> {
        let Self { connections, endpoint, made_with, most, .. } = *self;
        let look = || connections.borrow_mut().links.take_stream(endpoint, made_with, most);
        let stream =
            async { if dialing { waiters.clone().wait_for(look).await } else { pending().await } };
        let permit =
            Opened::wait_for_place(&endpoint.open, self.limit, || self.job.worker.reclaim_idle());
        let first = async {
            tokio::select! {
                biased;
                stream = stream => StreamFreed::Stream(stream),
                opened = permit => StreamFreed::Connection(opened),
            }
        };
        await_within(first, timer, self.deadline).await
    }

    /// A stream that a request can begin on.
    async fn begin_stream(
        &self,
        stream: Origin,
        timer: &mut Timer,
    ) -> Result<(Origin, bool), AttemptError> {
        if self.job.request.upgrade.is_some() {
            // Whether the server takes such requests is known once it has said what it can do.
            let settled = poll_fn(|cx| stream.poll_settled(cx));
            await_within(settled, timer, self.deadline).await.ok_or_else(|| self.late_error())?;
        }
        Ok((stream, false))
    }

    /// The deadline passed: the exchange's own, or that of connecting.
    fn late_error(&self) -> AttemptError {
        match self.end {
            (Some(end), deadline) if clock::now() >= end => {
                AttemptError::Failed(Failure::Timeout(deadline))
            }
            _ => AttemptError::Failed(Failure::ConnectTimeout),
        }
    }

    /// Reads a connection that did not come about. A server that is down, and a proxy that has run
    /// out of something, look alike to clients: the log tells them apart.
    #[cold]
    fn classify_error(&self, error: &ConnectError) -> AttemptError {
        let Self { job, endpoint, .. } = *self;
        let (ended, key) = match error {
            ConnectError::Refused(error) => (
                AttemptError::Failed(Failure::Connect),
                ConnectionLack::from_io(error).config_key(),
            ),
            ConnectError::NoSocket(error) => (
                AttemptError::Failed(Failure::NoSocket),
                ConnectionLack::from_io(error).config_key(),
            ),
            ConnectError::NoPlace { of_server } => {
                let late = self.late_error();
                if !matches!(late, AttemptError::Failed(Failure::ConnectTimeout)) {
                    return late;
                }
                // A limit of the proxy says nothing about the server.
                let lack = ConnectionLack::Descriptors.config_key();
                let key = if *of_server { "upstream.limits.connections" } else { lack };
                (AttemptError::Failed(Failure::NoSocket), key)
            }
            ConnectError::Timeout { taken } => {
                let late = self.late_error();
                // A client in a hurry says nothing about the server.
                if !matches!(late, AttemptError::Failed(Failure::ConnectTimeout)) {
                    return late;
                }
                if !taken {
                    endpoint.standing.mark_unreachable(clock::now());
                }
                (late, "upstream.timeout.connect")
            }
        };
        let cause = match error {
            ConnectError::NoSocket(error)
                if ConnectionLack::from_io(error) == ConnectionLack::Ports =>
            {
                format!("{error}: no local port is free (net.ipv4.ip_local_port_range)")
            }
            ConnectError::NoSocket(error)
                if ConnectionLack::from_io(error) == ConnectionLack::Descriptors =>
            {
                format!("{error}: the process has no descriptor left (ulimit -n)")
            }
            error => error.to_string(),
        };
        job.request.cause.set_cause(&cause, Some(key));
        if let Some(left_out) = job.worker.quotas.take_line(key, clock::now()) {
            let errno = match error {
                ConnectError::Refused(error) | ConnectError::NoSocket(error) => {
                    error.raw_os_error()
                }
                ConnectError::NoPlace { .. } | ConnectError::Timeout { .. } => None,
            };
            let (upstream, server) = (&*endpoint.upstream, &*endpoint.name);
            let address = endpoint.where_it_is();
            tracing::warn!(
                upstream,
                server,
                address,
                cause,
                errno,
                key,
                left_out,
                "no connection to a server"
            );
        }
        ended
    }
}

/// Waits for `future`; `None` if `deadline` passes first.
async fn await_within<T>(
    future: impl Future<Output = T>,
    timer: &mut Timer,
    deadline: Option<Instant>,
) -> Option<T> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(found) => Poll::Ready(Some(found)),
        Poll::Pending => timer.poll_at(cx, deadline).map(|()| None),
    })
    .await
}
