//! Frames that are no part of a message: their lengths, their streams, and what they may say.

use super::*;

const GET: &[u8] = b"\x82\x86\x84\x41\x06a.test";
const PROTOCOL: Option<Ended> = Some(Ended::Failed(ErrorCode::PROTOCOL_ERROR));
const SIZE: Option<Ended> = Some(Ended::Failed(ErrorCode::FRAME_SIZE_ERROR));
const FLOW: Option<Ended> = Some(Ended::Failed(ErrorCode::FLOW_CONTROL_ERROR));

/// A server that has been asked for something on stream 1.
fn asked() -> State {
    let mut state = server(terms(10, BIG, BIG));
    receive(&mut state, &frame(kind::HEADERS, 5, 1, GET));
    take(&mut state);
    state
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    frame(kind::SETTINGS, 0, 0, &[&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
}

fn more(stream: u32, n: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, 0, stream, &n.to_be_bytes())
}

#[test]
fn each_frame_has_its_length_and_its_stream() {
    let rows = [
        (kind::SETTINGS, 0, 0, 0, None),
        (kind::SETTINGS, 0, 1, 0, PROTOCOL),
        (kind::SETTINGS, 0, 0, 5, SIZE),
        (kind::SETTINGS, 0, 0, 7, SIZE),
        (kind::SETTINGS, flag::ACK, 0, 0, None),
        (kind::SETTINGS, flag::ACK, 0, 6, SIZE),
        (kind::PING, 0, 0, 8, None),
        (kind::PING, 0, 1, 8, PROTOCOL),
        (kind::PING, 0, 0, 7, SIZE),
        (kind::PING, 0, 0, 9, SIZE),
        (kind::GOAWAY, 0, 0, 8, None),
        (kind::GOAWAY, 0, 0, 20, None),
        (kind::GOAWAY, 0, 1, 8, PROTOCOL),
        (kind::GOAWAY, 0, 0, 7, SIZE),
        (kind::PRIORITY, 0, 1, 5, None),
        (kind::PRIORITY, 0, 0, 5, PROTOCOL),
        (kind::PRIORITY, 0, 1, 4, SIZE),
        (kind::PRIORITY, 0, 1, 6, SIZE),
        (kind::RST_STREAM, 0, 1, 4, None),
        (kind::RST_STREAM, 0, 1, 3, SIZE),
        (kind::RST_STREAM, 0, 1, 5, SIZE),
        (kind::RST_STREAM, 0, 0, 4, PROTOCOL),
        (kind::WINDOW_UPDATE, 0, 1, 3, SIZE),
        (kind::WINDOW_UPDATE, 0, 0, 5, SIZE),
    ];
    for (kind, flags, stream, length, end) in rows {
        let mut state = asked();
        receive(&mut state, &frame(kind, flags, stream, &vec![0; length]));
        assert_eq!(state.ended(), end, "{kind} {flags} on {stream} of {length}");
    }
}

#[test]
fn each_setting_has_its_values() {
    for (id, value, end) in [
        (2, 0, None),
        (2, 1, None),
        (2, 2, PROTOCOL),
        (5, 16_383, PROTOCOL),
        (5, 16_384, None),
        (5, 16_777_215, None),
        (5, 16_777_216, PROTOCOL),
        (8, 0, None),
        (8, 1, None),
        (8, 2, PROTOCOL),
        (99, u32::MAX, None),
    ] {
        let mut state = asked();
        receive(&mut state, &setting(id, value));
        assert_eq!(state.ended(), end, "{id}: {value}");
        assert_eq!(state.takes_tunnels(), (id, value) == (8, 1));
    }
    // A server has nothing to say of pushing, but that it does not.
    for (value, end) in [(0, None), (1, PROTOCOL)] {
        let mut client = client();
        receive(&mut client, &setting(2, value));
        assert_eq!(client.ended(), end, "{value}");
    }
    // Without a word about it any number of streams is allowed, and then as many as was said last.
    let mut client = State::client(terms(0, 1000, BIG), 100, || 0);
    assert_eq!((client.allowed(), client.has_settled()), (100, false));
    receive(&mut client, &setting(99, 0));
    assert_eq!((client.allowed(), client.has_settled()), (u32::MAX, true));
    receive(&mut client, &[setting(3, 7), setting(99, 0)].concat());
    assert_eq!(client.allowed(), 7);
}

#[test]
fn what_was_asked_is_answered_and_what_is_an_answer_is_not() {
    let mut state = asked();
    receive(&mut state, &[frame(kind::PING, 0, 0, b"12345678"), setting(99, 0)].concat());
    let answers: Vec<_> = said(&mut state).into_iter().map(|(h, p)| (h.kind, h.flags, p)).collect();
    let expected =
        [(kind::PING, flag::ACK, b"12345678".to_vec()), (kind::SETTINGS, flag::ACK, Vec::new())];
    assert_eq!(answers, expected);
    let answers =
        [frame(kind::PING, flag::ACK, 0, b"12345678"), frame(kind::SETTINGS, flag::ACK, 0, &[])];
    receive(&mut state, &answers.concat());
    // Nobody was told that it ends, so this says nothing.
    receive(&mut state, &frame(kind::PING, flag::ACK, 0, &GOODBYE));
    assert_eq!((said(&mut state), state.ended()), (vec![], None));
}

#[test]
fn windows_end_at_the_largest_number_there_is() {
    let rest = frames::LARGEST - frames::WINDOW;
    let after = |frames: &[Vec<u8>]| {
        let mut state = asked();
        receive(&mut state, &frames.concat());
        let resets = said(&mut state).into_iter().filter(|(head, _)| head.kind == kind::RST_STREAM);
        let resets = resets.map(|(head, code)| (head.stream, frames::number(&code).unwrap()));
        (state.ended(), resets.collect::<Vec<_>>())
    };
    assert_eq!(after(&[more(0, rest)]), (None, vec![]));
    assert_eq!(after(&[more(0, rest), more(0, 1)]).0, FLOW);
    assert_eq!(after(&[more(0, 0)]).0, PROTOCOL);
    // The first bit means nothing (RFC 9113 §6.9).
    assert_eq!(after(&[more(0, 0x8000_0000)]).0, PROTOCOL);
    assert_eq!(after(&[more(1, rest)]), (None, vec![]));
    assert_eq!(after(&[more(1, rest), more(1, 1)]), (None, vec![(1, 3)]));
    assert_eq!(after(&[more(1, 0)]), (None, vec![(1, 1)]));
}

#[test]
fn an_end_is_announced_once_and_not_behind_another_end() {
    let kinds = |state: &mut State| -> Vec<u8> {
        said(state).into_iter().map(|(head, _)| head.kind).collect()
    };
    let mut state = asked();
    state.announce_end();
    assert_eq!(kinds(&mut state), [kind::GOAWAY, kind::PING]);
    state.announce_end();
    assert_eq!(kinds(&mut state), []);
    receive(&mut state, &frame(kind::PING, flag::ACK, 0, &GOODBYE));
    assert_eq!(kinds(&mut state), [kind::GOAWAY]);
    state.announce_end();
    state.end_with_last();
    assert_eq!(kinds(&mut state), []);
    let mut failed = asked();
    receive(&mut failed, &frame(kind::PING, 0, 1, &[0; 8]));
    assert_eq!(kinds(&mut failed), [kind::GOAWAY]);
    failed.announce_end();
    failed.end_with_last();
    assert_eq!(kinds(&mut failed), []);
    // A client that goes begins no more streams, and says so once.
    let mut client = client();
    client.announce_end();
    client.announce_end();
    assert_eq!(kinds(&mut client), [kind::GOAWAY]);
    assert!(!client.is_open() && client.is_done());
}

#[test]
fn a_window_that_is_opened_by_little_at_a_time_is_a_flood() {
    for (bytes, end) in [(256, None), (255, Some(Ended::Failed(ErrorCode::ENHANCE_YOUR_CALM)))] {
        let mut state = asked();
        receive(&mut state, &setting(4, 0));
        answer(&mut state, 0, false);
        for _ in 0..3000 {
            receive(&mut state, &[more(1, bytes), more(0, bytes)].concat());
            let sent = state.poll_data(&cx(), 0, &[0; 1000]);
            assert!(state.ended().is_some() || sent.is_ready());
            take(&mut state);
        }
        assert_eq!(state.ended(), end, "{bytes}");
    }
}
