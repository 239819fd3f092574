//! The client connections of a worker, and which of them are idle, in the order in which they
//! became so.
//!
//! A connection that stands aside joins the end of a list and leaves it from anywhere, both in
//! constant time: it does so between any two requests. Whoever needs room asks the first one to go.
//! The asked one looks once more whether its client has sent something, and only then closes:
//! nobody who has asked for something is cut off.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::Duration;

use super::waitlist::{Linked, WaitLink, WaitList};
use crate::clock;

/// The time that a client may take over a handshake or a head before others go before it, in
/// milliseconds.
const SLOW: u64 = Duration::from_secs(1).as_millis() as u64;

/// The activity of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum SeatDoing {
    /// The connection works, or there is none.
    #[default]
    Working,
    /// The connection waits in a list: for a request, or for the rest of what has begun.
    Waiting(SeatWait),
    /// The connection was asked to go.
    Asked,
}

/// The thing that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeatWait {
    /// The first byte of a request: an idle connection.
    Request,
    /// The rest of a handshake or of a head.
    Rest,
}

#[derive(Debug, Default)]
struct SeatPlace {
    waker: Option<Waker>,
    doing: SeatDoing,
    /// True if it has come so far that a drain waits for it.
    begun: bool,
    list: u16,
    link: WaitLink,
    /// Since when it waits: a number that only grows, or milliseconds for [`SeatWait::Rest`].
    since: u64,
}

impl Linked for SeatPlace {
    fn wait_link(&mut self) -> &mut WaitLink {
        &mut self.link
    }
}

/// The connections of a listener: those that wait for a request, and those that wait for the rest
/// of something.
#[derive(Debug)]
struct SeatQueues {
    listener: u16,
    waiting: [WaitList; 2],
}

#[derive(Debug, Default)]
struct SeatTable {
    places: Vec<SeatPlace>,
    free: Vec<u32>,
    lists: Vec<SeatQueues>,
    begun: usize,
    moves: u64,
}

/// The connections of a worker.
#[derive(Debug, Default)]
pub struct Seats(RefCell<SeatTable>);

/// A connection's place among them, given back when it is dropped.
#[derive(Debug)]
pub struct Seat<'a> {
    seats: &'a Seats,
    place: u32,
    /// True if it takes nobody's place, so that there is no use in asking it to go.
    aside: bool,
}

impl Seats {
    /// A place for a connection of this listener, whose task this wakes.
    pub fn take_seat(&self, waker: Waker, listener: u16) -> Seat<'_> {
        let mut inner = self.0.borrow_mut();
        let list = inner.list_of_listener(listener);
        let place = SeatPlace { waker: Some(waker), list, ..SeatPlace::default() };
        let at = match inner.free.pop() {
            Some(at) => at,
            None => {
                inner.places.push(SeatPlace::default());
                u32::try_from(inner.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(free) = inner.places.get_mut(at as usize) {
            *free = place;
        }
        Seat { seats: self, place: at, aside: false }
    }

    /// The same for a connection that takes nobody's place.
    pub fn take_aside(&self, waker: Waker, listener: u16) -> Seat<'_> {
        Seat { aside: true, ..self.take_seat(waker, listener) }
    }

    /// Returns how many connections are open whose handshake is done.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.0.borrow().begun
    }

    /// Wakes all of them.
    pub fn wake_all(&self) {
        for place in &self.0.borrow().places {
            place.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// Asks the connection to go that has been idle for the longest time, of one listener or of
    /// all. If none is idle, one that is slow to say what it wants. `false` when there is none
    /// either.
    pub fn make_room(&self, listener: Option<u16>) -> bool {
        let mut inner = self.0.borrow_mut();
        let now = clock::millis(clock::now());
        let first = inner.oldest_waiting(listener, SeatWait::Request);
        let slow = |inner: &SeatTable| {
            let (at, since) = inner.oldest_waiting(listener, SeatWait::Rest)?;
            (now.saturating_sub(since) >= SLOW).then_some((at, since))
        };
        let Some((at, _)) = first.or_else(|| slow(&inner)) else { return false };
        inner.ask_to_go(at);
        true
    }

    /// Asks the one to go that has been slow for the longest time to say what it wants.
    pub fn shed_slowest(&self) {
        let mut inner = self.0.borrow_mut();
        let now = clock::millis(clock::now());
        if let Some((at, since)) = inner.oldest_waiting(None, SeatWait::Rest)
            && now.saturating_sub(since) >= SLOW
        {
            inner.ask_to_go(at);
        }
    }
}

impl SeatTable {
    fn list_of_listener(&mut self, listener: u16) -> u16 {
        let known = self.lists.iter().position(|list| list.listener == listener);
        let at = known.unwrap_or_else(|| {
            self.lists.push(SeatQueues { listener, waiting: Default::default() });
            self.lists.len() - 1
        });
        u16::try_from(at).unwrap_or(u16::MAX)
    }

    /// The first of those that wait, and since when.
    fn oldest_waiting(&self, listener: Option<u16>, wait: SeatWait) -> Option<(u32, u64)> {
        let lists = self.lists.iter().filter(|list| listener.is_none_or(|it| it == list.listener));
        let firsts = lists.filter_map(|list| {
            let first = list.waiting.get(wait as usize)?.first_place();
            Some((first, self.places.get(first as usize)?.since))
        });
        firsts.min_by_key(|(_, since)| *since)
    }

    fn ask_to_go(&mut self, at: u32) {
        self.leave_queue(at);
        if let Some(place) = self.places.get_mut(at as usize) {
            place.doing = SeatDoing::Asked;
            place.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    fn join_queue(&mut self, at: u32, wait: SeatWait) {
        self.moves += 1;
        let since = match wait {
            SeatWait::Request => self.moves,
            SeatWait::Rest => clock::millis(clock::now()),
        };
        let Self { places, lists, .. } = self;
        let Some(place) = places.get_mut(at as usize) else { return };
        let list = lists.get_mut(usize::from(place.list));
        let Some(list) = list.and_then(|list| list.waiting.get_mut(wait as usize)) else { return };
        place.doing = SeatDoing::Waiting(wait);
        place.since = since;
        list.join_last(places, at);
    }

    fn leave_queue(&mut self, at: u32) {
        let Self { places, lists, .. } = self;
        let Some(place) = places.get_mut(at as usize) else { return };
        let SeatDoing::Waiting(wait) = std::mem::take(&mut place.doing) else { return };
        let list = lists.get_mut(usize::from(place.list));
        if let Some(list) = list.and_then(|list| list.waiting.get_mut(wait as usize)) {
            list.remove_place(places, at);
        }
    }
}

impl Seat<'_> {
    /// A number of its own among those that are open.
    #[must_use]
    pub fn seat_number(&self) -> u32 {
        self.place
    }

    /// The connection waits for something. Where it waits for it already, it stays where it is.
    /// `true` when it was asked to go.
    #[inline]
    pub fn begin_wait(&self, wait: SeatWait) -> bool {
        let mut inner = self.seats.0.borrow_mut();
        let doing = inner.places.get(self.place as usize).map(|place| place.doing);
        match doing {
            Some(SeatDoing::Asked) => return true,
            Some(SeatDoing::Waiting(now)) if now == wait => {}
            _ if self.aside => {}
            _ => {
                inner.leave_queue(self.place);
                inner.join_queue(self.place, wait);
            }
        }
        false
    }

    /// The connection works. If it was asked to go, it need not any more.
    #[inline]
    pub fn begin_work(&self) {
        let mut inner = self.seats.0.borrow_mut();
        inner.leave_queue(self.place);
        if let Some(place) = inner.places.get_mut(self.place as usize) {
            place.doing = SeatDoing::Working;
        }
    }

    /// Returns whether it was asked to go.
    #[inline]
    #[must_use]
    pub fn is_asked(&self) -> bool {
        let inner = self.seats.0.borrow();
        inner.places.get(self.place as usize).is_some_and(|place| place.doing == SeatDoing::Asked)
    }

    /// From now on a drain waits for it.
    pub fn begin_serving(&self) {
        let mut inner = self.seats.0.borrow_mut();
        let place = inner.places.get_mut(self.place as usize);
        let begun = place.is_some_and(|place| std::mem::replace(&mut place.begun, true));
        inner.begun += usize::from(!begun);
    }

    /// Waits for the end of something that the client may take its time over; `None` when the
    /// connection is asked to go.
    pub async fn unless_asked<T>(&self, rest: impl Future<Output = T>) -> Option<T> {
        let mut rest = pin!(rest);
        let ended = poll_fn(|cx| match rest.as_mut().poll(cx) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            Poll::Pending if self.begin_wait(SeatWait::Rest) => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        let ended = ended.await;
        if ended.is_some() {
            self.begin_work();
        }
        ended
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut inner = self.seats.0.borrow_mut();
        inner.leave_queue(self.place);
        let place = inner.places.get_mut(self.place as usize).map(std::mem::take);
        inner.begun -= usize::from(place.is_some_and(|place| place.begun));
        inner.free.push(self.place);
    }
}

#[cfg(test)]
mod tests;
