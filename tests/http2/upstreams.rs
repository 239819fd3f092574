//! HTTP/2 towards servers: what is shared, what is sent again and what never is.

use std::thread;

use crate::frames::{
    ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, block, frame,
};
use crate::server::{Asked, H2Server, fine, head};
use crate::{config, proxy};
use support::{
    Authority, Nginx, RawClient, SOON, Tidegate, assert_problem, resident_kib, wait_until,
};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc";

#[test]
fn requests_share_a_connection() {
    // Nobody is answered before all six are there.
    let server = H2Server::start(&[], |asked| {
        let all = || (0..6).flat_map(|n| fine(asked.stream - 2 * n, "all")).collect();
        Some(if asked.nth < 5 { Vec::new() } else { all() })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let ask = || {
        let mut client = proxy.client();
        thread::spawn(move || client.exchange(GET).text())
    };
    let clients: Vec<_> = (0..6).map(|_| ask()).collect();
    clients.into_iter().for_each(|client| assert_eq!(client.join().unwrap(), "all"));
    assert_eq!(server.accepts(), 1);
}

#[test]
fn requests_share_it_as_far_as_the_server_allows() {
    // One stream at a time; the first one is answered, and then none.
    let server = H2Server::start(&[(3, 1)], |asked| {
        let first = asked.connection == 0 && asked.nth == 0;
        Some(if first { fine(asked.stream, "first") } else { Vec::new() })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    assert_eq!(proxy.client().exchange(GET).text(), "first");
    let mut clients: Vec<RawClient> = (0..4).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send(GET));
    wait_until(SOON, "all have been sent", || server.asked().len() == 5);
    let mut connections: Vec<usize> = server.asked().iter().map(|asked| asked.connection).collect();
    connections.sort_unstable();
    assert_eq!(connections, [0, 0, 1, 2, 3]);
}

#[test]
fn what_a_server_going_away_did_not_look_at_is_sent_again() {
    let server =
        H2Server::start(&[], |Asked { connection, nth, stream }| match (connection, nth) {
            (0, 0) => Some(fine(stream, "before")),
            // It says which stream was its last one, and stays a while.
            (0, _) => Some(frame(GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0])),
            _ => Some(fine(stream, "after")),
        });
    let proxy = proxy(server.address, "protocol = 'h2c'\nretry = { attempts = 0 }");
    let mut client = proxy.client();
    assert_eq!(client.exchange(POST).text(), "before");
    assert_eq!(client.exchange(POST).text(), "after");
    assert_eq!(client.exchange(POST).text(), "after");
    let connections: Vec<usize> = server.asked().iter().map(|asked| asked.connection).collect();
    assert_eq!(connections, [0, 0, 1, 1]);
}

#[test]
fn a_stream_that_was_under_way_ends_although_the_server_goes_away() {
    let server = H2Server::start(&[], |Asked { connection, stream, .. }| {
        let last = [&[0, 0, 0, 1][..], &[0; 4]].concat();
        Some(if connection == 0 {
            [head(stream, &[]), frame(GOAWAY, 0, 0, &last), frame(0, END_STREAM, stream, b"whole")]
                .concat()
        } else {
            fine(stream, "next")
        })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    assert_eq!(client.exchange(POST).text(), "whole");
    assert_eq!(client.exchange(POST).text(), "next");
    assert_eq!(server.accepts(), 2);
}

#[test]
fn a_refused_stream_is_sent_again_and_one_that_was_given_up_is_not() {
    let server = H2Server::start(&[], |Asked { nth, stream, .. }| {
        Some(match nth {
            0 => frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes()),
            1 => fine(stream, "second"),
            _ => frame(RST_STREAM, 0, stream, &2_u32.to_be_bytes()),
        })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    assert_eq!(client.exchange(POST).text(), "second");
    assert_eq!(server.asked().len(), 2);
    assert_problem(&client.exchange(POST), 502, "upstream_closed");
    assert_eq!(server.asked().len(), 3, "nobody knows what the server did with it");
    assert_eq!(server.accepts(), 1, "a stream is not a connection");
}

#[test]
fn r1_what_one_server_does_not_process_another_one_does_whatever_the_method() {
    for goes_away in [false, true] {
        let bad = H2Server::start(&[], move |asked| {
            Some(if goes_away {
                frame(GOAWAY, 0, 0, &[0; 8])
            } else {
                frame(RST_STREAM, 0, asked.stream, &7_u32.to_be_bytes())
            })
        });
        let good = H2Server::start(&[], |asked| Some(fine(asked.stream, "good")));
        for (balance, at_bad) in [("'round_robin'", 10), ("{ hash = 'path' }", 0)] {
            let (bad_before, good_before) = (bad.asked().len(), good.asked().len());
            let lines = format!(
                "servers = ['{}', '{}']\nprotocol = 'h2c'\nbalance = {balance}\n\
                 retry = {{ attempts = 0, budget = '0%' }}",
                bad.address, good.address
            );
            let proxy = Tidegate::start(&config(&lines, ""));
            for n in 0..20 {
                let request = if n % 4 < 2 { GET } else { POST };
                let request = request.replace(" / ", &format!(" /{n} "));
                assert_eq!(proxy.client().exchange(request).text(), "good");
            }
            assert_eq!(good.asked().len() - good_before, 20);
            let asked = bad.asked().len() - bad_before;
            assert!(asked >= at_bad && asked > 0, "{balance}: {asked}");
        }
    }
}

#[test]
fn r1_a_body_that_is_gone_is_not_made_up() {
    let bad = H2Server::start(&[], |asked| {
        Some(frame(RST_STREAM, 0, asked.stream, &7_u32.to_be_bytes()))
    });
    let good = H2Server::start(&[], |asked| Some(fine(asked.stream, "good")));
    let lines = format!(
        "servers = ['{}', '{}']\nprotocol = 'h2c'\nbalance = 'round_robin'\nretry = {{ body_buffer = '1B' }}",
        bad.address, good.address
    );
    let proxy = Tidegate::start(&config(&lines, ""));
    // Either nothing of the body had been taken when the server refused, or it is an error.
    let answer = proxy.client().exchange(POST);
    assert!([200, 502].contains(&answer.status), "{}", answer.status);
    assert_eq!(good.asked().len(), usize::from(answer.status == 200));
}

#[test]
fn a_request_that_its_client_gives_up_is_cancelled_and_the_connection_stays() {
    const CANCEL: u32 = 8;
    let server = H2Server::start(&[], |asked| {
        Some(if asked.nth < 2 { Vec::new() } else { fine(asked.stream, "fine") })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let part = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 100\r\n\r\n0123456789";
    for (nth, request) in [GET, part].into_iter().enumerate() {
        let mut client = proxy.client();
        client.send(request);
        wait_until(SOON, "the server is asked", || server.asked().len() == nth + 1);
        client.reset();
        wait_until(SOON, "it is told", || server.resets() == vec![CANCEL; nth + 1]);
    }
    assert_eq!(proxy.client().exchange(GET).text(), "fine");
    assert_eq!((server.accepts(), server.resets().len()), (1, 2));
}

#[test]
fn a_connection_that_breaks_repeats_only_what_may_be_repeated() {
    let server = H2Server::start(&[], |Asked { connection, nth, stream }| {
        (connection != 0 && connection != 1 || nth == 0).then(|| fine(stream, "fine"))
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    assert_eq!(client.exchange(GET).text(), "fine");
    assert_eq!(client.exchange(GET).text(), "fine");
    assert_eq!((server.accepts(), server.asked().len()), (2, 3));
    assert_problem(&client.exchange(POST), 502, "upstream_closed");
    assert_eq!(server.asked().len(), 4);
    assert_eq!(client.exchange(POST).text(), "fine");
}

#[test]
fn a_server_that_falls_silent_does_not_keep_its_connection() {
    let server = H2Server::start(&[], |Asked { connection, stream, .. }| {
        Some(if connection == 0 { Vec::new() } else { fine(stream, "fine") })
    });
    let lines = "protocol = 'h2c'\ntimeout = { first_byte = '200ms' }\nretry = { attempts = 0 }\neject = false";
    let proxy = proxy(server.address, lines);
    let mut client = proxy.client();
    assert_problem(&client.exchange(GET), 504, "upstream_timeout");
    assert_eq!(client.exchange(GET).text(), "fine");
    assert_eq!(server.accepts(), 2);
}

#[test]
fn what_is_no_response_is_the_servers_fault() {
    let server = H2Server::start(&[], |Asked { nth, stream, .. }| {
        let fields = |fields: &[(&str, &str)]| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
        };
        let many: Vec<(String, &str)> = (0..300).map(|n| (format!("x-{n}"), "1")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, *value)).collect();
        Some(match nth {
            0 => fields(&[("x-a", "no status")]),
            1 => fields(&[(":status", "200"), ("connection", "close")]),
            2 => fields(&[(":status", "200"), ("content-length", "3"), ("content-length", "4")]),
            3 => fields(&[&[(":status", "200")], &many[..]].concat()),
            _ => fine(stream, "fine"),
        })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'\nretry = { attempts = 0 }\neject = false");
    let mut client = proxy.client();
    for _ in 0..4 {
        assert_problem(&client.exchange(POST), 502, "upstream_invalid");
    }
    assert_eq!(client.exchange(POST).text(), "fine");
}

#[test]
fn a_body_that_is_not_as_long_as_it_was_said_to_be_is_cut() {
    // The second request sets off the end of the first one's answer.
    let server = H2Server::start(&[], |Asked { nth, stream, .. }| {
        Some(match nth {
            0 => [head(stream, &[("content-length", "10")]), frame(0, 0, stream, b"sho")].concat(),
            _ => [frame(0, END_STREAM, stream - 2, b"rt"), fine(stream, "next")].concat(),
        })
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    client.send(GET);
    client.wait_for("sho");
    assert_eq!(proxy.client().exchange(GET).text(), "next");
    assert!(client.try_response("GET").is_err());
}

#[test]
fn trailers_and_informational_answers_reach_a_client_of_http_1() {
    let server = H2Server::start(&[], |Asked { stream, .. }| {
        let early = block(&[(":status", "103"), ("link", "</a.css>; rel=preload")]);
        let trailers = block(&[("x-sum", "7"), ("content-length", "9")]);
        Some(
            [
                frame(HEADERS, END_HEADERS, stream, &early),
                head(stream, &[]),
                frame(0, 0, stream, b"body"),
                frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers),
            ]
            .concat(),
        )
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    let early = client.next_head();
    assert_eq!((early.status, early.header("link")), (103, Some("</a.css>; rel=preload")));
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    let trailers = format!("{:?}", answer);
    assert!(trailers.contains("x-sum") && !trailers.contains("content-length"), "{trailers}");
}

#[test]
fn trailers_without_a_body_are_not_lost() {
    // They are here before anybody asks whether there is a body.
    let server = H2Server::start(&[], |Asked { stream, .. }| {
        let trailers = block(&[("x-sum", "7")]);
        let end = frame(HEADERS, END_HEADERS | END_STREAM, stream, &trailers);
        Some([head(stream, &[]), end].concat())
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    assert!(format!("{answer:?}").contains("x-sum"), "{answer:?}");
}

#[test]
fn nginx_is_checked_and_sent_bodies_over_h2c() {
    let large = vec![b'l'; 3_000_000];
    let nginx = Nginx::h2c(&[("large", &large), ("ok", b"ok")], "");
    let lines = "protocol = 'h2c'\nhealth = { path = '/ok', every = '100ms', body = 'ok' }";
    let proxy = proxy(nginx.address, lines);
    let state = || proxy.stats()["upstreams"][0]["servers"][0]["checks_passed"].as_u64();
    wait_until(SOON, "it is found well", || state() > Some(1));
    let mut client = proxy.client();
    let got = client.exchange("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    assert_eq!((got.status, got.body.len()), (200, large.len()));
    let put =
        format!("PUT /store/x HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n", large.len());
    assert_eq!(client.exchange([put.as_bytes(), &large].concat()).status, 201);
    assert_eq!(nginx.stored("x"), large);
    let chunked = "PUT /store/y HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n\
        3\r\nabc\r\n0\r\n\r\n";
    assert_eq!(client.exchange(chunked).status, 201);
    assert_eq!(nginx.stored("y"), b"abc");
    client.send("HEAD /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
    let head = client.try_response("HEAD").unwrap();
    assert_eq!(head.header("content-length"), Some("3000000"));
}

#[test]
fn a_client_that_reads_slowly_holds_up_only_itself() {
    let large = vec![b'l'; 40_000_000];
    let nginx = Nginx::h2c(&[("large", &large), ("ok", b"ok")], "");
    let proxy = proxy(nginx.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    assert_eq!(client.exchange("GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n").text(), "ok");
    let before = resident_kib(proxy.pid());
    let mut slow: Vec<RawClient> = (0..40)
        .map(|_| {
            let mut client = RawClient::connect_narrow(proxy.address());
            client.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n");
            client
        })
        .collect();
    slow.iter_mut().for_each(|client| assert_eq!(client.response_to_head().status, 200));
    for _ in 0..20 {
        assert_eq!(client.exchange("GET /ok HTTP/1.1\r\nHost: a.test\r\n\r\n").text(), "ok");
    }
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 40 * 512, "{grown} KiB for 40 bodies of 40 MB");
    assert!(proxy.stats()["upstreams"][0]["servers"][0]["connections"].as_u64() <= Some(1));
}

#[test]
fn alpn_decides_what_is_spoken() {
    let authority = Authority::new("ca");
    let pair = authority.certificate("server", &["localhost"]);
    let say = "location / { return 200 \"$server_protocol $http_x_forwarded_host\"; }";
    let modern = Nginx::secure_h2(&[], &pair, say);
    let old = Nginx::secure_with(&[], &pair, say);
    for (nginx, expected) in [(&modern, "HTTP/2.0 a.test"), (&old, "HTTP/1.1 a.test")] {
        let upstream = format!(
            "servers = ['localhost:{}']\nprotocol = 'auto'\ntls = {{ ca = '{}' }}\n\
             health = {{ path = '/', every = '100ms' }}",
            nginx.address.port(),
            authority.ca().display()
        );
        let proxy = Tidegate::start(&config(&upstream, ""));
        let mut client = proxy.client();
        for _ in 0..3 {
            assert_eq!(client.exchange(GET).text(), expected);
        }
        let passed = || proxy.stats()["upstreams"][0]["servers"][0]["checks_passed"].as_u64();
        wait_until(SOON, "it is found well", || passed() > Some(0));
    }
}

#[test]
fn a_server_that_speaks_something_else_is_told_of() {
    let http1 = support::Origin::ok("HTTP/1");
    let proxy = proxy(http1.server(), "protocol = 'h2c'\nretry = { attempts = 0 }");
    let answer = proxy.client().exchange(POST);
    assert_eq!(answer.status, 502, "{}", answer.text());
    wait_until(SOON, "the log says which key", || proxy.log().contains("upstream.protocol"));
}

#[test]
fn a_server_that_wants_no_more_of_a_body_has_still_answered() {
    // J22: the whole answer, and then RST_STREAM with NO_ERROR (RFC 9113 §8.1).
    let server = H2Server::start(&[], |Asked { stream, .. }| {
        Some([fine(stream, "enough"), frame(RST_STREAM, 0, stream, &[0; 4])].concat())
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000000\r\n\r\nabc");
    assert_eq!(client.response().text(), "enough");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn a_server_that_allows_no_streams_gets_none_and_holds_up_nobody() {
    // J22.
    let server = H2Server::start(&[(3, 0)], |Asked { stream, .. }| {
        Some(frame(RST_STREAM, 0, stream, &7_u32.to_be_bytes()))
    });
    let lines = "protocol = 'h2c'\ntimeout = { connect = '500ms', first_byte = '500ms' }";
    let proxy = proxy(server.address, lines);
    for _ in 0..3 {
        let answer = proxy.client().exchange(POST);
        assert!(matches!(answer.status, 502 | 504), "{}", answer.status);
    }
}

#[test]
fn a_flood_of_pings_does_not_come_out_of_an_answer() {
    // A server may ask whether the proxy is there, in the middle of a response.
    let server = H2Server::start(&[], |Asked { stream, .. }| {
        let ping = frame(PING, 0, 0, b"12345678");
        let ack = frame(PING, ACK, 0, b"unasked!");
        Some([head(stream, &[]), ping, ack, frame(0, END_STREAM, stream, b"fine")].concat())
    });
    let proxy = proxy(server.address, "protocol = 'h2c'");
    assert_eq!(proxy.client().exchange(GET).text(), "fine");
}
