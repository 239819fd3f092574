//! Affinity by a field that servers answer with, as servers of the Model Context Protocol do.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::setup::among;
use support::{Origin, RawClient, Step, Tidegate, wait_until};

/// A server that begins a session where none is named, knows its own ones, and answers with its
/// name.
fn server(name: &'static str) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::start(move |request| {
        let session = match request.header("mcp-session-id") {
            None => format!("Mcp-Session-Id: {name}{}\r\n", count.fetch_add(1, Ordering::SeqCst)),
            Some(id) if id.starts_with(name) => String::new(),
            Some(_) => {
                return vec![Step::Send(
                    b"HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n".to_vec(),
                )];
            }
        };
        let answer = format!("HTTP/1.1 200 OK\r\n{session}Content-Length: 1\r\n\r\n{name}");
        vec![Step::Send(answer.into_bytes())]
    })
}

fn proxy(servers: &[&Origin], sticky: &str) -> Tidegate {
    among(servers).app(&format!("balance = {{ {sticky} }}\neject = false")).start()
}

/// Known, learned, expired, evicted, unknown, and that `/metrics` says the same.
fn counts(proxy: &Tidegate) -> [u64; 5] {
    const NAMES: [(&str, &str); 5] = [
        ("known", ""),
        ("learned", "_learned_total"),
        ("expired", "_expired_total"),
        ("evicted", "_evicted_total"),
        ("unknown", "_unknown_total"),
    ];
    let shown = proxy.stats()["upstreams"][0]["sessions"].take();
    assert_eq!(shown["most"], 200_000, "{shown}");
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    NAMES.map(|(name, suffix)| {
        let count = shown[name].as_u64().unwrap_or_else(|| panic!("{name} in {shown}"));
        let line = format!("tidegate_upstream_sessions{suffix}{{upstream=\"app\"}} {count}\n");
        assert!(page.contains(&line), "no {line} in\n{page}");
        count
    })
}

fn begin(client: &mut RawClient) -> String {
    client.get("/mcp").header("mcp-session-id").expect("a session").to_owned()
}

fn go_on(client: &mut RawClient, method: &str, session: &str) -> (u16, String) {
    let answer = client.exchange(format!(
        "{method} /mcp HTTP/1.1\r\nHost: a.test\r\nMCP-Session-ID: {session}\r\nContent-Length: 0\r\n\r\n"
    ));
    (answer.status, answer.text())
}

#[test]
fn a_session_stays_with_the_server_that_began_it() {
    let origins = [server("a"), server("b"), server("c")];
    let proxy = proxy(&origins.each_ref(), "sticky = 'header:mcp-session-id', ttl = '1h'");
    let mut client = proxy.client();
    let sessions: Vec<String> = (0..30).map(|_| begin(&mut client)).collect();
    for name in ["a", "b", "c"] {
        assert!(sessions.iter().any(|session| session.starts_with(name)), "{sessions:?}");
    }
    // Other connections, other methods, and no cookie.
    for session in &sessions {
        for method in ["POST", "GET", "DELETE"] {
            let (status, name) = go_on(&mut proxy.client(), method, session);
            assert_eq!((status, &*name), (200, &session[..1]), "{method} {session}");
        }
    }
    assert_eq!(client.get("/").header("set-cookie"), None);
    // A session that nobody knows is any request.
    let statuses: Vec<u16> = (0..12).map(|_| go_on(&mut client, "GET", "zzz").0).collect();
    assert_eq!(statuses, [404; 12]);
}

#[test]
fn a_server_that_is_gone_loses_its_sessions_and_no_other_does() {
    let (staying, mut going) = (server("a"), Some(server("b")));
    let proxy = proxy(&[&staying, going.as_ref().unwrap()], "sticky = 'header:mcp-session-id'");
    let mut client = proxy.client();
    let sessions: Vec<String> = (0..20).map(|_| begin(&mut client)).collect();
    drop(going.take());
    // A POST that crosses the end of a kept connection is lost by right; after this none is kept.
    for session in &sessions {
        go_on(&mut client, "GET", session);
    }
    for session in &sessions {
        let expected = if session.starts_with('a') { 200 } else { 404 };
        assert_eq!(go_on(&mut client, "POST", session).0, expected, "{session}");
    }
}

#[test]
fn a_session_that_nobody_uses_is_forgotten() {
    let origins = [server("a"), server("b")];
    let proxy = proxy(&origins.each_ref(), "sticky = 'header:mcp-session-id', ttl = '1s'");
    let mut client = proxy.client();
    let sessions: Vec<String> = (0..30).map(|_| begin(&mut client)).collect();
    wait_until(Duration::from_secs(30), "all are forgotten", || {
        proxy.stats()["upstreams"][0]["sessions"]["known"] == 0
    });
    // Each goes to either server, and only its own one knows it: chance leads all of them home once
    // in a thousand million.
    let statuses: Vec<u16> =
        sessions.iter().map(|session| go_on(&mut client, "GET", session).0).collect();
    assert!(statuses.contains(&404), "{statuses:?}");
}

#[test]
fn sessions_are_counted() {
    let (staying, mut going) = (server("a"), Some(server("b")));
    let proxy = proxy(&[&staying, going.as_ref().unwrap()], "sticky = 'header:mcp-session-id'");
    let mut client = proxy.client();
    assert_eq!(counts(&proxy), [0; 5]);
    let sessions: Vec<String> = (0..10).map(|_| begin(&mut client)).collect();
    assert_eq!(counts(&proxy), [10, 10, 0, 0, 0]);
    for session in &sessions {
        assert_eq!(go_on(&mut client, "POST", session).0, 200, "{session}");
    }
    assert_eq!(counts(&proxy), [10, 10, 0, 0, 0], "who comes back is not new");
    // One that nobody knows, whoever is asked; an empty one is none.
    for session in ["zzz", "zzz", ""] {
        go_on(&mut client, "POST", session);
    }
    assert_eq!(counts(&proxy), [10, 10, 0, 0, 2]);
    // A session that is known is not unknown because its server does not answer.
    drop(going.take());
    let lost = sessions.iter().find(|session| session.starts_with('b')).expect("one of b");
    assert_eq!(go_on(&mut client, "GET", lost).0, 404);
    assert_eq!(counts(&proxy), [10, 10, 0, 0, 2]);
}

#[test]
fn sessions_that_ran_out_are_counted() {
    let origin = server("a");
    let proxy = proxy(&[&origin], "sticky = 'header:mcp-session-id', ttl = '1s'");
    let session = begin(&mut proxy.client());
    wait_until(Duration::from_secs(30), "it is forgotten, and counted a moment later", || {
        proxy.stats()["upstreams"][0]["sessions"]["expired"] == 1
    });
    assert_eq!(counts(&proxy), [0, 1, 1, 0, 0]);
    assert_eq!(go_on(&mut proxy.client(), "POST", &session).0, 200);
    assert_eq!(counts(&proxy), [0, 1, 1, 0, 1]);
}

#[test]
fn what_is_not_learned_is_not_counted() {
    let origin = server("a");
    let proxy = proxy(&[&origin], "sticky = 'tg'");
    proxy.client().get("/");
    assert_eq!(proxy.stats()["upstreams"][0].get("sessions"), None::<&serde_json::Value>);
    let page = RawClient::connect(proxy.admin()).ask("/metrics").text();
    assert!(page.contains("tidegate_upstream_pending") && !page.contains("_sessions"), "{page}");
}
