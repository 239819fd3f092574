//! Responses that wait for their clients to take what is there for them.
//!
//! They hold memory, and what all requests may hold together is bounded (`runtime.request_memory`).
//! When a request finds no room, those go first whose clients have taken nothing for longest. A
//! worker lists its responses as they begin to wait, in constant time; whoever needs room asks the
//! first one of a list. The asked one looks once more whether its client has moved, and is cut only
//! if it has not: a client that goes on reading, however slowly, keeps its response.
//!
//! A client that opens its windows of HTTP/2 is heard at once. What a client takes from its socket
//! is not: its system tells of it in steps (up to half of its receive buffer), and this one says
//! that it may write once a third of what it keeps has left. So a response that waits for a socket
//! is looked at by a write that nobody has announced: once soon, to use up what there is room for
//! whether or not anybody reads, and then before it is cut. What the client's system has
//! acknowledged meanwhile counts too ([`super::Stream::count_untaken`]).

mod peer;

use std::cell::RefCell;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Waker};
use std::time::Duration;

pub use self::peer::StallPeer;
use super::held;
use super::waitlist::{Linked, WaitLink, WaitList};
use crate::clock::{self, Instant};

/// The time without a movement after which a response may be cut that waits for a window of HTTP/2.
const WINDOW_STILL: Duration = Duration::from_secs(5);
/// The same for a client that has opened its windows before: many open them in large steps.
const OPENED_STILL: Duration = Duration::from_secs(30);
/// The same for one that waits for a socket, of which a movement may not be seen for a while: Linux
/// tells of 96 KiB at once.
const SOCKET_STILL: Duration = Duration::from_secs(20);
/// The time after which one is looked at that has begun to wait for a socket.
const SETTLED: Duration = Duration::from_secs(1);
/// Responses that are asked at once, and the part of all memory that is made free then, if so many
/// have been still.
const AT_ONCE: usize = 8;
const FREED_PART: usize = 16;
/// Responses that are looked at for the first time whenever somebody needs room.
const LOOKS: usize = 8;

/// Responses that were cut so that others had room.
static CUT: AtomicU64 = AtomicU64::new(0);
/// The number of responses that other workers are asked to look for.
static WANTED: AtomicU32 = AtomicU32::new(0);
/// Bytes that the last request needed for which they are.
static NEEDED: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The responses of this worker.
    static STALLS: RefCell<StallTable> = RefCell::default();
}

/// The thing that a response waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Holdup {
    /// A window of HTTP/2, of the stream or of its connection.
    Window,
    /// The same, where the client has taken more than such windows let through at first.
    OpenedWindow,
    /// Room in the socket.
    #[default]
    Socket,
}

/// A measure of how far a client has come. One that moves has another one afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StallMark {
    /// The exchange's own progress.
    pub own: u64,
    /// Bytes that the client has let through on the connection that the exchange shares with
    /// others, if it waits for that.
    pub shared: u64,
    /// The thing that is waited for.
    pub holdup: Holdup,
    /// Bytes that the client's system has not acknowledged, where that is known; told after a look
    /// alone.
    pub untaken: Option<u32>,
}

/// The next step of a response that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StallStep {
    /// The response goes on waiting.
    Wait,
    /// The response was asked: it has to try once more whether its client takes anything, and say
    /// that it waits again.
    Look,
    /// The client has not moved, and the memory is needed: the response ends.
    Cut,
}

/// The lists of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StallList {
    /// Responses that wait for a window.
    Windows,
    /// Responses that wait for a window that was opened before.
    OpenedWindows,
    /// Responses that have begun to wait for a socket.
    Fresh,
    /// Responses that wait for a socket, and have been looked at since they began to.
    Sockets,
}

impl StallList {
    /// The time that a response is in it before it may be asked.
    fn patience(self) -> Duration {
        match self {
            StallList::Windows => WINDOW_STILL,
            StallList::OpenedWindows => OPENED_STILL,
            StallList::Fresh => SETTLED,
            StallList::Sockets => SOCKET_STILL,
        }
    }
}

/// The use of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum StallDoing {
    /// The response does not wait for its client, or there is none.
    #[default]
    Working,
    /// The response waits in this list.
    Waiting(StallList),
    /// The response waits, and was asked out of this list.
    Asked(StallList),
}

#[derive(Debug, Default)]
struct StallPlace {
    waker: Option<Waker>,
    link: WaitLink,
    doing: StallDoing,
    /// Since when its client has not been seen to move.
    since: Option<Instant>,
}

impl Linked for StallPlace {
    fn wait_link(&mut self) -> &mut WaitLink {
        &mut self.link
    }
}

#[derive(Debug, Default)]
struct StallTable {
    places: Vec<StallPlace>,
    free: Vec<u32>,
    /// By [`StallList`]; each in the order of its times.
    lists: [WaitList; 4],
    /// Bytes that the last request needed for which somebody was asked to go.
    needed: usize,
}

impl StallTable {
    fn take_place(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.places.push(StallPlace::default());
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        })
    }

    /// Lists it as one whose client moves now.
    fn join_last(&mut self, at: u32, list: StallList) {
        self.leave_list(at);
        let Self { places, lists, .. } = self;
        let (place, ends) = (places.get_mut(at as usize), lists.get_mut(list as usize));
        if let (Some(place), Some(ends)) = (place, ends) {
            place.doing = StallDoing::Waiting(list);
            place.since = Some(clock::now());
            ends.join_last(places, at);
        }
    }

    /// Lists it again as the first one, which it was, with the time that it had.
    fn join_first(&mut self, at: u32, list: StallList) {
        self.leave_list(at);
        let Self { places, lists, .. } = self;
        let (place, ends) = (places.get_mut(at as usize), lists.get_mut(list as usize));
        if let (Some(place), Some(ends)) = (place, ends) {
            place.doing = StallDoing::Waiting(list);
            ends.join_first(places, at);
        }
    }

    fn leave_list(&mut self, at: u32) {
        let Self { places, lists, .. } = self;
        let Some(place) = places.get_mut(at as usize) else { return };
        let StallDoing::Waiting(list) = std::mem::take(&mut place.doing) else { return };
        if let Some(ends) = lists.get_mut(list as usize) {
            ends.remove_place(places, at);
        }
    }

    /// The first of a list if it has been there for long enough, and since when.
    fn first_due(&self, list: StallList, now: Instant) -> Option<(u32, Instant)> {
        let at = self.lists.get(list as usize)?.first_place();
        let since = self.places.get(at as usize)?.since?;
        (now.saturating_duration_since(since) >= list.patience()).then_some((at, since))
    }

    fn ask_place(&mut self, at: u32, list: StallList) {
        self.leave_list(at);
        if let Some(place) = self.places.get_mut(at as usize) {
            place.doing = StallDoing::Asked(list);
            place.waker.iter().for_each(Waker::wake_by_ref);
        }
    }

    /// The list that it was asked out of, once.
    fn take_asked(&mut self, at: u32) -> Option<StallList> {
        let place = self.places.get_mut(at as usize)?;
        let StallDoing::Asked(list) = place.doing else { return None };
        place.doing = StallDoing::Working;
        Some(list)
    }

    /// Has those looked at that have begun to wait for their sockets a while ago; no more than
    /// `most`.
    fn look_at_fresh(&mut self, most: usize, now: Instant) {
        for _ in 0..most {
            let Some((at, _)) = self.first_due(StallList::Fresh, now) else { return };
            self.ask_place(at, StallList::Fresh);
        }
    }

    /// Asks the one to go whose client has been still for longest.
    fn ask_first(&mut self, now: Instant) -> bool {
        let lists = [StallList::Windows, StallList::OpenedWindows, StallList::Sockets];
        let due = lists.map(|list| {
            let (at, since) = self.first_due(list, now)?;
            Some((since, at, list))
        });
        let first = due.into_iter().flatten().min_by_key(|(since, ..)| *since);
        if let Some((_, at, list)) = first {
            self.ask_place(at, list);
        }
        first.is_some()
    }
}

/// Asks the responses of this worker to go whose clients have taken nothing for longest, because
/// somebody needs so many bytes. They are a few, because others will need some too; `false` when
/// none has been still for long enough.
pub fn ask_stillest(bytes: usize) -> bool {
    let now = clock::now();
    STALLS.with_borrow_mut(|table| {
        table.needed = bytes;
        table.look_at_fresh(LOOKS, now);
        (0..AT_ONCE).take_while(|_| table.ask_first(now)).count() > 0
    })
}

/// Asks for a response of other workers, because somebody needs so many bytes; no more than `most`
/// are asked for at a time.
pub fn want_others(bytes: usize, most: u32) {
    NEEDED.store(bytes, Relaxed);
    let one_more = |wanted: u32| (wanted < most).then_some(wanted + 1);
    let _enough = WANTED.fetch_update(Relaxed, Relaxed, one_more);
}

/// Asks as many of this worker's as others have asked for, while there still is no room.
pub fn heed_others() {
    while WANTED.load(Relaxed) > 0 {
        let bytes = NEEDED.load(Relaxed);
        if !is_short_of(bytes) {
            WANTED.store(0, Relaxed);
        } else if ask_stillest(bytes) {
            let _heeded = WANTED.fetch_update(Relaxed, Relaxed, |wanted| wanted.checked_sub(1));
        } else {
            break;
        }
    }
}

/// Has those looked at that have begun to wait for their sockets, when more than half of the memory
/// is taken: should it become full, it is known which of them do not move. No more than `most` of
/// them.
pub fn look_ahead(most: usize) {
    if held::exceeds(2, 0) {
        let now = clock::now();
        STALLS.with_borrow_mut(|table| table.look_at_fresh(most, now));
    }
}

/// Returns whether so many bytes more are more than there is room for.
fn is_short_of(bytes: usize) -> bool {
    held::tell_changes();
    held::exceeds(1, bytes)
}

/// Responses that were cut so that others had room.
#[must_use]
pub fn times_cut() -> u64 {
    CUT.load(Relaxed)
}

/// The waiting of one response for its client. It is listed while it waits, and belongs to the task
/// that says so.
#[derive(Debug, Default)]
pub struct Stall {
    place: Option<u32>,
    mark: StallMark,
    waits: bool,
    /// The list that it was asked out of, between [`StallStep::Look`] and what came of that.
    looks: Option<StallList>,
}

impl Stall {
    /// Returns whether it was asked to look, and has not said yet that it waits again.
    #[must_use]
    pub fn is_looking(&self) -> bool {
        self.looks.is_some()
    }

    /// The response waits for its client, which has come so far. Said again at every wake-up.
    pub fn begin_wait(&mut self, cx: &Context<'_>, mut mark: StallMark) -> StallStep {
        STALLS.with_borrow_mut(|table| {
            let at = *self.place.get_or_insert_with(|| table.take_place());
            if let Some(place) = table.places.get_mut(at as usize)
                && !place.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                place.waker = Some(cx.waker().clone());
            }
            let (asked, looked) = (table.take_asked(at), self.looks.take());
            let began = !std::mem::replace(&mut self.waits, true);
            if looked.is_none() {
                mark.untaken = self.mark.untaken;
            }
            let moved = std::mem::replace(&mut self.mark, mark) != mark;
            if began || moved || looked == Some(StallList::Fresh) {
                let list = match mark.holdup {
                    Holdup::Window => StallList::Windows,
                    Holdup::OpenedWindow => StallList::OpenedWindows,
                    Holdup::Socket if looked.is_some() => StallList::Sockets,
                    Holdup::Socket => StallList::Fresh,
                };
                table.join_last(at, list);
                return StallStep::Wait;
            }
            match looked.or(asked) {
                None => StallStep::Wait,
                // Of a window each movement is seen at once.
                Some(list) if looked.is_some() || mark.holdup != Holdup::Socket => {
                    self.end_look(table, at, list)
                }
                Some(list) => {
                    self.looks = Some(list);
                    StallStep::Look
                }
            }
        })
    }

    /// The response does not wait for its client any more.
    pub fn end_wait(&mut self) {
        if std::mem::take(&mut self.waits)
            && let Some(at) = self.place
        {
            self.looks = None;
            STALLS.with_borrow_mut(|table| table.leave_list(at));
        }
    }

    /// The client has not moved.
    fn end_look(&mut self, table: &mut StallTable, at: u32, list: StallList) -> StallStep {
        if is_short_of(table.needed.max(held::limit() / FREED_PART)) {
            self.waits = false;
            CUT.fetch_add(1, Relaxed);
            return StallStep::Cut;
        }
        // Somebody else has made room.
        table.join_first(at, list);
        StallStep::Wait
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        let Some(at) = self.place else { return };
        // A thread that is going away lists nobody any more.
        let _gone = STALLS.try_with(|table| {
            let Ok(mut table) = table.try_borrow_mut() else { return };
            table.leave_list(at);
            if let Some(place) = table.places.get_mut(at as usize) {
                place.waker = None;
            }
            table.free.push(at);
        });
    }
}

#[cfg(test)]
mod tests;
