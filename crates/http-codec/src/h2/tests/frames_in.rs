//! Frames that come in: which are taken, which are charged, and which end a stream or the
//! connection.

use super::*;
use crate::h2::Taken;

/// `GET /` and `POST /` of a.test, compressed.
const GET: &[u8] = b"\x82\x86\x84\x41\x06a.test";
const POST: &[u8] = b"\x83\x86\x84\x41\x06a.test";
/// The same with a length of five bytes.
const FIVE: &[u8] = b"\x83\x86\x84\x41\x06a.test\x0f\x0d\x015";

const WHOLE: u8 = flag::END_HEADERS | flag::END_STREAM;
const CALM: Option<Ended> = Some(Ended::Failed(ErrorCode::ENHANCE_YOUR_CALM));
const PROTOCOL: Option<Ended> = Some(Ended::Failed(ErrorCode::PROTOCOL_ERROR));
const SIZE: Option<Ended> = Some(Ended::Failed(ErrorCode::FRAME_SIZE_ERROR));
const FLOW: Option<Ended> = Some(Ended::Failed(ErrorCode::FLOW_CONTROL_ERROR));

fn fresh() -> State {
    server(terms(10, BIG, BIG))
}

/// The end that a connection comes to by these bytes.
fn ended(bytes: &[u8]) -> Option<Ended> {
    let mut state = fresh();
    receive(&mut state, bytes);
    state.ended()
}

fn headers(flags: u8, stream: u32, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

/// A frame's head alone.
fn head_of(length: usize, kind: u8, flags: u8, stream: u32) -> Vec<u8> {
    let mut bytes = frame(kind, flags, stream, &[]);
    bytes[..3].copy_from_slice(&u32::try_from(length).unwrap().to_be_bytes()[1..]);
    bytes
}

fn taken(state: &mut State, slot: u32) -> Vec<u8> {
    let mut data = Vec::new();
    match state.poll_body(&cx(), slot, &mut data) {
        Poll::Ready(Ok(Taken::Data)) => data,
        other => panic!("{other:?}"),
    }
}

/// The streams that were reset, and why.
fn resets(state: &mut State) -> Vec<(u32, u32)> {
    let all = said(state);
    let all = all.iter().filter(|(head, _)| head.kind == kind::RST_STREAM);
    all.map(|(head, payload)| (head.stream, frames::number(payload).unwrap())).collect()
}

#[test]
fn a_connection_may_come_byte_by_byte() {
    let mut state = State::server(terms(10, BIG, BIG), || 0);
    let padded = [&[10][..], b"hi", &[0; 10]].concat();
    let bytes = [
        frames::PREFACE,
        &frame(kind::SETTINGS, 0, 0, &[]),
        &headers(flag::END_HEADERS, 1, POST),
        &frame(kind::DATA, flag::PADDED, 1, &padded),
        &frame(kind::DATA, flag::PADDED | flag::END_STREAM, 1, &[3, 0, 0, 0]),
        &frame(kind::PING, 0, 0, b"whatever"),
    ]
    .concat();
    let (mut begun, mut from) = (Begun::default(), 0);
    for to in 1..=bytes.len() {
        let used = state.receive(&bytes[from..to], &mut begun);
        assert!(used <= to - from, "{used} of {}", to - from);
        from += used;
    }
    assert_eq!((from, state.ended(), begun.0.len()), (bytes.len(), None, 1));
    let last = said(&mut state).pop().unwrap();
    assert_eq!((last.0.kind, last.0.flags, &last.1[..]), (kind::PING, flag::ACK, &b"whatever"[..]));
    assert_eq!(taken(&mut state, begun.0[0].0), b"hi");
    let end = state.poll_body(&cx(), begun.0[0].0, &mut Vec::new());
    assert!(matches!(end, Poll::Ready(Ok(Taken::End(None)))), "{end:?}");
}

#[test]
fn the_first_frame_is_settings() {
    let ended = |frame: &[u8]| {
        let mut state = State::server(terms(10, BIG, BIG), || 0);
        receive(&mut state, &[frames::PREFACE, frame].concat());
        state.ended()
    };
    assert_eq!(ended(&frame(kind::SETTINGS, 0, 0, &[])), None);
    assert_eq!(ended(&frame(kind::SETTINGS, flag::ACK, 0, &[])), PROTOCOL);
    assert_eq!(ended(&frame(kind::PING, 0, 0, &[0; 8])), PROTOCOL);
    assert_eq!(ended(&frame(kind::DATA, 0, 1, &[])), PROTOCOL);
}

#[test]
fn no_frame_is_larger_than_was_agreed_on() {
    for kind in [kind::DATA, kind::HEADERS, kind::SETTINGS, 77] {
        assert_eq!(ended(&head_of(16_385, kind, 0, 1)), SIZE, "{kind}");
    }
    let mut waits = fresh();
    receive_part(&mut waits, &head_of(16_384, kind::HEADERS, 0, 1));
    assert_eq!(waits.ended(), None);
    assert_eq!(ended(&frame(77, 0, 1, &[0; 16_384])), None);
    assert_eq!(ended(&[headers(4, 1, POST), frame(kind::DATA, 0, 1, &[0; 16_384])].concat()), None);
}

#[test]
fn nothing_comes_between_the_parts_of_a_head() {
    let begun = headers(flag::END_STREAM, 1, &GET[..4]);
    let ended = |next: &[u8]| ended(&[&begun[..], next].concat());
    assert_eq!(ended(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, &GET[4..])), None);
    assert_eq!(ended(&frame(kind::CONTINUATION, flag::END_HEADERS, 3, &GET[4..])), PROTOCOL);
    assert_eq!(ended(&headers(WHOLE, 1, GET)), PROTOCOL);
    assert_eq!(ended(&frame(kind::DATA, 0, 1, &[])), PROTOCOL);
    assert_eq!(ended(&frame(kind::PING, 0, 0, &[0; 8])), PROTOCOL);
}

#[test]
fn a_head_in_parts_is_the_same_head() {
    let mut state = fresh();
    let [a, b, c] = [&GET[..2], &GET[2..5], &GET[5..]];
    let part = |flags, part| frame(kind::CONTINUATION, flags, 1, part);
    let frames = [headers(flag::END_STREAM, 1, a), part(0, b), part(flag::END_HEADERS, c)];
    let begun = receive(&mut state, &frames.concat());
    assert_eq!(begun.0, [(0, "/".to_owned(), None)]);
    let end = state.poll_body(&cx(), 0, &mut Vec::new());
    assert!(matches!(end, Poll::Ready(Ok(Taken::End(None)))), "{end:?}");
}

#[test]
fn a_head_in_parts_is_no_longer_than_it_may_be() {
    // 32 KiB, and 16 KiB more.
    let part = |length| frame(kind::CONTINUATION, 0, 1, &vec![0; length]);
    let full = [headers(0, 1, &[0; 16_384]), part(16_384), part(16_384)].concat();
    assert_eq!(ended(&full), None);
    assert_eq!(ended(&[full, part(1)].concat()), CALM);
    let begun = headers(0, 1, &[]);
    assert_eq!(ended(&[begun.clone(), part(1).repeat(64)].concat()), None);
    assert_eq!(ended(&[begun, part(1).repeat(65)].concat()), CALM);
}

#[test]
fn frames_that_belong_nowhere_end_the_connection() {
    let get = headers(WHOLE, 5, GET);
    let number = 8_u32.to_be_bytes();
    for (frame, end) in [
        (headers(WHOLE, 2, GET), PROTOCOL),
        (headers(WHOLE, 0, GET), PROTOCOL),
        (headers(WHOLE | flag::PADDED, 7, &[9, 0, 0]), PROTOCOL),
        (headers(WHOLE | flag::PRIORITY, 7, &[0, 0, 0, 1]), SIZE),
        (headers(WHOLE | flag::PRIORITY, 7, &[0, 0, 0, 7, 0, 0x82]), PROTOCOL),
        (frame(kind::DATA, 0, 7, &[]), PROTOCOL),
        (frame(kind::DATA, 0, 4, &[]), PROTOCOL),
        (frame(kind::DATA, 0, 0, &[]), PROTOCOL),
        (frame(kind::DATA, flag::PADDED, 5, &[]), SIZE),
        (frame(kind::DATA, flag::PADDED, 5, &[2, 0]), PROTOCOL),
        (frame(kind::RST_STREAM, 0, 7, &number), PROTOCOL),
        (frame(kind::RST_STREAM, 0, 4, &number), PROTOCOL),
        (frame(kind::WINDOW_UPDATE, 0, 7, &number), PROTOCOL),
        (frame(kind::PUSH_PROMISE, 4, 5, &number), PROTOCOL),
        (frame(kind::CONTINUATION, 4, 5, GET), PROTOCOL),
    ] {
        assert_eq!(ended(&[&get[..], &frame].concat()), end, "{frame:?}");
    }
    // One that the client leaves out is closed, and not idle.
    let closed = Some(Ended::Failed(ErrorCode::STREAM_CLOSED));
    assert_eq!(ended(&[get.clone(), headers(WHOLE, 3, GET)].concat()), closed);
    let priority = [&[0x80, 0, 0, 5, 16][..], GET].concat();
    let all = [get, headers(WHOLE | flag::PRIORITY, 7, &priority), headers(WHOLE, 9, GET)].concat();
    assert_eq!(receive(&mut fresh(), &all).0.len(), 3);
}

#[test]
fn what_a_client_sends_on_a_stream_that_it_ended_resets_that() {
    for late in [frame(kind::DATA, 0, 1, b"late"), headers(WHOLE, 1, b"\x00\x01a\x01b")] {
        let mut state = fresh();
        receive(&mut state, &[headers(WHOLE, 1, GET), late].concat());
        assert_eq!((state.ended(), resets(&mut state)), (None, vec![(1, 5)]));
        assert_eq!(state.poll_over(&cx(), 0), Poll::Ready(StreamEnd::Cancelled));
        receive(&mut state, &frame(kind::DATA, 0, 1, b"later"));
        assert_eq!((state.ended(), resets(&mut state)), (None, vec![]));
    }
    // One that it has broken off is over already, and it is told all the same.
    let mut state = fresh();
    let cancel = frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]);
    let late = frame(kind::DATA, 0, 1, b"late");
    receive(&mut state, &[headers(flag::END_HEADERS, 1, POST), cancel, late].concat());
    assert_eq!((state.ended(), resets(&mut state)), (None, vec![(1, 5)]));
    assert_eq!(state.poll_over(&cx(), 0), Poll::Ready(StreamEnd::Reset(ErrorCode::CANCEL)));
}

#[test]
fn frames_that_ask_for_nothing_are_taken_a_thousand_times() {
    // One of a thousand is the SETTINGS that each connection begins with. Of streams that come to
    // nothing there may be a hundred.
    let begun = headers(flag::END_HEADERS, 1, POST);
    let cancelled = [&begun[..], &frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])].concat();
    let rows = [
        (vec![], frame(77, 0, 0, &[]), 999),
        (begun.clone(), frame(kind::DATA, 0, 1, &[]), 999),
        (begun.clone(), frame(kind::DATA, flag::PADDED, 1, &[1, 0]), 999),
        (vec![], frame(kind::PRIORITY, 0, 3, &[0, 0, 0, 1, 0]), 999),
        (vec![], frame(kind::PING, 0, 0, &[0; 8]), 999),
        (cancelled.clone(), frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]), 99),
    ];
    for (first, frame, times) in rows {
        assert_eq!(ended(&[&first[..], &frame.repeat(times)].concat()), None, "{frame:?}");
        assert_eq!(ended(&[&first[..], &frame.repeat(times + 1)].concat()), CALM, "{frame:?}");
    }
    // These ask for something.
    assert_eq!(ended(&[&begun[..], &frame(kind::DATA, 0, 1, b"a").repeat(3000)].concat()), None);
    let whole =
        |n: u32| [headers(4, 2 * n + 1, POST), frame(kind::DATA, 1, 2 * n + 1, &[])].concat();
    let mut state = server(terms(5000, BIG, BIG));
    receive(&mut state, &(0..3000).flat_map(whole).collect::<Vec<u8>>());
    assert_eq!((state.ended(), state.streams()), (None, 3000));
}

#[test]
fn a_body_is_as_long_as_its_head_says() {
    let body = |frames: &[Vec<u8>]| {
        let mut state = fresh();
        receive(&mut state, &[headers(flag::END_HEADERS, 1, FIVE), frames.concat()].concat());
        let mut data = Vec::new();
        let first = state.poll_body(&cx(), 0, &mut data);
        assert_eq!(state.ended(), None);
        match first {
            Poll::Ready(Ok(Taken::Data)) => Ok(data.len()),
            Poll::Ready(Err(end)) => Err(end),
            other => panic!("{other:?}"),
        }
    };
    let data = |flags, bytes: &[u8]| frame(kind::DATA, flags, 1, bytes);
    let wrong = Err(StreamEnd::Malformed(Fault::ContentLength));
    assert_eq!(body(&[data(1, b"12345")]), Ok(5));
    assert_eq!(body(&[data(0, b"123"), data(1, b"45")]), Ok(5));
    assert_eq!(body(&[data(1 | flag::PADDED, b"\x0212345\0\0")]), Ok(5));
    assert_eq!(body(&[data(0, b"12345")]), Ok(5));
    assert_eq!(body(&[data(1, b"1234")]), wrong);
    assert_eq!(body(&[data(0, b"123456")]), wrong);
    assert_eq!(body(&[data(0, b"123"), data(0, b"456")]), wrong);
    assert_eq!(body(&[data(0, b"123"), headers(WHOLE, 1, b"\x00\x01a\x01b")]), wrong);
    assert_eq!(
        body(&[data(0, b"12345"), headers(4, 1, b"\x00\x01a\x01b")]),
        Err(StreamEnd::Malformed(Fault::Trailer))
    );
}

#[test]
fn windows_are_full_to_the_last_byte() {
    let part = |stream, n: usize| frame(kind::DATA, 0, stream, &vec![0; n]);
    let begun = || {
        let mut state = server(terms(10, 70_000, 100_000));
        let both = [headers(flag::END_HEADERS, 1, POST), headers(flag::END_HEADERS, 3, POST)];
        receive(&mut state, &both.concat());
        state
    };
    let mut state = begun();
    receive(&mut state, &[part(1, 10_000).repeat(7), part(3, 10_000).repeat(3)].concat());
    assert_eq!((state.ended(), resets(&mut state)), (None, vec![]));
    receive(&mut state, &part(3, 1));
    assert_eq!(state.ended(), FLOW);
    let mut state = begun();
    receive(&mut state, &[part(1, 10_000).repeat(7), part(1, 1)].concat());
    assert_eq!((state.ended(), resets(&mut state)), (None, vec![(1, 3)]));
}

#[test]
fn a_response_begins_with_its_head() {
    let mut client = client();
    let (early, late) = (open(&mut client, true), open(&mut client, true));
    receive(&mut client, &frame(kind::DATA, 0, 1, b"early"));
    let fault = StreamEnd::Invalid(ResponseFault::StatusLine);
    assert_eq!(client.poll_over(&cx(), early), Poll::Ready(fault));
    assert!(resets(&mut client).contains(&(1, 1)));
    receive(&mut client, &headers(flag::END_HEADERS, 3, b"\x88"));
    receive(&mut client, &frame(kind::DATA, 1, 3, b"body"));
    assert_eq!(taken(&mut client, late), b"body");
    assert_eq!((client.ended(), resets(&mut client)), (None, vec![]));
}

#[test]
fn sixteen_informational_responses_may_wait() {
    let mut client = client();
    let slot = open(&mut client, true);
    let interim = headers(flag::END_HEADERS, 1, b"\x08\x03103");
    receive(&mut client, &interim.repeat(16));
    assert_eq!(client.poll_over(&cx(), slot), Poll::Pending);
    let mut head = ResponseHead::default();
    assert_eq!(client.poll_head(&cx(), slot, &mut head), Poll::Ready(Ok(())));
    assert_eq!(head.status, 103);
    receive(&mut client, &interim);
    assert_eq!(client.poll_over(&cx(), slot), Poll::Pending);
    receive(&mut client, &interim);
    let fault = StreamEnd::Invalid(ResponseFault::Status);
    assert_eq!(client.poll_over(&cx(), slot), Poll::Ready(fault));
}

/// Those that are gone for the client but still have to be told so count half.
#[test]
fn streams_that_were_reset_count_until_the_client_knows() {
    let mut state = server(terms(2, BIG, BIG));
    let begun = |state: &mut State, id| receive(state, &headers(WHOLE, id, GET)).0.len();
    assert_eq!((begun(&mut state, 1), begun(&mut state, 3), begun(&mut state, 5)), (1, 1, 0));
    assert_eq!(resets(&mut state), [(5, 7)]);
    receive(&mut state, &frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8]));
    assert_eq!((begun(&mut state, 7), begun(&mut state, 9)), (1, 0));
    receive(&mut state, &frame(kind::RST_STREAM, 0, 3, &[0, 0, 0, 8]));
    assert_eq!((begun(&mut state, 11), begun(&mut state, 13)), (1, 0));
    // Twice as many as there may be are too many, whatever became of them.
    receive(&mut state, &frame(kind::RST_STREAM, 0, 7, &[0, 0, 0, 8]));
    assert_eq!(begun(&mut state, 15), 0);
}

#[test]
fn the_windows_are_told() {
    let mut state = server(terms(10, 40_000, 70_000));
    assert_eq!(state.windows(), (65_535, 70_000, 0, 70_000));
    let body = frame(kind::DATA, flag::PADDED, 1, &[&[2][..], b"12345", &[0; 2]].concat());
    receive(&mut state, &[headers(flag::END_HEADERS, 1, POST), body].concat());
    assert_eq!(state.windows(), (65_535, 69_992, 3, 70_000));
    receive(&mut state, &frame(kind::WINDOW_UPDATE, 0, 0, &7_u32.to_be_bytes()));
    assert_eq!(state.windows(), (65_542, 69_992, 3, 70_000));
    assert_eq!(server(terms(10, 40_000, 1000)).windows(), (65_535, 65_535, 0, 65_535));
}

#[test]
fn settings_are_taken_up_to_the_most_that_they_may_say() {
    let window = |n: u32| frame(kind::SETTINGS, 0, 0, &[&[0, 4][..], &n.to_be_bytes()].concat());
    let many = |n| frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 1].repeat(n));
    assert_eq!((ended(&many(32)), ended(&many(33))), (None, CALM));
    assert_eq!((ended(&window(0x7fff_ffff)), ended(&window(0x8000_0000))), (None, FLOW));
    // A stream that has been told of one byte more has that much less to come.
    let more = frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]);
    let begun = [headers(WHOLE, 1, GET), more].concat();
    assert_eq!(ended(&[&begun[..], &window(0x7fff_fffe)].concat()), None);
    assert_eq!(ended(&[&begun[..], &window(0x7fff_ffff)].concat()), FLOW);
}

#[test]
fn a_window_is_opened_again_once_half_of_it_has_been_taken() {
    let mut state = server(terms(10, 40_000, 100_000));
    receive(&mut state, &headers(flag::END_HEADERS, 1, POST));
    let mut opened = |bytes: usize| {
        receive(&mut state, &frame(kind::DATA, 0, 1, &vec![0; bytes]));
        assert_eq!(taken(&mut state, 0).len(), bytes);
        state.taken(0, bytes);
        let all = said(&mut state);
        let windows = all.iter().filter(|(head, _)| head.kind == kind::WINDOW_UPDATE);
        let windows = windows.map(|(head, more)| (head.stream, frames::number(more).unwrap()));
        windows.collect::<Vec<_>>()
    };
    assert_eq!([opened(10_000), opened(9_999)], [vec![], vec![]]);
    assert_eq!(opened(1), [(1, 20_000)]);
    assert_eq!([opened(10_000), opened(9_999)], [vec![], vec![]]);
    // Half of the connection's is 50 000.
    assert_eq!(opened(10_001), [(0, 50_000), (1, 30_000)]);
}
