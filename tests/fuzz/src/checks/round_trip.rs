//! What was accepted and is written again is read back as the same, whatever its fields hold.

use super::reading::{self, End, Message, Start};
use super::{Plan, show};
use http_codec::chunked::ChunkedDecoder;
use http_codec::encode::{self, ChunkPrefix};
use http_codec::framing::Framing;
use http_codec::head::Version;
use http_codec::request::{Limits, Underscores};

/// Writing may lengthen a head, by the space after each colon.
const ANY: Limits =
    Limits { bytes: usize::MAX, fields: usize::MAX, underscores: Underscores::Keep };

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    for message in reading::requests(&[wire], plan.limits).messages {
        let written = write(&message, plan.piece);
        same(&message, &written, reading::requests(&[&written], ANY));
    }
    for message in reading::responses(&[wire], plan.head_request).messages {
        let written = write(&message, plan.piece);
        if written.len() < http_codec::response::HEAD_BYTES {
            same(&message, &written, reading::responses(&[&written], plan.head_request));
        }
    }
}

fn same(sent: &Message, written: &[u8], read: reading::Reading) {
    let [received] = read.messages.as_slice() else {
        unreachable!("{} became {:?}", show(written), read.end);
    };
    assert_eq!(read.end, End::Complete, "{}", show(written));
    assert_eq!(received.fields, sent.fields, "{}", show(written));
    assert_eq!(received.body, sent.body, "{}", show(written));
    assert_eq!(received.trailers, sent.trailers, "{}", show(written));
    match (&sent.start, &received.start) {
        (Start::Response { status, reason }, Start::Response { status: s, .. })
            if reason.is_empty() =>
        {
            assert_eq!(status, s);
        }
        (sent, received) => assert_eq!(sent, received),
    }
    if sent.version == Version::Http11 {
        assert_eq!(received.framing, sent.framing, "{}", show(written));
    }
}

fn write(message: &Message, piece: usize) -> Vec<u8> {
    let mut out = Vec::new();
    match &message.start {
        Start::Request { method, target } => {
            out.extend_from_slice(method);
            out.push(b' ');
            out.extend_from_slice(target);
            out.extend_from_slice(b" HTTP/1.1\r\n");
        }
        Start::Response { status, reason } => encode::status_line(&mut out, *status, reason),
    }
    for (name, value) in &message.fields {
        encode::field(&mut out, name, value);
    }
    out.extend_from_slice(b"\r\n");
    if message.framing == Framing::Chunked {
        let start = out.len();
        for chunk in message.body.chunks(piece) {
            out.extend_from_slice(ChunkPrefix::new(chunk.len()).as_slice());
            out.extend_from_slice(chunk);
            out.extend_from_slice(b"\r\n");
        }
        let trailers = message.trailers.iter().map(|(n, v)| (n.as_slice(), v.as_slice()));
        encode::last_chunk(&mut out, trailers);
        let mut body = out[start..].to_vec();
        let decoded = ChunkedDecoder::default().decode(&mut body, 0, 0).map(|p| (p.raw, p.done));
        assert_eq!(decoded, Ok((body.len(), true)), "{}", show(&out));
    } else {
        out.extend_from_slice(&message.body);
    }
    out
}
