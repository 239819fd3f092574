//! Heads field by field: what is made of them, and the fault of those that are none.

use super::super::heads::{Request, Response, ResponseKind, Trailers};
use super::*;
use crate::hpack::{FieldMeaning, HpackField};
use crate::known::lookup;
use crate::request::Underscores;

type Pair<'a> = (&'a str, &'a str);

fn field<'a>((name, value): Pair<'a>) -> HpackField<'a> {
    let is = match name {
        ":authority" => FieldMeaning::Pseudo(Pseudo::Authority),
        ":method" => FieldMeaning::Pseudo(Pseudo::Method),
        ":path" => FieldMeaning::Pseudo(Pseudo::Path),
        ":protocol" => FieldMeaning::Pseudo(Pseudo::Protocol),
        ":scheme" => FieldMeaning::Pseudo(Pseudo::Scheme),
        ":status" => FieldMeaning::Pseudo(Pseudo::Status),
        "X-Bad" => FieldMeaning::Bad,
        _ => FieldMeaning::Field(lookup(name.as_bytes())),
    };
    let (never_indexed, sound) = (value == "secret", !value.ends_with(' '));
    HpackField { name: name.as_bytes(), value: value.as_bytes(), is, never_indexed, sound }
}

fn read(limits: &Limits, fields: &[Pair<'_>], ends: bool) -> (RequestHead, Option<Fault>) {
    let (mut head, mut accept) = (RequestHead::default(), Begun::default());
    let (mut text, mut cookie) = (Vec::new(), Vec::new());
    let mut reading = Request::new(&mut head, limits, (&mut text, &mut cookie), &mut accept);
    fields.iter().for_each(|pair| reading.add_field(field(*pair)));
    let fault = reading.end_fields(ends);
    (head, fault)
}

/// The lines of a head.
fn lines(head: &RequestHead) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let first = format!("{} {}", text(head.method()), text(head.target()));
    let fields = head.fields.iter().map(|f| format!("{}: {}", text(f.name), text(f.value)));
    std::iter::once(first).chain(fields).collect()
}

/// The fault of a request with these fields behind those that each has, and what is kept of it.
fn made(fields: &[Pair<'_>], ends: bool) -> (Vec<String>, Option<Fault>) {
    let (head, fault) = read(&Limits::default(), &[&GET[..], fields].concat(), ends);
    (lines(&head), fault)
}

/// The fault of a request with these pseudo-fields.
fn fault(fields: &[Pair<'_>]) -> Option<Fault> {
    read(&Limits::default(), fields, true).1
}

const GET: [Pair<'static>; 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/x")];

#[test]
fn pseudo_fields_become_the_first_line_and_host() {
    let plain = ["GET /x", "host: a.test", "accept: */*"];
    assert_eq!(made(&[("accept", "*/*")], true), (plain.map(String::from).to_vec(), None));
    let (lines, fault) = made(&[("accept", "*/*")], false);
    assert_eq!((&lines[..3], fault), (&plain.map(String::from)[..], None));
    assert_eq!(lines[3..], ["transfer-encoding: chunked"]);
}

#[test]
fn a_body_is_as_long_as_it_was_said_to_be() {
    let (lines, fault) = made(&[("content-length", "5")], false);
    assert_eq!((&lines[2..], fault), (&["content-length: 5".to_owned()][..], None));
    assert_eq!(made(&[("content-length", "5")], true).1, Some(Fault::ContentLength));
    assert_eq!(made(&[("content-length", "00")], true).1, None);
    assert_eq!(
        made(&[("content-length", "0"), ("content-length", "1")], true).1,
        Some(Fault::ContentLength)
    );
}

#[test]
fn a_host_that_says_the_same_as_the_authority_is_left_out() {
    let hosts = |fields: &[Pair<'_>]| made(fields, true).0[1..].to_vec();
    assert_eq!(hosts(&[("host", "a.test")]), ["host: a.test"]);
    assert_eq!(hosts(&[("host", "b.test")]), ["host: a.test", "host: b.test"]);
    let own = [GET[0], GET[1], GET[3], ("host", "b.test")];
    let (head, fault) = read(&Limits::default(), &own, true);
    assert_eq!((lines(&head), fault), (vec!["GET /x".into(), "host: b.test".into()], None));
}

#[test]
fn cookies_that_were_split_are_put_together() {
    let (lines, fault) = made(&[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")], true);
    assert_eq!(fault, None);
    assert_eq!(lines[2..], ["x: y", "cookie: a=1; b=2"]);
}

#[test]
fn connect_has_a_method_and_an_authority_alone() {
    let (connect, host) = ((":method", "CONNECT"), (":authority", "a.test:443"));
    let (head, none) = read(&Limits::default(), &[connect, host], true);
    assert_eq!(
        (&lines(&head)[..], none),
        (&["CONNECT a.test:443", "host: a.test:443"].map(String::from)[..], None)
    );
    for bad in [&[connect][..], &[connect, host, GET[1]], &[connect, host, GET[3]]] {
        assert_eq!(fault(bad), Some(Fault::RequestLine), "{bad:?}");
    }
}

#[test]
fn connecting_with_a_protocol_is_an_upgrade() {
    let with = |protocol, more: &[Pair<'_>]| {
        let own = [(":method", "CONNECT"), GET[1], GET[2], GET[3], (":protocol", protocol)];
        let (head, fault) = read(&Limits::default(), &[&own[..], more].concat(), false);
        (lines(&head), fault)
    };
    let upgrade = ["GET /x", "host: a.test", "connection: upgrade"].map(String::from);
    let (lines, none) = with("websocket", &[("sec-websocket-key", "theirs"), ("a", "b")]);
    assert_eq!((&lines[..3], none), (&upgrade[..], None));
    assert_eq!(lines[3..], ["upgrade: websocket", "sec-websocket-key: key", "a: b"]);
    let (lines, none) = with("connect-udp", &[]);
    assert_eq!((&lines[..3], none), (&upgrade[..], None));
    assert_eq!(lines[3..], ["upgrade: connect-udp"]);
    for protocol in ["", "h2", "H2C", "a b"] {
        assert_eq!(with(protocol, &[]).1, Some(Fault::RequestLine), "{protocol}");
    }
    assert_eq!(with("websocket", &[("content-length", "0")]).1, Some(Fault::ContentLength));
    let protocol = (":protocol", "websocket");
    assert_eq!(fault(&[GET[0], GET[1], GET[2], GET[3], protocol]), Some(Fault::RequestLine));
    let nowhere = [(":method", "CONNECT"), GET[1], GET[3], protocol];
    assert_eq!(fault(&nowhere), Some(Fault::RequestLine));
    // Without a protocol the key is the client's own.
    assert_eq!(
        made(&[("sec-websocket-key", "theirs")], true).0[2..],
        ["sec-websocket-key: theirs"]
    );
}

#[test]
fn what_no_first_line_can_say_is_a_fault_of_it() {
    let with = |at: usize, value| {
        let mut fields = GET;
        fields[at].1 = value;
        fault(&fields)
    };
    let line = Some(Fault::RequestLine);
    for method in ["", "G T", "G\u{e4}T"] {
        assert_eq!(with(0, method), line, "{method}");
    }
    assert_eq!(with(0, "METHODS-OF-THIRTY-TWO-CHARACTERS"), None);
    assert_eq!(with(0, "METHODS-OF-THIRTY-THREE-LETTERS-X"), Some(Fault::MethodTooLong));
    assert_eq!((with(1, "coap+tcp"), with(1, "ht tp"), with(1, "x_y")), (None, line, line));
    assert_eq!((with(2, "u@a.test"), with(2, "")), (line, None));
    for path in ["", "x", "/a b", "/a\t", "**", "http://a.test/"] {
        assert_eq!(with(3, path), line, "{path}");
    }
    assert_eq!((with(3, "*"), with(3, "/!")), (None, None));
    for without in 0..4 {
        let fields: Vec<_> = GET.iter().enumerate().filter(|(at, _)| *at != without).collect();
        let fields: Vec<_> = fields.into_iter().map(|(_, pair)| *pair).collect();
        assert_eq!(fault(&fields), line.filter(|_| without != 2), "{without}");
    }
    for more in [GET[0], GET[1], GET[2], GET[3], (":status", "200")] {
        assert_eq!(made(&[more], true).1, line, "{more:?}");
    }
    // In front of all others, and free of spaces around it.
    let late = [GET[0], GET[1], ("a", "b"), GET[3]];
    assert_eq!(fault(&late), line);
    assert_eq!(with(2, "a.test "), line);
}

#[test]
fn what_no_field_can_say_is_a_fault_of_it() {
    for bad in [
        ("X-Bad", ""),
        ("a", "b "),
        ("connection", "close"),
        ("keep-alive", "1"),
        ("upgrade", "h2c"),
        ("te", "gzip"),
    ] {
        assert_eq!(made(&[bad], true).1, Some(Fault::Field), "{bad:?}");
    }
    let (lines, fault) = made(&[("te", "Trailers")], true);
    assert_eq!((&lines[2..], fault), (&["te: Trailers".to_owned()][..], None));
}

#[test]
fn heads_have_limits() {
    // 7 + 3, 7 + 4, 10 + 6 and 5 + 2, and four around each.
    let limits = |bytes| Limits { bytes, ..Limits::default() };
    assert_eq!(read(&limits(60), &GET, true).1, None);
    assert_eq!(read(&limits(59), &GET, true).1, Some(Fault::HeadTooLarge));
    let limits = Limits { fields: 2, ..Limits::default() };
    let with = |more: &[Pair<'_>]| read(&limits, &[&GET[..], more].concat(), true).1;
    assert_eq!(with(&[("a", ""), ("b", "")]), None);
    assert_eq!(with(&[("a", ""), ("cookie", "b=c"), ("d", "")]), Some(Fault::TooManyFields));
    let underscores = |underscores| {
        let limits = Limits { underscores, ..Limits::default() };
        let (head, fault) = read(&limits, &[&GET[..], &[("a_b", "c"), ("d", "e")]].concat(), true);
        (lines(&head).split_off(2), fault)
    };
    assert_eq!(underscores(Underscores::Drop), (vec!["d: e".to_owned()], None));
    assert_eq!(
        underscores(Underscores::Keep),
        (vec!["a_b: c".to_owned(), "d: e".to_owned()], None)
    );
    assert_eq!(underscores(Underscores::Refuse), (vec![], Some(Fault::Underscore)));
}

#[test]
fn a_fault_leaves_who_sent_it_and_how_to_answer() {
    let (bad, grpc) = (("te", "gzip"), ("content-type", "application/grpc+proto"));
    let (lines, fault) = made(&[("a", "b"), bad, ("c", "d")], true);
    assert_eq!((lines, fault), (vec!["GET /x".into(), "host: a.test".into()], Some(Fault::Field)));
    for fields in [[grpc, bad], [bad, grpc]] {
        let (lines, _) = made(&fields, true);
        assert_eq!(lines, ["GET /x", "host: a.test", "content-type: application/grpc"]);
    }
    let (lines, _) = made(&[bad, ("x", "application/grpc"), ("content-type", "text/plain")], true);
    assert_eq!(lines, ["GET /x", "host: a.test"]);
    // What comes behind it is looked at, and what came first counts.
    let late = [bad, GET[0], GET[2], GET[3], (":path", "/y"), (":method", "PUT")];
    let (head, _) = read(&Limits::default(), &late, true);
    assert_eq!(super::heads::lines(&head), ["GET /x", "host: a.test"]);
    let long = "/".repeat(2000);
    let rows = [
        ("METHODS-OF-THIRTY-TWO-CHARACTERS", 32),
        ("G T", 0),
        ("METHODS-OF-THIRTY-THREE-LETTERS-X", 0),
    ];
    for (method, kept) in rows {
        let (head, _) =
            read(&Limits::default(), &[bad, (":method", method), (":path", &long)], true);
        assert_eq!((head.method().len(), head.target().len()), (kept, 256), "{method}");
        assert_eq!(head.fields.len(), 0);
    }
}

#[test]
fn what_was_never_indexed_is_passed_on_as_that() {
    let fields = [("authorization", "secret"), ("a", "b")];
    let (head, _) = read(&Limits::default(), &[&GET[..], &fields].concat(), true);
    assert!(head.fields.guards(b"authorization") && !head.fields.guards(b"a"));
    let (mut head, ok) =
        answer_of(Limits::default(), &[(":status", "200"), ("x", "secret"), ("y", "z")], true);
    assert_eq!(ok, Ok(ResponseKind::Final));
    let guards = |head: &mut ResponseHead, name: &[u8]| head.fields.guards(name);
    assert!(guards(&mut head, b"x") && !guards(&mut head, b"y"));
    let trailers = behind(&[("x", "secret"), ("y", "z")]).unwrap().unwrap();
    assert!(trailers.guards(b"x") && !trailers.guards(b"y"));
}

fn answer_of(
    limits: Limits,
    fields: &[Pair<'_>],
    ends: bool,
) -> (ResponseHead, Result<ResponseKind, ResponseFault>) {
    let mut head = ResponseHead::default();
    let mut reading = Response::new(&mut head, limits);
    fields.iter().for_each(|pair| reading.add_field(field(*pair)));
    let kind = reading.end_fields(ends);
    (head, kind)
}

#[test]
fn a_response_has_one_status_in_front_of_all() {
    let of = |fields: &[Pair<'_>], ends| answer_of(Limits::default(), fields, ends).1;
    let status = |status, ends| of(&[(":status", status), ("a", "b")], ends);
    for last in ["200", "204", "599"] {
        assert_eq!(status(last, true), Ok(ResponseKind::Final), "{last}");
        assert_eq!(status(last, false), Ok(ResponseKind::Final), "{last}");
    }
    for interim in ["100", "103", "199"] {
        assert_eq!(status(interim, false), Ok(ResponseKind::Interim), "{interim}");
        assert_eq!(status(interim, true), Err(ResponseFault::StatusLine), "{interim}");
    }
    for bad in ["101", "099", "600", "20", "0200", "2x0", ""] {
        assert_eq!(status(bad, false), Err(ResponseFault::Status), "{bad}");
    }
    let ok = (":status", "200");
    assert_eq!(of(&[], true), Err(ResponseFault::StatusLine));
    assert_eq!(of(&[("a", "b"), ok], true), Err(ResponseFault::StatusLine));
    for bad in [ok, (":path", "/"), ("X-Bad", ""), ("a", "b "), ("connection", "close")] {
        assert_eq!(of(&[ok, bad], true), Err(ResponseFault::Field), "{bad:?}");
        assert_eq!(of(&[ok, ("a", "b"), bad], true), Err(ResponseFault::Field), "{bad:?}");
    }
    let (head, _) = answer_of(Limits::default(), &[ok, ("a", "b")], true);
    let fields: Vec<_> = head.fields.iter().map(|f| (f.name.to_vec(), f.value.to_vec())).collect();
    assert_eq!((head.status, fields), (200, vec![(b"a".to_vec(), b"b".to_vec())]));
}

#[test]
fn a_response_has_limits_and_nothing_is_kept_of_one_beyond_them() {
    let fields = [(":status", "200"), ("a", "b"), ("c", "d")];
    let of = |bytes, most| {
        let limits = Limits { bytes, fields: most, ..Limits::default() };
        let (head, kind) = answer_of(limits, &fields, true);
        (head.fields.len(), kind)
    };
    // 7 + 3, 1 + 1, 1 + 1, and four around each.
    assert_eq!(of(26, 2), (2, Ok(ResponseKind::Final)));
    assert_eq!(of(25, 2), (0, Err(ResponseFault::HeadTooLarge)));
    assert_eq!(of(26, 1), (0, Err(ResponseFault::TooManyFields)));
}

fn behind(fields: &[Pair<'_>]) -> Option<Option<crate::Fields>> {
    let mut trailers = Trailers::default();
    fields.iter().for_each(|pair| trailers.add_field(field(*pair)));
    trailers.end_fields()
}

#[test]
fn trailers_are_fields_of_which_some_are_passed_on() {
    let names = |fields: &[Pair<'_>]| {
        let kept = behind(fields)?;
        let names = |kept: crate::Fields| kept.iter().map(|f| f.name.to_vec()).collect::<Vec<_>>();
        Some(kept.map_or(Vec::new(), names))
    };
    assert!(behind(&[]).unwrap().is_none());
    assert!(behind(&[("content-type", "a")]).unwrap().is_none());
    let some = names(&[("x-sum", "1"), ("content-type", "a"), ("y", "2")]).unwrap();
    assert_eq!(some, [b"x-sum".to_vec(), b"y".to_vec()]);
    for bad in [(":path", "/"), ("X-Bad", ""), ("x", "y ")] {
        assert_eq!(names(&[bad]), None, "{bad:?}");
        assert_eq!(names(&[("a", "b"), bad, ("c", "d")]), None, "{bad:?}");
    }
    assert_eq!(names(&[("x", "y"); 64]).map(|names| names.len()), Some(64));
    assert_eq!(names(&[("x", "y"); 65]), None);
}
