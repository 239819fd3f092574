use std::task::Waker;

use super::*;
use crate::h2::state::H2Config;
use crate::net::Mismatch;
use crate::wire::frames::{flag, kind};
use crate::wire::request::Limits;

/// The kinds and flags of the frames of a stream that has announced such a body, been given this
/// one, ended and been dropped; and whether the end was taken.
fn written(coding: BodyFraming, body: &[u8]) -> (Vec<(u8, u8)>, bool) {
    let terms = H2Config {
        streams: 0,
        stream_window: 1000,
        stream_window_most: 1000,
        growth: 0,
        connection_window: 1 << 20,
        head: Limits::default(),
    };
    let shared: SharedConnection = Rc::new(RefCell::new(State::client(terms, 100, || 0)));
    let slot = shared.borrow_mut().open().unwrap();
    let mut handle = Handle::new(shared.clone(), slot);
    handle.send_head(coding, false, &mut |_| {});
    let cx = Context::from_waker(Waker::noop());
    let ended = match handle.poll_write(&cx, body) {
        Poll::Ready(Ok(n)) => {
            assert_eq!(n, body.len());
            handle.finish_message(None)
        }
        Poll::Ready(Err(error)) => Err(error),
        Poll::Pending => panic!("there is room"),
    };
    let ended = ended.inspect_err(|error| assert!(Mismatch::is_cause_of(error))).is_ok();
    drop(handle);
    let bytes = shared.borrow().unsent().to_vec();
    let mut rest = bytes.strip_prefix(frames::PREFACE).unwrap();
    let mut seen = Vec::new();
    while let Some(head) = frames::FrameHead::read(rest) {
        rest = &rest[frames::HEAD + head.length..];
        if head.stream > 0 {
            seen.push((head.kind, head.flags & flag::END_STREAM));
        }
    }
    (seen, ended)
}

#[test]
fn s1_a_stream_ends_with_exactly_what_was_announced() {
    const HEAD: (u8, u8) = (kind::HEADERS, 0);
    const ENDS: (u8, u8) = (kind::DATA, flag::END_STREAM);
    const CUT: (u8, u8) = (kind::RST_STREAM, 0);
    // What has ended is dropped before its answer has.
    let whole = (vec![HEAD, ENDS, CUT], true);
    for coding in [BodyFraming::Exactly(4), BodyFraming::Chunked, BodyFraming::UntilClose] {
        assert_eq!(written(coding, b"four"), whole, "{coding:?}");
    }
    assert_eq!(written(BodyFraming::Exactly(43), b""), (vec![HEAD, CUT], false));
    assert_eq!(
        written(BodyFraming::Exactly(5), b"four"),
        (vec![HEAD, (kind::DATA, 0), CUT], false)
    );
    assert_eq!(written(BodyFraming::Exactly(3), b"four"), (vec![HEAD, CUT], false));
    assert_eq!(written(BodyFraming::Exactly(0), b"four"), (vec![HEAD, CUT], false));
}
