//! Two connections that talk to each other, and one that is told what no connection should be told.

mod control;
mod frames_in;
mod heads;
mod slots;

use std::collections::HashMap;
use std::task::Poll;

use proptest::prelude::*;

use super::*;
use crate::frames::{FrameHead, flag};
use crate::hpack::Pseudo;
use crate::{Known, ResponseFault, ResponseHead};

const BIG: u32 = 1 << 20;

fn terms(streams: u32, stream_window: u32, connection_window: u32) -> H2Config {
    let head = Limits::default();
    H2Config {
        streams,
        stream_window,
        stream_window_most: stream_window,
        growth: 0,
        connection_window,
        head,
    }
}

/// Streams that have begun: their slots, their targets, and what was wrong with their heads.
#[derive(Default)]
struct Begun(Vec<(u32, String, Option<Fault>)>);

impl Accept for Begun {
    fn head(&mut self) -> Box<RequestHead> {
        Box::default()
    }

    fn key(&mut self) -> String {
        "key".into()
    }

    fn stream(&mut self, slot: u32, head: Box<RequestHead>, fault: Option<Fault>) {
        self.0.push((slot, String::from_utf8(head.target().to_vec()).unwrap(), fault));
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Takes what is to be sent.
fn take(state: &mut State) -> Vec<u8> {
    let bytes = state.unsent().to_vec();
    state.left(bytes.len());
    state.heeded();
    bytes
}

/// The frames in it, without the preface.
fn split(bytes: &[u8]) -> Vec<(FrameHead, Vec<u8>)> {
    let mut rest = bytes.strip_prefix(frames::PREFACE).unwrap_or(bytes);
    let mut all = Vec::new();
    while let Some(head) = FrameHead::read(rest) {
        let end = frames::HEAD + head.length;
        all.push((head, rest[frames::HEAD..end].to_vec()));
        rest = &rest[end..];
    }
    all
}

fn said(state: &mut State) -> Vec<(FrameHead, Vec<u8>)> {
    split(&take(state))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frames::put(&mut out, kind, flags, stream, payload);
    out
}

fn receive(state: &mut State, bytes: &[u8]) -> Begun {
    let mut begun = Begun::default();
    let mut rest = bytes;
    loop {
        let used = state.receive(rest, &mut begun);
        rest = &rest[used..];
        if !state.take_paused() {
            assert!(rest.is_empty() || state.ended().is_some());
            return begun;
        }
    }
}

/// A server that has been said hello to.
fn server(terms: H2Config) -> State {
    let mut state = State::server(terms, || 0);
    receive(&mut state, &[frames::PREFACE, &frame(kind::SETTINGS, 0, 0, &[])].concat());
    take(&mut state);
    state
}

/// A client whose server has said hello.
fn client() -> State {
    let mut state = State::client(terms(0, 1000, BIG), 100, || 0);
    receive(&mut state, &frame(kind::SETTINGS, 0, 0, &[]));
    take(&mut state);
    state
}

/// `GET /` and its stream's number, which the client has sent.
fn open(client: &mut State, whole: bool) -> u32 {
    let slot = client.open().unwrap();
    client.put_head(slot, whole, &mut |encoder, out| {
        encoder.put_pseudo(out, Pseudo::Method, if whole { b"GET" } else { b"POST" });
        encoder.put_pseudo(out, Pseudo::Scheme, b"http");
        encoder.put_pseudo(out, Pseudo::Authority, b"a.test");
        encoder.put_pseudo(out, Pseudo::Path, b"/");
    });
    slot
}

fn answer(state: &mut State, slot: u32, ends: bool) {
    state.put_head(slot, ends, &mut |encoder, out| encoder.status(out, 200));
}

/// The heads of the frames of a stream.
fn of_stream(frames: &[(FrameHead, Vec<u8>)], stream: u32) -> Vec<(u8, u8, usize)> {
    let of = frames.iter().filter(|(head, _)| head.stream == stream);
    of.map(|(head, _)| (head.kind, head.flags, head.length)).collect()
}

#[test]
fn nothing_is_said_before_the_client_has_shown_that_it_speaks_it() {
    let mut state = State::server(terms(10, BIG, BIG), || 0);
    receive_part(&mut state, &frames::PREFACE[..20]);
    assert!(take(&mut state).is_empty());
    receive_part(&mut state, frames::PREFACE);
    assert_eq!(said(&mut state)[0].0.kind, kind::SETTINGS);
    let mut other = State::server(terms(10, BIG, BIG), || 0);
    receive(&mut other, b"PRI * HTTP/1.1\r\n\r\n");
    assert_eq!(other.ended(), Some(Ended::Failed(ErrorCode::PROTOCOL_ERROR)));
}

fn receive_part(state: &mut State, bytes: &[u8]) {
    state.receive(bytes, &mut Begun::default());
}

#[test]
fn the_end_of_a_stream_rides_on_its_last_frame_while_that_is_here() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    for _ in 0..3 {
        open(&mut client, true);
    }
    let begun = receive(&mut server, &take(&mut client));
    let slots: Vec<u32> = begun.0.iter().map(|(slot, ..)| *slot).collect();
    // The body is here, the body has left, there is no body.
    for slot in &slots {
        answer(&mut server, *slot, false);
    }
    assert!(server.poll_data(&cx(), slots[0], b"body").is_ready());
    server.finish(slots[0], None).unwrap();
    server.finish(slots[2], None).unwrap();
    assert!(server.poll_data(&cx(), slots[1], b"body").is_ready());
    let first = said(&mut server);
    let end = flag::END_STREAM;
    assert_eq!(of_stream(&first, 1), [(kind::HEADERS, 4, 1), (kind::DATA, end, 4)]);
    assert_eq!(of_stream(&first, 3), [(kind::HEADERS, 4, 1), (kind::DATA, 0, 4)]);
    assert_eq!(of_stream(&first, 5), [(kind::HEADERS, 4 | end, 1)]);
    server.finish(slots[1], None).unwrap();
    server.finish(slots[1], None).unwrap();
    assert_eq!(of_stream(&said(&mut server), 3), [(kind::DATA, end, 0)]);
}

#[test]
fn a_head_larger_than_a_frame_is_split_and_put_together() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    let slot = open(&mut client, true);
    let begun = receive(&mut server, &take(&mut client));
    let value = vec![b'v'; 20_000];
    server.put_head(begun.0[0].0, true, &mut |encoder, out| {
        encoder.status(out, 200);
        encoder.field(out, b"X-Long", &value, Known::Other);
    });
    let bytes = take(&mut server);
    let kinds: Vec<(u8, u8)> = split(&bytes).iter().map(|(h, _)| (h.kind, h.flags)).collect();
    assert_eq!(kinds, [(kind::HEADERS, flag::END_STREAM), (kind::CONTINUATION, flag::END_HEADERS)]);
    receive(&mut client, &bytes);
    let mut head = ResponseHead::default();
    assert_eq!(client.poll_head(&cx(), slot, &mut head), Poll::Ready(Ok(())));
    assert_eq!(head.fields.named(b"x-long").next(), Some(&value[..]));
}

#[test]
fn settings_change_the_windows_of_streams_that_are_open() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    open(&mut client, true);
    let small = frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 10]);
    let begun = receive(&mut server, &[take(&mut client), small].concat());
    let slot = begun.0[0].0;
    assert_eq!(server.poll_data(&cx(), slot, &[0; 100]).map(Result::unwrap), Poll::Ready(10));
    assert!(server.poll_data(&cx(), slot, &[0; 100]).is_pending());
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 4]));
    receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 6]));
    assert!(server.poll_data(&cx(), slot, &[0; 100]).is_pending(), "it owes as much");
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 9]));
    assert_eq!(server.poll_data(&cx(), slot, &[0; 100]).map(Result::unwrap), Poll::Ready(5));
}

#[test]
fn nobody_sends_all_the_time_while_others_wait() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 0, &BIG.to_be_bytes()));
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]));
    for _ in 0..2 {
        open(&mut client, true);
    }
    let begun = receive(&mut server, &take(&mut client));
    let (a, b) = (begun.0[0].0, begun.0[1].0);
    let fill = |server: &mut State, slot: u32| {
        let mut sent = 0;
        while let Poll::Ready(Ok(n)) = server.poll_data(&cx(), slot, &[0; 32 * 1024]) {
            sent += n;
        }
        sent
    };
    assert!(fill(&mut server, a) >= HIGH, "alone, it fills all there is");
    assert_eq!(fill(&mut server, b), 0);
    take(&mut server);
    // Both may try again. While the other one waits, none sends more than its part.
    assert_eq!(fill(&mut server, b), HIGH, "nobody waits yet");
    assert_eq!(fill(&mut server, a), 0);
    take(&mut server);
    server.waiting.push_back(a);
    assert_eq!(fill(&mut server, b), BURST);
    assert_eq!(fill(&mut server, a), BURST);
}

#[test]
fn a_head_that_waits_for_room_needs_no_window() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 16, 0, 0]));
    let more = u32::try_from(HIGH).unwrap() - frames::WINDOW;
    receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 0, &more.to_be_bytes()));
    for _ in 0..2 {
        open(&mut client, true);
    }
    let begun = receive(&mut server, &take(&mut client));
    // The first one takes all the room, and all of the connection's window.
    while server.poll_data(&cx(), begun.0[0].0, &[0; 64 * 1024]).is_ready() {}
    let woken = std::sync::Arc::new(Woken::default());
    let waker = Waker::from(woken.clone());
    let cx = Context::from_waker(&waker);
    assert!(server.poll_room(&cx, begun.0[1].0).is_pending());
    take(&mut server);
    assert!(woken.0.load(std::sync::atomic::Ordering::Relaxed));
    assert!(server.poll_room(&cx, begun.0[1].0).is_ready());
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(std::sync::atomic::AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn what_leaves_as_fast_as_it_comes_takes_no_more_memory() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0x70, 0, 0, 0]));
    open(&mut client, true);
    let slot = receive(&mut server, &take(&mut client)).0[0].0;
    answer(&mut server, slot, false);
    let mut sent = 0;
    let mut got = Vec::new();
    for _ in 0..5_000 {
        while server.unsent().len() < 20_000 {
            let Poll::Ready(Ok(n)) = server.poll_data(&cx(), slot, &[7; 5_000]) else { panic!() };
            sent += n;
        }
        // It is never empty.
        got.extend_from_slice(&server.unsent()[..10_000]);
        server.left(10_000);
    }
    assert!(server.out.capacity() < 8 * HIGH, "{}", server.out.capacity());
    server.finish(slot, None).unwrap();
    got.extend(take(&mut server));
    let frames = split(&got);
    let data = frames.iter().filter(|(head, _)| head.kind == kind::DATA);
    assert_eq!(data.map(|(head, _)| head.length).sum::<usize>(), sent);
    assert!(frames.last().unwrap().0.has(flag::END_STREAM));
}

#[test]
fn what_is_left_of_a_stream_that_nobody_wants_is_given_back() {
    let window = 100_000;
    let (mut client, mut server) = (client(), server(terms(10, window, window)));
    // More is sent than the window has, over streams that are gone before it is read.
    for n in 0..4_u32 {
        open(&mut client, false);
        let begun = receive(&mut server, &take(&mut client));
        let (slot, stream) = (begun.0[0].0, 2 * n + 1);
        let part = frame(kind::DATA, 0, stream, &[0; 16_000]);
        receive(&mut server, &part);
        if n % 2 == 0 {
            answer(&mut server, slot, true);
        }
        server.close(slot);
        receive(&mut server, &[part.clone(), part].concat());
        assert_eq!(server.ended(), None);
        let resets: Vec<u32> = said(&mut server)
            .iter()
            .filter(|(head, _)| head.kind == kind::RST_STREAM)
            .map(|(_, payload)| frames::number(payload).unwrap())
            .collect();
        // An answer that is whole stands; one that is not is given up.
        assert_eq!(resets, [if n % 2 == 0 { ErrorCode::NO_ERROR.0 } else { ErrorCode::CANCEL.0 }]);
    }
    // Trailers of such a stream may still come, but not of one that ended by itself.
    let trailers = |stream| frame(kind::HEADERS, 5, stream, b"\x00\x01a\x01b");
    receive(&mut server, &trailers(7));
    assert_eq!(server.ended(), None);
    open(&mut client, true);
    let begun = receive(&mut server, &take(&mut client));
    answer(&mut server, begun.0[0].0, true);
    server.close(begun.0[0].0);
    receive(&mut server, &trailers(9));
    assert_eq!(server.ended(), Some(Ended::Failed(ErrorCode::STREAM_CLOSED)));
}

#[test]
fn a_stream_that_ends_in_the_middle_of_a_frame_takes_nothing_of_the_window() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, 100_000)));
    for n in 0..100_u32 {
        open(&mut client, false);
        let begun = receive(&mut server, &take(&mut client));
        let part = frame(kind::DATA, 0, 2 * n + 1, &[0; 16_000]);
        receive_part(&mut server, &part[..9_000]);
        if n % 2 == 0 {
            server.reset(begun.0[0].0, ErrorCode::CANCEL);
        }
        server.close(begun.0[0].0);
        receive_part(&mut server, &part[9_000..]);
        // Enough is given back for the next one.
        assert_eq!(server.ended(), None, "{n}");
        take(&mut server);
    }
}

#[test]
fn more_than_the_window_ends_the_connection_or_the_stream() {
    let (mut client, mut state) = (client(), server(terms(10, 70_000, 100_000)));
    let part = |stream| frame(kind::DATA, 0, stream, &[0; 15_000]);
    for _ in 0..3 {
        open(&mut client, false);
    }
    receive(&mut state, &take(&mut client));
    (0..5).for_each(|_| drop(receive(&mut state, &part(1))));
    assert_eq!(state.ended(), None);
    // What nobody reads any more is given back, and is no reason to hold up others.
    let said: Vec<_> = said(&mut state).iter().map(|(h, p)| (h.kind, h.stream, p[3])).collect();
    assert_eq!(said[..2], [(kind::WINDOW_UPDATE, 0, 96), (kind::RST_STREAM, 1, 3)]);
    (0..4).for_each(|_| drop(receive(&mut state, &part(3))));
    receive(&mut state, &part(5));
    assert_eq!(state.ended(), None);
    receive(&mut state, &part(5));
    assert_eq!(state.ended(), Some(Ended::Failed(ErrorCode::FLOW_CONTROL_ERROR)));
}

#[test]
fn a_client_is_refused_streams_above_the_limit() {
    let (mut client, mut server) = (client(), server(terms(2, BIG, BIG)));
    let slots: Vec<u32> = (0..3).map(|_| open(&mut client, true)).collect();
    let begun = receive(&mut server, &take(&mut client));
    assert_eq!(begun.0.len(), 2);
    receive(&mut client, &take(&mut server));
    assert_eq!(client.poll_over(&cx(), slots[2]), Poll::Ready(StreamEnd::Unprocessed));
    assert_eq!(client.poll_over(&cx(), slots[1]), Poll::Pending);
    server.close(begun.0[0].0);
    open(&mut client, true);
    assert_eq!(receive(&mut server, &take(&mut client)).0.len(), 1);
}

/// A client that has not heard of the limit yet sends bodies on streams that are refused.
#[test]
fn bodies_on_streams_that_were_refused_are_no_flood() {
    let (mut client, mut server) = (client(), server(terms(100, BIG, BIG)));
    for _ in 0..300 {
        open(&mut client, false);
    }
    let begun = receive(&mut server, &take(&mut client));
    assert_eq!(begun.0.len(), 100);
    for n in 100..300 {
        let part = frame(kind::DATA, 0, 2 * n + 1, &[0; 100]);
        receive(&mut server, &part.repeat(20));
        // Node says so too.
        receive(&mut server, &frame(kind::RST_STREAM, 0, 2 * n + 1, &8_u32.to_be_bytes()));
    }
    assert_eq!(server.ended(), None);
}

#[test]
fn a_server_that_ends_takes_what_is_under_way_already() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    open(&mut client, true);
    let mut begun = receive(&mut server, &take(&mut client)).0;
    server.announce_end();
    let goodbye = take(&mut server);
    // This one has crossed it.
    open(&mut client, true);
    begun.extend(receive(&mut server, &take(&mut client)).0);
    assert_eq!(begun.len(), 2);
    receive(&mut client, &goodbye);
    assert!(!client.is_open() && client.open().is_none());
    receive(&mut server, &take(&mut client));
    let last = said(&mut server).pop().unwrap();
    assert_eq!((last.0.kind, frames::number(&last.1)), (kind::GOAWAY, Some(3)));
    // And this one comes too late: it is neither looked at nor an error.
    receive(&mut server, &frame(kind::HEADERS, 5, 5, b"\x82\x84\x86"));
    assert_eq!((server.ended(), server.streams()), (None, 2));
    for (slot, ..) in begun {
        assert!(!server.is_done());
        answer(&mut server, slot, true);
        server.close(slot);
    }
    assert!(server.is_done());
}

#[test]
fn a_server_that_goes_away_says_what_it_has_not_looked_at() {
    let mut client = client();
    let slots: Vec<u32> = (0..3).map(|_| open(&mut client, true)).collect();
    receive(&mut client, &frame(kind::GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0]));
    let over: Vec<_> = slots.iter().map(|slot| client.poll_over(&cx(), *slot)).collect();
    assert_eq!(over, [Poll::Pending, Poll::Pending, Poll::Ready(StreamEnd::Unprocessed)]);
    client.lose();
    let lost = StreamEnd::Connection(Ended::Lost);
    assert_eq!(client.poll_over(&cx(), slots[0]), Poll::Ready(lost));
}

#[test]
fn what_is_no_response_spoils_its_stream_alone() {
    let mut client = client();
    let rows: &[(&[u8], ResponseFault)] = &[
        (b"\x00\x01a\x01b", ResponseFault::StatusLine),
        (b"\x88\x88", ResponseFault::Field),
        (b"\x08\x0299", ResponseFault::Status),
        (b"\x08\x03099", ResponseFault::Status),
        (b"\x08\x03101", ResponseFault::Status),
        (b"\x88\x00\x01A\x01b", ResponseFault::Field),
        (b"\x88\x00\x0aconnection\x05close", ResponseFault::Field),
        (b"\x88\x82", ResponseFault::Field),
    ];
    for (block, fault) in rows {
        let slot = open(&mut client, true);
        let id = client.slots[slot as usize].id;
        receive(&mut client, &frame(kind::HEADERS, 5, id, block));
        assert_eq!(
            client.poll_over(&cx(), slot),
            Poll::Ready(StreamEnd::Invalid(*fault)),
            "{block:x?}"
        );
        client.close(slot);
    }
    let slot = open(&mut client, true);
    let id = client.slots[slot as usize].id;
    for _ in 0..20 {
        receive(&mut client, &frame(kind::HEADERS, 4, id, b"\x08\x03103"));
    }
    assert_eq!(
        client.poll_over(&cx(), slot),
        Poll::Ready(StreamEnd::Invalid(ResponseFault::Status)),
        "too many of them"
    );
    assert_eq!(client.ended(), None);
}

#[test]
fn w4_a_setting_that_is_said_twice_is_applied_once() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    open(&mut client, true);
    let slot = receive(&mut server, &take(&mut client)).0[0].0;
    let setting = |window: u32| [&[0, 4][..], &window.to_be_bytes()].concat();
    // Applied one after the other, the window would have been too large in between.
    receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 1, &1000_u32.to_be_bytes()));
    let twice = [setting(frames::LARGEST), setting(0)].concat();
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &twice));
    assert_eq!(server.ended(), None);
    assert_eq!(server.poll_data(&cx(), slot, &[0; 5000]).map(Result::unwrap), Poll::Ready(1000));
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &setting(1).repeat(33)));
    assert_eq!(server.ended(), Some(Ended::Failed(ErrorCode::ENHANCE_YOUR_CALM)));
}

#[test]
fn w5_streams_that_stand_still_leave_the_others_their_windows() {
    // As `server::streams` has it, for four streams.
    let window = frames::WINDOW;
    let growth = 300_000;
    let all = 4 * window + growth + SLACK;
    let terms = H2Config { stream_window_most: 4 * window, growth, ..terms(4, window, all) };
    let (mut client, mut server) = (client(), server(terms));
    for _ in 0..4 {
        open(&mut client, false);
    }
    let begun = receive(&mut server, &take(&mut client)).0;
    let mut sent = 0;
    let mut taken = 0;
    // The first one is taken for a while, until its window has grown as far as it may, and then
    // stands still.
    let mut windows = [window, window, window, window];
    while windows[0] > 0 {
        let n = windows[0].min(16_384);
        receive(&mut server, &frame(kind::DATA, 0, 1, &vec![0; n as usize]));
        windows[0] -= n;
        sent += n;
        let mut data = Vec::new();
        if taken < 1_000_000 && server.poll_body(&cx(), begun[0].0, &mut data).is_ready() {
            taken += data.len();
            server.taken(begun[0].0, data.len());
        }
        for (head, payload) in said(&mut server) {
            if head.kind == kind::WINDOW_UPDATE && head.stream == 1 {
                windows[0] += frames::number(&payload).unwrap();
            }
        }
        assert_eq!(server.ended(), None);
    }
    assert!(sent - u32::try_from(taken).unwrap() > 3 * window, "its window has grown");
    // All others may still send as much as they were promised, and nothing of it is taken.
    for stream in [3, 5, 7] {
        for _ in 0..4 {
            receive(&mut server, &frame(kind::DATA, 0, stream, &[0; 16_383]));
        }
        assert_eq!(server.ended(), None, "{stream}");
    }
    assert!(of_stream(&said(&mut server), 3).is_empty());
    // What is held is no more than was said.
    let held: usize = server.slots.iter().map(|slot| slot.data.len()).sum();
    assert!(held <= all as usize, "{held}");
    // A window that had grown is there for others once its stream is gone.
    assert_eq!(server.growth, growth - 3 * window);
    begun.iter().for_each(|(slot, ..)| server.close(*slot));
    assert_eq!(server.growth, growth);
}

/// Returns what a connection holds beside its streams, in bytes.
fn held(state: &State) -> usize {
    let slots: usize = state.slots.iter().map(|slot| slot.data.capacity()).sum();
    let lists = state.slots.capacity() * size_of::<StreamSlot>() + state.ids.capacity() * 8;
    let scratch = state.block.capacity() + state.text.capacity() + state.cookie.capacity();
    slots + lists + scratch + state.out.capacity() + state.decoder.held() + state.encoder.held()
}

#[test]
fn w6_an_idle_connection_keeps_nothing_of_a_large_head() {
    let (mut client, mut server) = (client(), server(terms(100, BIG, BIG)));
    let mut begun = Vec::new();
    for _ in 0..100 {
        let slot = client.open().unwrap();
        client.put_head(slot, true, &mut |encoder, out| {
            encoder.put_pseudo(out, Pseudo::Method, b"GET");
            encoder.put_pseudo(out, Pseudo::Scheme, b"http");
            encoder.put_pseudo(out, Pseudo::Path, b"/");
            encoder.put_pseudo(out, Pseudo::Authority, b"a.test");
            encoder.field(out, b"cookie", &[b'c'; 29_000], Known::Cookie);
        });
        begun.extend(receive(&mut server, &take(&mut client)).0);
        assert_eq!(begun.last().unwrap().2, None);
    }
    for (slot, ..) in &begun {
        answer(&mut server, *slot, true);
    }
    take(&mut server);
    begun.iter().for_each(|(slot, ..)| server.close(*slot));
    (0..100).for_each(|slot| client.close(slot));
    take(&mut client);
    for (name, state) in [("server", &server), ("client", &client)] {
        assert!(held(state) < 24 * 1024, "{name}: {} bytes", held(state));
    }
}

#[test]
fn a_response_that_was_whole_stays_whole_whatever_comes_after_it() {
    type After<'a> = &'a dyn Fn(&mut State, u32);
    let mut client = client();
    let rows: [After<'_>; 3] = [
        // RFC 9113 §8.1: the rest of the request is not wanted.
        &|client, id| drop(receive(client, &frame(kind::RST_STREAM, 0, id, &[0; 4]))),
        &|client, id| drop(receive(client, &frame(kind::RST_STREAM, 0, id, &[0, 0, 0, 8]))),
        &|client, _| client.lose(),
    ];
    for after in rows {
        let slot = open(&mut client, false);
        let id = client.slots[slot as usize].id;
        let whole = [frame(kind::HEADERS, 4, id, b"\x88"), frame(kind::DATA, 1, id, b"whole")];
        receive(&mut client, &whole.concat());
        after(&mut client, id);
        let mut data = Vec::new();
        let taken = client.poll_body(&cx(), slot, &mut data);
        assert!(matches!(taken, Poll::Ready(Ok(Taken::Data))), "{taken:?}");
        assert_eq!(data, b"whole");
        let end = client.poll_body(&cx(), slot, &mut data);
        assert!(matches!(end, Poll::Ready(Ok(Taken::End(None)))), "{end:?}");
        assert!(client.finish(slot, None).is_err(), "nobody wants the rest");
        client.close(slot);
    }
}

/// A second later than before.
fn later() -> u64 {
    static NOW: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NOW.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// Windows are opened by a byte at a time, so that each byte is a frame (CVE-2019-9511).
#[test]
fn w13_a_body_that_is_had_byte_by_byte_is_a_flood() {
    let (mut client, mut server) = (client(), server(terms(10, BIG, BIG)));
    receive(&mut server, &frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    open(&mut client, true);
    let slot = receive(&mut server, &take(&mut client)).0[0].0;
    answer(&mut server, slot, false);
    let mut sent = 0;
    while server.ended().is_none() && sent < 10_000 {
        receive(&mut server, &frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]));
        sent += usize::from(server.poll_data(&cx(), slot, &[0; 100]).is_ready());
        take(&mut server);
    }
    assert_eq!(server.ended(), Some(Ended::Failed(ErrorCode::ENHANCE_YOUR_CALM)));
    // What is sent earns a frame for each KiB, this little too.
    assert!((990..1020).contains(&sent), "{sent}");
}

/// A body and where it is.
#[derive(Debug, Clone)]
struct Body {
    bytes: Vec<u8>,
    at: usize,
    done: bool,
}

/// Sends what may be sent of bodies, and takes what has come.
fn exchange(state: &mut State, bodies: &mut HashMap<u32, Body>, got: &mut HashMap<u32, Vec<u8>>) {
    let mut slots: Vec<u32> = bodies.keys().copied().collect();
    slots.sort_unstable();
    for slot in slots {
        let body = bodies.get_mut(&slot).unwrap();
        while body.at < body.bytes.len() {
            let Poll::Ready(sent) = state.poll_data(&cx(), slot, &body.bytes[body.at..]) else {
                break;
            };
            body.at += sent.unwrap();
        }
        if body.at == body.bytes.len() && !body.done {
            body.done = true;
            state.finish(slot, None).unwrap();
        }
        let mut data = Vec::new();
        while let Poll::Ready(Ok(Taken::Data)) = state.poll_body(&cx(), slot, &mut data) {
            got.entry(slot).or_default().extend_from_slice(&data);
            state.taken(slot, data.len());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Bodies of any length cross both ways over windows of any size, in pieces of any size, on
    /// many streams at once.
    #[test]
    fn two_sides_understand_each_other(
        sizes in prop::collection::vec((0_usize..200_000, 0_usize..200_000), 1..8),
        windows in (1_u32..100_000, 1_u32..100_000),
        piece in 1_usize..40_000,
    ) {
        let mut server = State::server(terms(100, windows.0, 2 * windows.0), later);
        let mut client = State::client(terms(0, windows.1, 2 * windows.1), 100, later);
        let body = |n: usize, salt: usize| Body {
            bytes: (0..n).map(|i| ((i * 31 + salt) % 251).to_le_bytes()[0]).collect(),
            at: 0,
            done: false,
        };
        let (mut up, mut down) = (HashMap::new(), HashMap::new());
        let (mut got_up, mut got_down) = (HashMap::new(), HashMap::new());
        let mut order = Vec::new();
        for (n, (sent, _)) in sizes.iter().enumerate() {
            let slot = open(&mut client, false);
            order.push(slot);
            up.insert(slot, body(*sent, n));
        }
        let mut taken = Vec::new();
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        // A window of one byte takes a round or two for each.
        for round in 0..1_000_000 {
            exchange(&mut client, &mut up, &mut got_down);
            exchange(&mut server, &mut down, &mut got_up);
            to_server.extend(take(&mut client));
            to_client.extend(take(&mut server));
            if to_server.is_empty() && to_client.is_empty() {
                prop_assert!(round > 0);
                break;
            }
            let mut begun = Begun::default();
            let n = to_server.len().min(piece + frames::HEAD + frames::MOST);
            let used = server.receive(&to_server[..n], &mut begun);
            to_server.drain(..used);
            let n = to_client.len().min(piece + frames::HEAD + frames::MOST);
            let used = client.receive(&to_client[..n], &mut Begun::default());
            to_client.drain(..used);
            for (slot, _, fault) in begun.0 {
                prop_assert_eq!(fault, None);
                down.insert(slot, body(sizes[taken.len()].1, 7 * taken.len()));
                taken.push(slot);
                answer(&mut server, slot, false);
            }
            prop_assert_eq!((server.ended(), client.ended()), (None, None));
        }
        for (n, (sent, answered)) in sizes.iter().enumerate() {
            let mut head = ResponseHead::default();
            prop_assert_eq!(client.poll_head(&cx(), order[n], &mut head), Poll::Ready(Ok(())));
            let up = got_up.remove(&taken[n]).unwrap_or_default();
            prop_assert_eq!(up, body(*sent, n).bytes);
            let down = got_down.remove(&order[n]).unwrap_or_default();
            prop_assert_eq!(down, body(*answered, 7 * n).bytes);
            prop_assert!(server.is_taken(taken[n]) && client.is_taken(order[n]));
            server.close(taken[n]);
            client.close(order[n]);
        }
        prop_assert_eq!((server.streams(), client.streams()), (0, 0));
        prop_assert!(take(&mut server).is_empty() && take(&mut client).is_empty());
    }
}
