//! Requests as two other parsers read them: httparse as it comes, and hyper's server.
//!
//! Being stricter than they are is the codec's purpose. Being more lenient, or finding another
//! method, target, field, body or number of requests in the same bytes, is how requests are
//! smuggled, and fails here. What hyper alone refuses, a target that is no URI, is left out: such
//! targets are refused where paths are normalised.

use super::peer::{self, Seen};
use super::reading::{self, End, Message, Pairs, Start};
use super::{Plan, show};
use http_codec::head::Version;
use http_codec::request::{Limits, Underscores};

/// Nothing may be dropped: all fields are compared.
const LIMITS: Limits = Limits { bytes: 32 * 1024, fields: 1000, underscores: Underscores::Keep };

/// Panics when a rule is broken.
pub fn check(input: &[u8]) {
    let Some((plan, wire)) = Plan::split(input) else { return };
    let ours = reading::requests(&[wire], LIMITS);
    ours.accepted().for_each(as_httparse_reads_it);
    let theirs = peer::server(wire, plan.piece);
    for (at, message) in ours.messages.iter().enumerate() {
        let Some(seen) = theirs.get(at) else {
            let stopped = at.checked_sub(1).is_some_and(|last| may_be_last(&ours.messages[last]));
            assert!(stopped || uri(message).is_none(), "hyper refuses {}", show(wire));
            return;
        };
        same_head(message, seen, wire);
        assert_eq!(seen.body.as_deref(), Some(&message.body[..]), "body of {}", show(wire));
        same_trailers(&message.trailers, &seen.trailers);
        if may_be_last(message) {
            return;
        }
    }
    let further = &theirs[ours.messages.len()..];
    match &ours.end {
        End::Refused(_) | End::RefusedResponse(_) => {}
        End::Complete if ours.messages.len() < reading::MAX_MESSAGES => {
            assert!(further.is_empty(), "hyper finds more requests in {}", show(wire));
        }
        End::Complete => {}
        End::InHead => assert!(further.is_empty(), "hyper does not wait for {}", show(wire)),
        End::InBody(message) => unfinished(message, further, wire),
    }
}

/// Whether the body is also unfinished for hyper.
fn unfinished(message: &Message, further: &[Seen<http::request::Parts>], wire: &[u8]) {
    let [seen] = further else {
        let refused = further.is_empty() && uri(message).is_none();
        assert!(refused, "hyper sees {} more in {}", further.len(), show(wire));
        return;
    };
    same_head(message, seen, wire);
    assert_eq!(seen.body, None, "hyper sees a complete body in {}", show(wire));
}

fn as_httparse_reads_it(message: &Message) {
    let mut store = [httparse::EMPTY_HEADER; 1000];
    let mut request = httparse::Request::new(&mut store);
    let used = request.parse(&message.raw);
    assert_eq!(used, Ok(httparse::Status::Complete(message.raw.len())), "{}", show(&message.raw));
    let Start::Request { method, target } = &message.start else { unreachable!("a request") };
    assert_eq!(request.method.map(str::as_bytes), Some(&method[..]));
    assert_eq!(request.path.map(str::as_bytes), Some(&target[..]));
    let minor = u8::from(message.version == Version::Http11);
    assert_eq!(request.version, Some(minor));
    let headers = request.headers.iter();
    let fields: Pairs = headers.map(|h| (h.name.as_bytes().to_vec(), h.value.to_vec())).collect();
    assert_eq!(fields, message.fields);
}

fn same_head(message: &Message, seen: &Seen<http::request::Parts>, wire: &[u8]) {
    let Start::Request { method, .. } = &message.start else { unreachable!("a request") };
    assert_eq!(seen.head.method.as_str().as_bytes(), method, "{}", show(wire));
    assert_eq!(Some(&seen.head.uri), uri(message).as_ref(), "{}", show(wire));
    same_fields(&message.fields, &seen.head.headers);
}

/// Same names, and for each the same values in the same order.
pub fn same_fields(ours: &Pairs, theirs: &http::HeaderMap) {
    assert_eq!(ours.len(), theirs.len(), "{ours:?} against {theirs:?}");
    same_trailers(ours, theirs);
}

/// All of ours are among theirs: not every trailer field is passed on.
pub fn same_trailers(ours: &Pairs, theirs: &http::HeaderMap) {
    for (name, _) in ours {
        let values = ours.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &v[..]);
        let Ok(name) = http::HeaderName::from_bytes(name) else { unreachable!("{name:?}") };
        assert!(values.eq(theirs.get_all(name).iter().map(http::HeaderValue::as_bytes)));
    }
}

fn uri(message: &Message) -> Option<http::Uri> {
    let Start::Request { target, .. } = &message.start else { unreachable!("a request") };
    http::Uri::try_from(&target[..]).ok()
}

/// Whether a server may stop reading requests after this one.
fn may_be_last(message: &Message) -> bool {
    let named =
        |name: &str| message.fields.iter().any(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()));
    let connect = matches!(&message.start, Start::Request { method, .. } if method == b"CONNECT");
    connect || message.version == Version::Http10 || named("connection") || named("upgrade")
}
