//! A connection of HTTP/2, on either side: what it makes of bytes does not depend on how they
//! arrive, what it says is made of frames, and it keeps no more than it may.

use std::task::{Context, Poll, Waker};

use super::{Plan, show};
use http_codec::frames::{self, ErrorCode, FrameHead, flag, kind};
use http_codec::h2::{Accept, H2Config, State, Taken};
use http_codec::{Fault, RequestHead, ResponseHead};

const STREAM_WINDOW: u32 = 70_000;

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    // Nothing interesting begins with another preface.
    let hello = [frames::PREFACE, &[0, 0, 0, kind::SETTINGS, 0, 0, 0, 0, 0]].concat();
    let wire = [&hello, wire].concat();
    let expected = serve(&plan, &[&wire]);
    for feed in plan.feeds(&wire) {
        assert_eq!(serve(&plan, &feed), expected, "{} in {} pieces", show(&wire), feed.len());
    }
    let wire = wire.get(frames::PREFACE.len()..).unwrap_or_default();
    let expected = ask(&plan, &[wire]);
    for feed in plan.feeds(wire) {
        assert_eq!(ask(&plan, &feed), expected, "{} in {} pieces", show(wire), feed.len());
    }
}

fn terms(plan: &Plan) -> H2Config {
    let head = plan.limits;
    let bytes = head.bytes.min(1 << 20);
    let head = http_codec::request::Limits { bytes, ..head };
    let stream_window_most = 2 * STREAM_WINDOW;
    let growth = STREAM_WINDOW;
    H2Config {
        streams: 5,
        stream_window: STREAM_WINDOW,
        stream_window_most,
        growth,
        connection_window: 100_000,
        head,
    }
}

/// Streams that have begun.
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
        let fields: Vec<_> = head.fields.iter().map(|f| (show(f.name), show(f.value))).collect();
        let text = format!("{} {} {fields:?}", show(head.method()), show(head.target()));
        if fault.is_none() {
            let text = text.as_bytes();
            assert!(!text.contains(&b'\n') && !text.contains(&b'\r') && !text.contains(&0));
        }
        self.0.push((slot, text, fault));
    }
}

fn feed(state: &mut State, begun: &mut Begun, pieces: &[&[u8]]) {
    let mut kept: Vec<u8> = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let used = state.receive(&kept, begun);
            assert!(used <= kept.len());
            kept.drain(..used);
            if !state.take_paused() {
                break;
            }
        }
        assert!(state.ended().is_some() || kept.len() < frames::HEAD + frames::MOST);
    }
}

/// What a client's bytes lead to: streams, how the connection ended, and what it says.
fn serve(plan: &Plan, pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let mut state = State::server(terms(plan), || 0);
    let mut begun = Begun::default();
    feed(&mut state, &mut begun, pieces);
    let mut seen = vec![format!("{:?}", state.ended())];
    let cx = Context::from_waker(Waker::noop());
    for (slot, text, fault) in begun.0 {
        let body = drain(&mut state, &cx, slot);
        seen.push(format!("{slot} {text} {fault:?} {body}"));
        state.put_head(slot, false, &mut |encoder, out| encoder.status(out, 200));
        while let Poll::Ready(Ok(n)) = state.poll_data(&cx, slot, &[b'x'; 20_000]) {
            assert!(n > 0);
            if !state.has_room() {
                break;
            }
        }
        let _over = state.finish(slot, None);
        state.close(slot);
    }
    assert_eq!(state.streams(), 0);
    (seen, said(&mut state))
}

/// What a server's bytes lead to.
fn ask(plan: &Plan, pieces: &[&[u8]]) -> (Vec<String>, Vec<u8>) {
    let mut state = State::client(terms(plan), 100, || 0);
    let cx = Context::from_waker(Waker::noop());
    let slots: Vec<u32> = (0..3).filter_map(|_| state.open()).collect();
    for slot in &slots {
        state.put_head(*slot, true, &mut |encoder, out| {
            encoder.field(out, b"a", b"b", http_codec::Known::Other)
        });
    }
    feed(&mut state, &mut Begun::default(), pieces);
    let mut seen = vec![format!("{:?} {}", state.ended(), state.allowed())];
    for slot in slots {
        let mut head = ResponseHead::default();
        let mut heads = Vec::new();
        while let Poll::Ready(Ok(())) = state.poll_head(&cx, slot, &mut head) {
            heads.push(format!("{} {}", head.status, head.fields.len()));
            if head.status >= 200 {
                break;
            }
        }
        let body = drain(&mut state, &cx, slot);
        seen.push(format!("{slot} {heads:?} {body}"));
        state.close(slot);
    }
    (seen, said(&mut state))
}

/// Takes all there is of a body.
fn drain(state: &mut State, cx: &Context<'_>, slot: u32) -> String {
    let (mut data, mut length) = (Vec::new(), 0);
    loop {
        match state.poll_body(cx, slot, &mut data) {
            Poll::Ready(Ok(Taken::Data)) => {
                length += data.len();
                assert!(length <= STREAM_WINDOW as usize);
            }
            Poll::Ready(Ok(Taken::End(trailers))) => {
                state.taken(slot, length);
                return format!("{length} {}", trailers.map_or(0, |fields| fields.len()));
            }
            Poll::Ready(Err(over)) => return format!("{over:?}"),
            Poll::Pending => return format!("{length}.."),
        }
    }
}

/// What is to be sent, which has to be frames.
fn said(state: &mut State) -> Vec<u8> {
    let out = state.unsent().to_vec();
    let mut rest = out.strip_prefix(frames::PREFACE).unwrap_or(&out);
    let mut first = true;
    while !rest.is_empty() {
        let head = FrameHead::read(rest);
        assert!(head.is_some(), "the head of a frame: {}", show(rest));
        let Some(head) = head else { break };
        let payload = &rest[frames::HEAD..frames::HEAD + head.length];
        assert!(head.length <= frames::MOST);
        assert!(!first || head.kind == kind::SETTINGS || head.kind == kind::GOAWAY);
        if head.kind == kind::GOAWAY {
            assert_ne!(frames::number(&payload[4..]), Some(ErrorCode::NO_ERROR.0));
        }
        if head.kind == kind::HEADERS {
            assert!(head.has(flag::END_HEADERS) && head.stream % 2 == 1);
        }
        first = false;
        rest = &rest[frames::HEAD + head.length..];
    }
    out
}
