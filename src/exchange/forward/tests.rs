//! Heads as they are written.

use crate::exchange::identity::{ClientField, OtherEnd};
use crate::wire::Version;

use super::*;

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let mut head = RequestHead::default();
    head.set(b"GET", b"/", Version::Http11);
    for (name, value) in fields {
        head.fields.push(name.as_bytes(), value.as_bytes());
    }
    head
}

fn written(head: &RequestHead, trusted: bool, edits: &HeaderEdits) -> String {
    written_in_trace(head, trusted, edits, None)
}

fn written_in_trace(
    head: &RequestHead,
    trusted: bool,
    edits: &HeaderEdits,
    traceparent: Option<[u8; 55]>,
) -> String {
    let peer = OtherEnd {
        ip: Some([192, 0, 2, 1].into()),
        text: Some("192.0.2.1"),
        trusted,
        scheme: "http",
        certificate: None,
    };
    let identity =
        Identity::new(peer, &head.fields, &ClientField::ForwardedFor, |_| false, |_| true);
    let form = RequestForm {
        head,
        path: b"/p",
        query: Some(b"q"),
        host: b"a.test",
        original_host: b"a.test",
        prefix: None,
        request_id: b"id",
        hidden: &[],
        added: &[],
        if_match: None,
        traceparent,
        b3: None,
        left: None,
        identity: &identity,
        edits,
        facts: None,
        upgrade: None,
        expects_continue: false,
        length: Some(0),
        attempt: 1,
    };
    let mut out = Vec::new();
    write_request(&mut out, &form);
    String::from_utf8(out).unwrap()
}

#[test]
fn hop_by_hop_and_nominated_fields_are_removed() {
    let head = head(&[
        ("Host", "a.test"),
        ("Connection", "keep-alive, X-Secret"),
        ("X-Secret", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Connection", "close"),
        ("Proxy-Authorization", "x"),
        ("TE", "gzip"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAA"),
        ("X-Kept", "2"),
    ]);
    assert_eq!(
        written(&head, false, &HeaderEdits::default()),
        "GET /p?q HTTP/1.1\r\nhost: a.test\r\nProxy-Authorization: x\r\nX-Kept: 2\r\nx-forwarded-for: 192.0.2.1\r\n\
         x-forwarded-proto: http\r\nx-forwarded-host: a.test\r\nx-real-ip: 192.0.2.1\r\n\
         x-request-id: id\r\n\r\n"
    );
}

#[test]
fn identity_from_strangers_is_replaced_and_from_trusted_proxies_continued() {
    let head = head(&[
        ("X-Forwarded-For", "1.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "b.test"),
        ("X-Real-IP", "1.1.1.1"),
    ]);
    let stranger = written(&head, false, &HeaderEdits::default());
    assert!(!stranger.contains("1.1.1.1") && !stranger.contains("https"), "{stranger}");
    let trusted = written(&head, true, &HeaderEdits::default());
    for line in [
        "x-forwarded-for: 1.1.1.1, 192.0.2.1\r\n",
        "x-forwarded-proto: https\r\n",
        "x-forwarded-host: b.test\r\n",
        "x-real-ip: 1.1.1.1\r\n",
    ] {
        assert!(trusted.contains(line), "{trusted}");
    }
}

#[test]
fn edits_replace_what_the_proxy_would_write() {
    let set = [("host", "internal"), ("x-real-ip", "0.0.0.0")];
    let edits = HeaderEdits::new(set.into_iter(), [].into_iter(), ["x-forwarded-for"].into_iter());
    let out = written(&head(&[("Host", "a.test")]), false, &edits);
    assert!(out.contains("\r\nhost: internal\r\n") && !out.contains("\r\nhost: a.test"), "{out}");
    assert!(!out.contains("x-forwarded-for"), "{out}");
    assert!(
        out.contains("x-real-ip: 0.0.0.0\r\n") && !out.contains("x-real-ip: 192.0.2.1"),
        "{out}"
    );
}

#[test]
fn the_state_of_a_trace_goes_with_that_trace_alone() {
    let of = |trace: &str, id: &str| format!("00-{}-{}-01", trace.repeat(32), id.repeat(16));
    let (client, other) = (of("a", "1"), of("b", "1"));
    let told = |told: Option<&str>, received: &[&str]| {
        let mut fields: Vec<_> = received.iter().map(|one| ("traceparent", *one)).collect();
        fields.push(("TraceState", "k=v"));
        let told = told.map(|told| told.as_bytes().try_into().unwrap());
        written_in_trace(&head(&fields), true, &HeaderEdits::default(), told)
            .contains("TraceState: k=v\r\n")
    };
    let next = of("a", "2");
    assert!(told(Some(&next), &[&client]), "the trace goes on");
    assert!(told(None, &[]) && told(None, &[&client]), "nobody traces here");
    assert!(!told(Some(&next), &[&other]));
    assert!(!told(Some(&next), &[]), "there was none");
    assert!(!told(Some(&next), &["x"]) && !told(Some(&next), &[&client, &client]));
}

#[test]
fn protected_fields_cannot_be_nominated() {
    assert!(nominates_protected(&head(&[("Connection", "close, Host")]).fields));
    assert!(nominates_protected(&head(&[("Connection", "content-length")]).fields));
    assert!(!nominates_protected(&head(&[("Connection", "X-Forwarded-For, te")]).fields));
}
