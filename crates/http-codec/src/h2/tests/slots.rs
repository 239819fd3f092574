//! Slots of streams: the memory that the next stream gets, those who are woken, and what is known
//! of a message ahead.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::*;
use crate::h2::slot::KEEP;

/// `GET /` of a.test, compressed.
const GET: &[u8] = b"\x82\x86\x84\x41\x06a.test";

/// A server that has been asked for something on stream 1, in slot 0.
fn asked() -> State {
    let mut state = server(terms(10, BIG, BIG));
    let begun = receive(&mut state, &frame(kind::HEADERS, 5, 1, GET));
    assert_eq!(begun.0.len(), 1);
    state
}

/// A head with a field of a hundred bytes.
fn used_head() -> ResponseHead {
    let mut head = ResponseHead::default();
    head.set(200, b"OK");
    head.fields.push(b"x-a", &[b'v'; 100]);
    head
}

#[test]
fn a_slot_keeps_the_memory_of_usual_streams_and_no_more() {
    let mut slot = StreamSlot::default();
    (slot.data, slot.head) = (Vec::with_capacity(KEEP), used_head());
    slot.data.push(1);
    let of_head = slot.head.fields.capacity();
    slot.begin_stream(7, 10, 20);
    assert_eq!((slot.id, slot.window, slot.credit, slot.head.status), (7, 10, 20, 0));
    assert!(slot.data.is_empty() && slot.head.fields.is_empty());
    let kept = |slot: &StreamSlot| (slot.data.capacity(), slot.head.fields.capacity());
    assert_eq!(kept(&slot), (KEEP, of_head));
    slot.clear_slot();
    assert_eq!((slot.id, kept(&slot)), (0, (KEEP, of_head)));
    slot.data.reserve_exact(KEEP + 1);
    slot.head.fields.push(b"x-a", &[b'v'; KEEP]);
    slot.clear_slot();
    assert_eq!(kept(&slot), (0, 0));
}

#[test]
fn memory_that_is_given_back_is_kept_unless_it_is_too_much_or_there_is_some() {
    let held =
        |state: &State| (state.slots[0].data.capacity(), state.slots[0].head.fields.capacity());
    let mut data = Vec::with_capacity(KEEP);
    data.push(1);
    let head = used_head();
    let of_head = head.fields.capacity();
    let mut state = asked();
    assert_eq!(held(&state), (0, 0));
    state.reuse(0, Vec::with_capacity(KEEP + 1), None);
    assert_eq!(held(&state), (0, 0));
    state.reuse(0, data, Some(head));
    assert_eq!(held(&state), (KEEP, of_head));
    assert!(state.slots[0].data.is_empty());
    state.reuse(0, Vec::with_capacity(10), Some(ResponseHead::default()));
    assert_eq!(held(&state), (KEEP, of_head));
    // Less is kept while no stream is under way.
    let mut state = asked();
    answer(&mut state, 0, true);
    state.close(0);
    state.reuse(0, Vec::with_capacity(AT_REST + 1), None);
    assert_eq!(held(&state), (0, 0));
    state.reuse(0, Vec::with_capacity(AT_REST), None);
    assert_eq!(held(&state), (AT_REST, 0));
    let (mut small, mut large) = (Vec::with_capacity(AT_REST), Vec::with_capacity(AT_REST + 1));
    give_up(&mut small);
    give_up(&mut large);
    assert_eq!((small.capacity(), large.capacity()), (AT_REST, 0));
}

#[test]
fn who_waits_is_woken_once() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let cx = Context::from_waker(&waker);
    let was_woken = || woken.0.swap(false, Relaxed);
    let mut slot = StreamSlot::default();
    assert!(!slot.wake_reader() && !was_woken());
    slot.await_read(&cx);
    slot.wake_writer();
    assert!(!was_woken());
    assert!(slot.wake_reader() && was_woken());
    assert!(!slot.wake_reader() && !was_woken());
    slot.await_write(&cx);
    assert!(!slot.wake_reader() && !was_woken());
    slot.wake_writer();
    assert!(was_woken());
    slot.wake_writer();
    assert!(!was_woken());
    assert!(!slot.is_reading(), "nothing has begun");
    slot.state.open_stream();
    assert!(slot.is_reading());
    slot.fault = Some(Fault::ContentLength);
    assert!(!slot.is_reading());
    assert!(slot.end_stream(StreamEnd::Cancelled) && was_woken());
    assert!(!slot.end_stream(StreamEnd::Cancelled) && !was_woken());
}

#[test]
fn what_was_sent_and_what_was_taken_is_told() {
    let mut state = asked();
    assert!(!state.is_sent(0) && state.is_sent(1) && state.is_taken(1));
    answer(&mut state, 0, false);
    assert!(!state.is_sent(0));
    state.finish(0, None).unwrap();
    assert!(state.is_sent(0) && state.is_taken(0));
    receive(&mut state, &frame(kind::HEADERS, 4, 3, b"\x83\x86\x84\x41\x06a.test"));
    assert!(!state.is_taken(1));
    receive(&mut state, &frame(kind::DATA, 1, 3, b"body"));
    assert!(!state.is_taken(1));
    assert_eq!(
        state.poll_body(&cx(), 1, &mut Vec::new()).map(|taken| taken.is_ok()),
        Poll::Ready(true)
    );
    assert!(state.is_taken(1));
}

#[test]
fn a_response_that_contradicts_its_length_is_known_ahead() {
    let mut client = client();
    let slot = open(&mut client, true);
    receive(&mut client, &frame(kind::HEADERS, 4, 1, b"\x88"));
    receive(&mut client, &frame(kind::DATA, 0, 1, b"12345"));
    let wrong = Some(StreamEnd::Invalid(ResponseFault::ContentLength));
    let ahead = |client: &State| [4, 5, 6].map(|n| client.broken_ahead(slot, Some(n)));
    assert_eq!(ahead(&client), [wrong, None, None]);
    receive(&mut client, &frame(kind::DATA, 1, 1, b""));
    assert_eq!(ahead(&client), [wrong, None, wrong]);
    assert_eq!((client.broken_ahead(slot, None), client.broken_ahead(9, Some(1))), (None, None));
    let cut = open(&mut client, true);
    receive(&mut client, &frame(kind::HEADERS, 4, 3, b"\x88"));
    assert_eq!(client.broken_ahead(cut, Some(6)), None);
    receive(&mut client, &frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 2]));
    assert_eq!(client.broken_ahead(cut, Some(6)), Some(StreamEnd::Reset(ErrorCode(2))));
    // The rest of the request is not wanted, which says nothing against the response.
    let stopped = open(&mut client, false);
    receive(&mut client, &frame(kind::HEADERS, 5, 5, b"\x88"));
    receive(&mut client, &frame(kind::RST_STREAM, 0, 5, &[0; 4]));
    assert_eq!(client.broken_ahead(stopped, Some(0)), None);
}

#[test]
fn of_a_response_that_broke_off_all_that_came_is_handed_out_and_of_a_request_nothing() {
    let cancel = frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let part = frame(kind::DATA, 0, 1, b"part");
    let reset = StreamEnd::Reset(ErrorCode::CANCEL);
    let mut client = client();
    let slot = open(&mut client, true);
    let head = frame(kind::HEADERS, 4, 1, b"\x88");
    receive(&mut client, &[&head[..], &part, &cancel].concat());
    let mut data = Vec::new();
    let first = client.poll_body(&cx(), slot, &mut data);
    assert!(matches!(first, Poll::Ready(Ok(Taken::Data))), "{first:?}");
    assert_eq!(data, b"part");
    let end = client.poll_body(&cx(), slot, &mut data);
    assert!(matches!(end, Poll::Ready(Err(end)) if end == reset), "{end:?}");
    let mut server = server(terms(10, BIG, BIG));
    let head = frame(kind::HEADERS, 4, 1, b"\x83\x86\x84\x41\x06a.test");
    receive(&mut server, &[&head[..], &part, &cancel].concat());
    let end = server.poll_body(&cx(), 0, &mut data);
    assert!(matches!(end, Poll::Ready(Err(end)) if end == reset), "{end:?}");
}

#[test]
fn who_waits_for_a_window_is_woken_when_it_opens_and_not_before() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let cx = Context::from_waker(&waker);
    let window = |n: u8| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, n]);
    let more = |n: u8| frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, n]);
    let mut state = asked();
    answer(&mut state, 0, false);
    let wakes = |state: &mut State, frame: Vec<u8>| {
        receive(state, &frame);
        woken.0.swap(false, Relaxed)
    };
    let send = |state: &mut State| state.poll_data(&cx, 0, &[0; 100]).map(Result::unwrap);
    assert!(!wakes(&mut state, window(0)));
    assert_eq!(send(&mut state), Poll::Pending);
    assert!(!wakes(&mut state, window(0)));
    assert!(wakes(&mut state, window(10)));
    assert_eq!((send(&mut state), send(&mut state)), (Poll::Ready(10), Poll::Pending));
    // It owes six bytes now, and then none.
    assert!(!wakes(&mut state, window(4)) && !wakes(&mut state, more(6)));
    assert!(wakes(&mut state, more(2)));
    assert_eq!((send(&mut state), send(&mut state)), (Poll::Ready(2), Poll::Pending));
    assert!(wakes(&mut state, window(7)));
    assert_eq!(send(&mut state), Poll::Ready(3));
}

#[test]
fn who_waits_for_room_is_woken_when_there_is_some_and_who_has_no_window_is_not() {
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let cx = Context::from_waker(&waker);
    let was_woken = || woken.0.swap(false, Relaxed);
    let mut state = asked();
    answer(&mut state, 0, false);
    receive(&mut state, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]));
    receive(&mut state, &frame(kind::WINDOW_UPDATE, 0, 0, &BIG.to_be_bytes()));
    take(&mut state);
    while state.poll_data(&cx, 0, &[0; 64 * 1024]).is_ready() {}
    assert!(!was_woken());
    take(&mut state);
    assert!(was_woken());
    receive(&mut state, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    assert!(state.poll_data(&cx, 0, b"more").is_pending());
    take(&mut state);
    assert!(!was_woken());
}
