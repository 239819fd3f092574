use super::StreamEnd as End;
use super::StreamState::{self, Closed, HalfClosedLocal, HalfClosedRemote, Idle, Open};
use super::*;

const CLOSED: Misplaced = Misplaced::Connection(ErrorCode::STREAM_CLOSED);
const IDLE: Misplaced = Misplaced::Connection(ErrorCode::PROTOCOL_ERROR);

/// The table above, row by row: a state, whether a message may come and go, and what END_STREAM
/// makes of it.
#[test]
fn every_state_allows_what_the_table_says() {
    let whole = Closed(End::Complete);
    let reset = Closed(End::Reset(ErrorCode::CANCEL));
    let cancelled = Closed(End::Cancelled);
    type Row = (StreamState, Result<(), Misplaced>, bool, StreamState, StreamState);
    let rows: [Row; 9] = [
        (Idle, Err(IDLE), false, Idle, Idle),
        (Open, Ok(()), true, HalfClosedRemote, HalfClosedLocal),
        (HalfClosedLocal, Ok(()), false, whole, HalfClosedLocal),
        (HalfClosedRemote, Err(Misplaced::Stream), true, HalfClosedRemote, whole),
        (whole, Err(CLOSED), false, whole, whole),
        (reset, Err(Misplaced::Stream), false, reset, reset),
        (
            Closed(End::Stopped),
            Err(Misplaced::Stream),
            false,
            Closed(End::Stopped),
            Closed(End::Stopped),
        ),
        (cancelled, Err(Misplaced::Late), false, cancelled, cancelled),
        (
            Closed(End::Unprocessed),
            Err(Misplaced::Stream),
            false,
            Closed(End::Unprocessed),
            Closed(End::Unprocessed),
        ),
    ];
    for (state, receives, sends, received, sent) in rows {
        assert_eq!(state.check_receives(), receives, "{state:?}");
        assert_eq!(state.may_send(), sends, "{state:?}");
        let (mut in_ended, mut out_ended) = (state, state);
        in_ended.receive_end();
        out_ended.send_end();
        assert_eq!((in_ended, out_ended), (received, sent), "{state:?}");
    }
}

#[test]
fn the_first_end_counts() {
    let mut state = Open;
    assert!(state.close_stream(End::Cancelled));
    assert!(!state.close_stream(End::Reset(ErrorCode::CANCEL)));
    state.receive_end();
    assert_eq!(state, Closed(End::Cancelled));
    assert!(!state.is_received() && !state.is_sent());
}

#[test]
fn closed_streams_are_remembered_by_who_closed_them_and_only_so_many() {
    let mut closed = ClosedStreams::default();
    closed.note_closed(1, Closed(End::Complete));
    closed.note_closed(3, Closed(End::Cancelled));
    closed.note_closed(5, Closed(End::Reset(ErrorCode::CANCEL)));
    assert_eq!(closed.misplaced_part(1), CLOSED);
    assert_eq!(closed.misplaced_part(3), Misplaced::Late);
    assert_eq!(closed.misplaced_part(5), Misplaced::Stream);
    (0..10_000).for_each(|n| closed.note_reset(2 * n + 7));
    assert_eq!(closed.0.len(), REMEMBERED);
    assert_eq!(closed.misplaced_part(5), CLOSED);
    closed.release_memory();
    assert_eq!(closed.0.len(), 64);
    assert!(closed.0.capacity() < 128, "{}", closed.0.capacity());
    // Few are no reason to give memory back and ask for it again.
    let mut few = ClosedStreams::default();
    (0..20).for_each(|n| few.note_reset(2 * n + 1));
    let before = few.0.capacity();
    few.release_memory();
    assert!(before > 20 && few.0.capacity() == before, "{before} {}", few.0.capacity());
}
