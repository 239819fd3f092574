//! Lines in each format.

use proptest::prelude::*;

use crate::exchange::Refusal;
use crate::wire::Fault;

use super::*;

fn head(target: &[u8], fields: &[(&[u8], &[u8])]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set(b"GET", target, Version::Http11);
    for (name, value) in fields {
        head.fields.push(name, value);
    }
    head
}

fn line(head: &RequestHead) -> AccessLine<'_> {
    AccessLine {
        request_id: "0af7",
        trace_id: None,
        client: "10.0.0.9",
        listener: "public",
        head,
        masked: &[],
        claims: &[],
        route: Some("shop"),
        upstream: Some("app"),
        server: Some("127.0.0.1:3000"),
        cache: Some("miss"),
        attempts: 2,
        status: 200,
        outcome: Outcome::Whole,
        key: None,
        received: 0,
        sent: 512,
        queue: Duration::ZERO,
        connect: Duration::from_micros(240),
        first_byte: Some(Duration::from_micros(1_500)),
        total: Duration::from_micros(1_822),
    }
}

fn extra() -> [Extra; 2] {
    let header = Extra { key: "header:x-a".into(), of: LineSource::Header(b"x-a"[..].into()) };
    [header, Extra { key: "jwt:sub".into(), of: LineSource::Claim("sub".into()) }]
}

fn written(line: &AccessLine<'_>, format: LineFormat) -> String {
    let mut out = Vec::new();
    let mut clock = WallClock::default();
    let now = clock.time_at(Duration::from_millis(1_795_234_818_042));
    line.write_line(&mut out, (format, &extra()), now);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_line_in_each_format() {
    let head = head(b"/a?b=1", &[(b"host", b"x.example"), (b"user-agent", b"curl/8")]);
    assert_eq!(
        written(&line(&head), LineFormat::Text),
        "2026-11-21T04:20:18.042Z 10.0.0.9 \"GET /a?b=1 HTTP/1.1\" 200 512 1.822ms route=shop upstream=app \
         server=127.0.0.1:3000 cache=miss attempts=2 connect=0.240ms first_byte=1.500ms outcome=whole id=0af7\n"
    );
    assert_eq!(
        written(&line(&head), LineFormat::Combined),
        "10.0.0.9 - - [21/Nov/2026:04:20:18 +0000] \"GET /a?b=1 HTTP/1.1\" 200 512 \"-\" \"curl/8\"\n"
    );
    let json: serde_json::Value =
        serde_json::from_str(&written(&line(&head), LineFormat::Json)).unwrap();
    assert_eq!(json["time"], "2026-11-21T04:20:18.042Z");
    assert_eq!(json["host"], "x.example");
    assert_eq!(json["referer"], serde_json::Value::Null);
    assert_eq!(json["first_byte_ms"], 1.5);
    assert_eq!(json["attempts"], 2);
    assert_eq!(json["cache"], "miss");
    assert_eq!(json["outcome"], "whole");
    assert_eq!((&json["code"], &json["key"]), (&json["referer"], &json["referer"]));
}

#[test]
fn a_line_says_besides_what_it_is_told_to() {
    let long = [b'x'; 2000];
    let fields: [(&[u8], &[u8]); 3] = [(b"x-a", b"q\"\r\n\xff"), (b"X-A", b"two"), (b"x-a", &long)];
    let head = head(b"/", &fields);
    let claims = [("sub".into(), "anna\"".into())];
    let line = AccessLine { claims: &claims, ..line(&head) };
    let text = written(&line, LineFormat::Text);
    let start = "id=0af7 header:x-a=\"q\\x22\\x0D\\x0A\\xFF, two, xxx";
    assert!(
        text.contains(start) && text.ends_with("xx\\xE2\\x80\\xA6\" jwt:sub=\"anna\\x22\"\n"),
        "{text}"
    );
    assert!(text.len() < 1400);
    let json: serde_json::Value = serde_json::from_str(&written(&line, LineFormat::Json)).unwrap();
    assert_eq!(json["jwt:sub"], "anna\"");
    assert!(json["header:x-a"].as_str().unwrap().starts_with("q\"\r\n\u{fffd}, two, xxx"));
    let empty = RequestHead::default();
    let json = written(&AccessLine { head: &empty, claims: &[], ..line }, LineFormat::Json);
    assert!(json.ends_with(",\"header:x-a\":null,\"jwt:sub\":null}\n"), "{json}");
}

#[test]
fn a_request_that_could_not_be_read() {
    let empty = RequestHead::default();
    let refused = AccessLine {
        route: None,
        upstream: None,
        server: None,
        cache: None,
        attempts: 0,
        status: 400,
        outcome: Outcome::Refused(Refusal::Malformed(Fault::Field)),
        first_byte: None,
        connect: Duration::ZERO,
        ..line(&empty)
    };
    assert_eq!(
        written(&refused, LineFormat::Text),
        "2026-11-21T04:20:18.042Z 10.0.0.9 \"- - -\" 400 512 1.822ms outcome=refused code=bad_request id=0af7\n"
    );
    assert!(written(&refused, LineFormat::Json).contains("\"code\":\"bad_request\""));
}

proptest! {
    #[test]
    fn nothing_a_client_sends_gets_out_of_its_place(target: Vec<u8>, agent: Vec<u8>) {
        let head = head(&target, &[(b"user-agent", &agent)]);
        for format in [LineFormat::Text, LineFormat::Combined] {
            let text = written(&line(&head), format);
            prop_assert!(text.trim_end_matches('\n').bytes().all(|b| matches!(b, b' '..=b'~')));
            let quotes = if format == LineFormat::Text { 2 } else { 6 };
            prop_assert_eq!(text.matches('"').count(), quotes);
        }
        let text = written(&line(&head), LineFormat::Json);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(json["target"].as_str().unwrap(), &String::from_utf8_lossy(&target));
        prop_assert_eq!(json["user_agent"].as_str().unwrap(), &String::from_utf8_lossy(&agent));
        prop_assert!(!text.trim_end_matches('\n').chars().any(char::is_control));
    }
}
