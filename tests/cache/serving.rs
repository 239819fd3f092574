//! What a stored response answers, and how.

use crate::{answer, ask, counting, get, proxy, status, status_and_ttl};
use support::{Gate, Origin, SOON, Step, wait_until};

#[test]
fn a_fresh_response_answers_without_a_server() {
    let origin = counting("Cache-Control: max-age=600\r\nX-Kept: yes\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let first = get(&proxy, "/a?q=1");
    assert_eq!((first.status, first.text()), (200, "body 1".into()));
    let (told, ttl) = status_and_ttl(&first);
    assert!(told == "tidegate; fwd=uri-miss; stored" && (590..=600).contains(&ttl), "{told} {ttl}");
    for _ in 0..3 {
        let next = get(&proxy, "/a?q=1");
        assert_eq!((next.status, next.text()), (200, "body 1".into()));
        assert!(status(&next).starts_with("tidegate; hit; ttl="), "{}", status(&next));
        assert_eq!(next.header("x-kept"), Some("yes"));
        assert!(next.header("age").is_some() && next.header("date").is_some());
    }
    assert_eq!(get(&proxy, "/a?q=2").text(), "body 2", "another query is another response");
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_head_is_answered_from_a_get_and_stores_nothing_itself() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    assert_eq!(ask(&proxy, "HEAD", "/a", "").header("content-length"), Some("6"));
    assert_eq!(get(&proxy, "/a").text(), "body 2");
    let head = ask(&proxy, "HEAD", "/a", "");
    assert!(status(&head).starts_with("tidegate; hit"), "{}", status(&head));
    assert_eq!((head.header("content-length"), head.text()), (Some("6"), String::new()));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn conditions_and_ranges_are_answered_from_what_is_whole() {
    let origin = counting("Cache-Control: max-age=600\r\nETag: \"v1\"\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/a");
    let not_modified = ask(&proxy, "GET", "/a", "If-None-Match: \"v0\", W/\"v1\"\r\n");
    assert_eq!((not_modified.status, not_modified.header("etag")), (304, Some("\"v1\"")));
    assert_eq!(ask(&proxy, "GET", "/a", "If-None-Match: \"v0\"\r\n").status, 200);
    let part = ask(&proxy, "GET", "/a", "Range: bytes=2-3\r\n");
    assert_eq!((part.status, part.text()), (206, "dy".into()));
    assert_eq!(part.header("content-range"), Some("bytes 2-3/6"));
    let beyond = ask(&proxy, "GET", "/a", "Range: bytes=9-\r\n");
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */6")));
    assert_eq!(ask(&proxy, "GET", "/a", "Range: bytes=0-1, 3-4\r\n").status, 200);
    assert_eq!(origin.requests().len(), 1);
    // A part that is not at hand is the server's to send, and is never taken for the whole.
    ask(&proxy, "GET", "/b", "Range: bytes=0-1\r\n");
    assert_eq!(origin.requests()[1].header("range"), Some("bytes=0-1"));
    get(&proxy, "/b");
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_body_of_unknown_length_has_one_once_it_is_stored() {
    let origin = Origin::start(|_| {
        let head =
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n";
        vec![Step::Send(format!("{head}4\r\nfour\r\n2\r\nty\r\n0\r\n\r\n").into())]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    assert_eq!(get(&proxy, "/a").text(), "fourty");
    let hit = get(&proxy, "/a");
    assert!(status(&hit).starts_with("tidegate; hit"), "{}", status(&hit));
    assert_eq!((hit.header("content-length"), hit.text()), (Some("6"), "fourty".into()));
    assert_eq!(ask(&proxy, "HEAD", "/a", "").header("content-length"), Some("6"));
    let part = ask(&proxy, "GET", "/a", "Range: bytes=3-4\r\n");
    assert_eq!(
        (part.status, part.text(), part.header("content-range")),
        (206, "rt".into(), Some("bytes 3-4/6"))
    );
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_stale_response_is_validated_and_updated() {
    let origin = Origin::start(|request| {
        let bytes = match request.header("if-none-match") {
            Some("\"v1\"") => {
                b"HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\nCache-Control: max-age=600\r\nX-New: 1\r\n\r\n".to_vec()
            }
            Some(other) => panic!("{other}"),
            None => answer(request, "Cache-Control: max-age=0\r\nETag: \"v1\"\r\nX-Old: 1\r\n", "kept"),
        };
        vec![Step::Send(bytes)]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    assert_eq!(get(&proxy, "/a").text(), "kept");
    let confirmed = get(&proxy, "/a");
    assert_eq!((confirmed.status, confirmed.text()), (200, "kept".into()));
    let (told, ttl) = status_and_ttl(&confirmed);
    assert!(
        told == "tidegate; fwd=stale; fwd-status=304" && (590..=600).contains(&ttl),
        "{told} {ttl}"
    );
    assert_eq!((confirmed.header("x-new"), confirmed.header("x-old")), (Some("1"), Some("1")));
    assert!(status(&get(&proxy, "/a")).starts_with("tidegate; hit"));
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn a_stale_response_stands_in_while_servers_fail_where_that_is_allowed() {
    let fail = Gate::default();
    let failing = fail.clone();
    let origin = Origin::start(move |request| {
        if failing.is_open() {
            return vec![Step::Send(
                b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec(),
            )];
        }
        let fields = match request.target.as_str() {
            "/lenient" => "Cache-Control: max-age=0, stale-if-error=600\r\n",
            "/strict" => "Cache-Control: max-age=0, stale-if-error=600, must-revalidate\r\n",
            _ => "Cache-Control: s-maxage=0, stale-if-error=600\r\n",
        };
        vec![Step::Send(answer(request, fields, "stored"))]
    });
    let proxy = proxy(&origin, "cache = {}\nretry = { attempts = 0 }", "");
    for target in ["/lenient", "/strict", "/shared"] {
        assert_eq!(get(&proxy, target).text(), "stored");
    }
    fail.open();
    let stale = get(&proxy, "/lenient");
    assert_eq!((stale.status, stale.text()), (200, "stored".into()));
    assert!(
        status(&stale).starts_with("tidegate; fwd=stale; fwd-status=503"),
        "{}",
        status(&stale)
    );
    assert_eq!(get(&proxy, "/strict").status, 503);
    assert_eq!(get(&proxy, "/shared").status, 503);
    origin.stop();
    assert_eq!(get(&proxy, "/lenient").status, 200, "a server that is gone fails too");
    assert_eq!(get(&proxy, "/strict").status, 502);
}

#[test]
fn a_stale_response_is_used_while_one_request_fetches_a_new_one() {
    let origin = counting("Cache-Control: max-age=1, stale-while-revalidate=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    assert_eq!(get(&proxy, "/a").text(), "body 1");
    wait_until(SOON, "the response is stale, and used all the same", || {
        let got = get(&proxy, "/a");
        assert!(got.text() == "body 1", "{}", status(&got));
        status(&got).ends_with("detail=stale-while-revalidate")
    });
    wait_until(SOON, "the new response is there", || get(&proxy, "/a").text() == "body 2");
}

#[test]
fn a_head_refreshes_nothing_of_what_is_stale() {
    let origin = counting("Cache-Control: max-age=1, stale-while-revalidate=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    assert_eq!(get(&proxy, "/a").text(), "body 1");
    wait_until(SOON, "the response is stale, and used all the same", || {
        let got = ask(&proxy, "HEAD", "/a", "");
        assert_eq!(got.status, 200);
        status(&got).ends_with("detail=stale-while-revalidate")
    });
    assert_eq!(get(&proxy, "/a").text(), "body 1", "what asks for a new one");
    wait_until(SOON, "the new response is there", || get(&proxy, "/a").text() == "body 2");
    assert!(origin.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn a_request_that_forbids_storing_takes_nothing_out_of_the_cache() {
    let origin = Origin::start(|request| {
        let fields = "Cache-Control: max-age=600\r\nETag: \"a\"\r\n";
        vec![Step::Send(match request.header("if-none-match") {
            Some(_) => format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").into(),
            None => answer(request, fields, "stored"),
        })]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    get(&proxy, "/a");
    let asked = ask(&proxy, "GET", "/a", "Cache-Control: no-cache, no-store\r\n");
    assert_eq!(asked.text(), "stored");
    assert!(status(&asked).contains("fwd-status=304"), "{}", status(&asked));
    assert!(status(&get(&proxy, "/a")).starts_with("tidegate; hit"));
}

#[test]
fn variants_are_told_apart_and_bounded() {
    let origin = counting("Cache-Control: max-age=600\r\nVary: X-Kind, Accept-Encoding\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let kind = |kind: &str| ask(&proxy, "GET", "/a", &format!("X-Kind: {kind}\r\n")).text();
    assert_eq!((kind("a"), kind("b")), ("body 1".into(), "body 2".into()));
    assert_eq!((kind("a"), kind("b")), ("body 1".into(), "body 2".into()));
    let none = get(&proxy, "/a");
    assert_eq!(none.text(), "body 3");
    let coded = |accept: &str| {
        ask(&proxy, "GET", "/a", &format!("X-Kind: a\r\nAccept-Encoding: {accept}\r\n")).text()
    };
    let gzip = coded("gzip, br");
    assert_eq!(gzip, "body 4");
    assert_eq!(coded("br;q=0.5, gzip"), gzip, "the same codings in another order");
    for n in 0..100 {
        kind(&format!("k{n}"));
    }
    assert_eq!(origin.requests().len(), 104);
    assert_eq!(kind("k99"), "body 104", "the newest are there");
    assert_ne!(kind("k0"), "body 5", "the oldest made room");
}

#[test]
fn an_unsafe_request_makes_its_url_and_what_it_names_invalid() {
    let origin = Origin::start(|request| {
        let fields = match request.method.as_str() {
            "POST" if request.target == "/fails" => {
                return vec![Step::Send(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".to_vec())];
            }
            "POST" => {
                "Location: /b\r\nContent-Location: http://other.test/c\r\nX-Invalidate: red, /d/*\r\n"
            }
            _ if request.target == "/tagged" => "Cache-Control: max-age=600\r\nCache-Tag: red\r\n",
            _ => "Cache-Control: max-age=600\r\n",
        };
        vec![Step::Send(answer(request, fields, "x"))]
    });
    let proxy = proxy(&origin, "cache = { invalidate_header = \"x-invalidate\" }", "");
    let hit = |target: &str| status(&get(&proxy, target)).starts_with("tidegate; hit");
    let all = ["/a", "/b", "/c", "/d/1", "/tagged", "/fails"];
    for target in all {
        get(&proxy, target);
    }
    assert!(all.iter().all(|target| hit(target)));
    let post = |target: &str| ask(&proxy, "POST", target, "Content-Length: 0\r\n");
    assert_eq!(post("/fails").status, 500);
    assert!(hit("/fails"), "what failed has changed nothing");
    let done = post("/a");
    assert_eq!((done.status, status(&done)), (200, "tidegate; fwd=method"));
    assert!(!hit("/a") && !hit("/b"));
    assert!(hit("/c"), "another host's responses are not ours to drop");
    assert!(!hit("/d/1") && !hit("/tagged"), "once the answer is there");
}

#[test]
fn ttl_counts_where_a_response_says_nothing_and_force_where_it_does() {
    let silent = counting("");
    let proxy_ttl = proxy(&silent, "cache = { ttl = \"10m\", negative = { 404 = \"10s\" } }", "");
    get(&proxy_ttl, "/a");
    assert!(status(&get(&proxy_ttl, "/a")).starts_with("tidegate; hit; ttl=5"));
    let refusing = counting("Cache-Control: no-store\r\n");
    let forced = proxy(&refusing, "cache = { ttl = \"10m\", force = true }", "");
    get(&forced, "/a");
    assert_eq!(get(&forced, "/a").text(), "body 1");
    let obeying = proxy(&refusing, "cache = { ttl = \"10m\" }", "");
    let first = get(&obeying, "/a");
    assert_eq!(status(&first), "tidegate; fwd=uri-miss; detail=no-store");
    assert_ne!(get(&obeying, "/a").text(), first.text());
}

#[test]
fn a_client_that_wants_only_what_is_stored_is_told_so() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = {}", "");
    let only = |target: &str| ask(&proxy, "GET", target, "Cache-Control: only-if-cached\r\n");
    let refused = only("/a");
    support::assert_problem(&refused, 504, "not_cached");
    get(&proxy, "/a");
    assert_eq!(only("/a").status, 200);
    let anew = ask(&proxy, "GET", "/a", "Cache-Control: no-cache\r\n");
    assert_eq!(
        (anew.text(), status(&anew).split(';').nth(1)),
        ("body 2".into(), Some(" fwd=request"))
    );
}

#[test]
fn stored_responses_are_compressed_for_those_who_want_that() {
    let body = "All the world's a stage. ".repeat(500);
    let origin = Origin::start(move |request| {
        vec![Step::Send(answer(
            request,
            "Cache-Control: max-age=600\r\nContent-Type: text/plain\r\nETag: \"v\"\r\n",
            &body,
        ))]
    });
    let proxy = proxy(&origin, "cache = {}\ncompress = true", "");
    let gzip = |target: &str| ask(&proxy, "GET", target, "Accept-Encoding: gzip\r\n");
    for _ in 0..2 {
        let coded = gzip("/a");
        assert_eq!(
            (coded.header("content-encoding"), coded.header("etag")),
            (Some("gzip"), Some("W/\"v\""))
        );
        assert_eq!(get(&proxy, "/a").text().len(), 12_500);
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_reload_keeps_what_is_stored() {
    let origin = counting("Cache-Control: max-age=600\r\n");
    let proxy = proxy(&origin, "cache = \"shared\"", "[cache.shared]\nmemory = \"10MiB\"");
    get(&proxy, "/a");
    let reloaded =
        support::curl(&["-X", "POST", "-fsS", &format!("http://{}/reload", proxy.admin())]);
    assert!(reloaded.text().contains("true"), "{}", reloaded.text());
    assert!(status(&get(&proxy, "/a")).starts_with("tidegate; hit"));
}

#[test]
fn a_response_larger_than_an_entry_may_be_is_passed_on_whole() {
    const LENGTH: u64 = 3 * 1024 * 1024;
    let origin = Origin::start(|_| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: {LENGTH}\r\n\r\n"
        );
        vec![Step::Send(head.into()), Step::Fill(LENGTH)]
    });
    let unknown = Origin::start(|_| {
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\n\r\n";
        vec![Step::Send(head.into()), Step::Fill(LENGTH), Step::Close]
    });
    for origin in [origin, unknown] {
        let proxy = proxy(&origin, "cache = { memory = \"8MiB\" }", "");
        for _ in 0..2 {
            let got = get(&proxy, "/a");
            assert_eq!(got.body.len() as u64, LENGTH);
        }
        assert_eq!(origin.requests().len(), 2, "nothing was stored");
    }
}

#[test]
fn interim_responses_reach_the_one_who_caused_the_fetch_and_are_not_stored() {
    let origin = Origin::start(|request| {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        let last = answer(request, "Cache-Control: max-age=600\r\n", "whole");
        vec![Step::Send(hint.into()), Step::Send(last)]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut client = proxy.client();
    client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let hint = client.next_head();
    assert_eq!((hint.status, hint.header("link")), (103, Some("</a.css>; rel=preload")));
    let last = client.response();
    assert_eq!((last.status, last.header("link"), last.text()), (200, None, "whole".into()));
    client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let stored = client.next_head();
    assert_eq!((stored.status, stored.header("link")), (200, None));
    assert!(status(&stored).starts_with("tidegate; hit"), "{}", status(&stored));
}

#[test]
fn an_interim_response_does_not_wait_for_the_last_one() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
        let last = answer(request, "Cache-Control: max-age=600\r\n", "whole");
        vec![Step::Send(hint.into()), Step::Until(held.clone()), Step::Send(last)]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    let mut client = proxy.client();
    client.send("GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!(client.next_head().status, 103);
    gate.open();
    assert_eq!(client.response().text(), "whole");
}

#[test]
fn trailers_are_stored_and_sent_behind_a_whole_body_only() {
    let origin = Origin::start(|request| {
        let kept = if request.target == "/own" { "no-store" } else { "max-age=600" };
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: {kept}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        vec![Step::Send(format!("{head}5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n").into())]
    });
    let proxy = proxy(&origin, "cache = {}", "");
    for (target, requests) in [("/a", 1), ("/a", 1), ("/own", 2), ("/own", 3)] {
        let mut client = proxy.client();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\n\r\n"));
        client.wait_for("hello");
        client.wait_for("X-Sum: 7\r\n\r\n");
        assert_eq!(origin.requests().len(), requests, "{target}");
    }
    let part = ask(&proxy, "GET", "/a", "Range: bytes=1-2\r\n");
    assert_eq!((part.status, part.text()), (206, "el".into()));
}
