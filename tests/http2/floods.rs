//! Floods of frames (reliability.md §2, H30 to H42): the connection goes, the process stays, and
//! its memory too.

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM,
    SETTINGS, Verdict, WINDOW_UPDATE, Wire, frame, get, request,
};
use crate::proxy;
use support::{Gate, Nginx, Origin, SOON, Step, Tidegate, ok, resident_kib, wait_until};

const CALM: u32 = 11;

/// A server that answers once the gate is open.
fn held() -> (Gate, Origin) {
    let gate = Gate::default();
    let until = gate.clone();
    let origin = Origin::start(move |_| vec![Step::Until(until.clone()), Step::Send(ok("held"))]);
    (gate, origin)
}

/// The proxy still answers.
fn is_well(proxy: &Tidegate) {
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    assert_eq!(proxy.stats()["panics"].as_u64().unwrap_or(0), 0);
}

#[test]
fn frames_that_ask_for_nothing_are_cut_off() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let open = frame(HEADERS, END_HEADERS, 1, &request("POST", &[]));
    let floods = [
        ("SETTINGS", frame(SETTINGS, 0, 0, &[])),
        ("PING", frame(PING, 0, 0, &[0; 8])),
        ("PRIORITY", frame(PRIORITY, 0, 1, &[0; 5])),
        ("WINDOW_UPDATE", frame(WINDOW_UPDATE, 0, 1, &1_u32.to_be_bytes())),
        ("unknown", frame(0xbb, 0, 0, &[0; 8])),
        ("empty DATA", frame(DATA, 0, 1, &[])),
    ];
    let before = resident_kib(proxy.pid());
    for (name, flood) in &floods {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&open);
        client.flood(flood, 50_000);
        assert_eq!(client.end().unwrap_or(CALM), CALM, "{name}");
    }
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB");
    let listener = &proxy.stats()["listeners"][0];
    assert!(listener["http2_floods"].as_u64() >= Some(5), "{listener}");
    is_well(&proxy);
}

#[test]
fn cancelling_at_once_is_cut_off_before_the_server_notices_much() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    let mut sent = 0;
    for n in 0..5000_u32 {
        let stream = 2 * n + 1;
        let pair = [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])),
            frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()),
        ];
        sent += client.flood(&pair.concat(), 1);
    }
    assert_eq!(client.end().unwrap_or(CALM), CALM);
    assert!(sent > 0 && origin.accepts() <= 200, "{}", origin.accepts());
    is_well(&proxy);
}

#[test]
fn streams_that_the_proxy_is_made_to_reset_are_cut_off() {
    // CVE-2025-8671: each stream is opened rightly and then broken by a frame that is an error.
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    for n in 0..5000_u32 {
        let stream = 2 * n + 1;
        let pair = [
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &get(&[])),
            frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()),
        ];
        if client.flood(&pair.concat(), 1) == 0 {
            break;
        }
    }
    assert!(matches!(client.end(), None | Some(CALM | 1)));
    assert!(origin.accepts() <= 1100, "{}", origin.accepts());
    is_well(&proxy);
}

#[test]
fn heads_without_end_are_cut_off() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    is_well(&proxy);
    let before = resident_kib(proxy.pid());
    // H30: nothing in them.
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_STREAM, 1, &get(&[])));
    client.flood(&frame(CONTINUATION, 0, 1, &[]), 20_000);
    assert!(client.end().is_none_or(|code| code != 0));
    // H31: a megabyte of fields.
    let mut client = Wire::connect(proxy.address(), &[]);
    client.send(&frame(HEADERS, END_STREAM, 1, &get(&[])));
    let fields = [&b"\x00\x03x-a\x7f\xe1\x7d"[..], &[b'v'; 16_000]].concat();
    client.flood(&frame(CONTINUATION, 0, 1, &fields), 64);
    assert!(client.end().is_none_or(|code| code != 0));
    // H31: five thousand fields, and ten thousand crumbs of cookies.
    for (field, times) in [(&b"\x00\x03x-a\x011"[..], 5_000), (b"\x0f\x11\x03a=1", 10_000)] {
        let mut client = Wire::connect(proxy.address(), &[]);
        client.send(&frame(HEADERS, END_STREAM, 1, &get(&[])));
        let all = field.repeat(times);
        let parts: Vec<&[u8]> = all.chunks(field.len() * 1_500).collect();
        for (n, part) in parts.iter().enumerate() {
            let flags = if n + 1 == parts.len() { END_HEADERS } else { 0 };
            client.send(&frame(CONTINUATION, flags, 1, part));
        }
        let verdict = client.verdict(1);
        assert!(
            matches!(verdict, Verdict::Status(431) | Verdict::GoAway(_) | Verdict::Reset(_)),
            "{verdict:?}"
        );
    }
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 4 * 1024, "{grown} KiB");
    assert_eq!(origin.requests().len(), 1, "the one that was well");
    is_well(&proxy);
}

/// A field of four thousand bytes is put into the table once and named four thousand times: sixteen
/// megabytes of fields in four kilobytes.
#[test]
fn a_table_does_not_multiply_what_was_sent() {
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    is_well(&proxy);
    let before = resident_kib(proxy.pid());
    for _ in 0..3 {
        let mut client = Wire::connect(proxy.address(), &[]);
        let large = [&b"\x40\x03x-a\x7f\x81\x1e"[..], &[b'v'; 3_968]].concat();
        client.head(1, &[get(&[]), large].concat());
        client.head(3, &[get(&[]), vec![0xbe; 4_000]].concat());
        let verdict = client.verdict(3);
        assert!(
            matches!(
                verdict,
                Verdict::Status(431) | Verdict::GoAway(_) | Verdict::Reset(_) | Verdict::Closed
            ),
            "{verdict:?}"
        );
    }
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    // One such head alone would be sixteen.
    assert!(grown < 8 * 1024, "{grown} KiB");
    is_well(&proxy);
}

#[test]
fn more_streams_than_allowed_are_refused_and_too_many_of_those_end_it() {
    let (gate, origin) = held();
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    let mut taken = 0;
    for n in 0..3_000_u32 {
        taken += client.flood(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &get(&[])), 1);
    }
    let mut refused = 0;
    while let Some(got) = client.next(|frame| matches!(frame.kind, RST_STREAM | GOAWAY)) {
        if got.kind == GOAWAY {
            assert_ne!(got.number(4), 0);
            break;
        }
        assert_eq!(got.number(0), 7, "REFUSED_STREAM");
        refused += 1;
        if refused == 2_900 {
            break;
        }
    }
    assert!(taken > 100 && refused >= 100, "{taken} {refused}");
    assert!(origin.requests().len() <= 100, "{}", origin.requests().len());
    gate.open();
    drop(client);
    wait_until(SOON, "all have ended", || proxy.stats()["routes"][0]["in_flight"] == 0);
    is_well(&proxy);
}

#[test]
fn a_window_that_never_opens_holds_little_and_not_for_ever() {
    // H17: nobody reads the answers.
    let large = vec![b'l'; 4_000_000];
    let nginx = Nginx::start(&[("large", &large)]);
    let upstream = format!("servers = ['{}']", nginx.address);
    let listen = "timeout = { write_gap = '500ms' }";
    let proxy = Tidegate::start(&crate::config(&upstream, listen));
    let before = resident_kib(proxy.pid());
    let mut clients: Vec<Wire> =
        (0..5).map(|_| Wire::connect(proxy.address(), &[(4, 0)])).collect();
    for client in &mut clients {
        for n in 0..50_u32 {
            let head = crate::frames::block(&[
                (":method", "GET"),
                (":scheme", "http"),
                (":path", "/large"),
                (":authority", "a.test"),
            ]);
            client.head(2 * n + 1, &head);
        }
    }
    let in_flight = || proxy.stats()["routes"][0]["in_flight"].as_u64();
    wait_until(SOON, "they are under way", || in_flight() > Some(100));
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    // 64 KiB for each stream, 256 of them at a time.
    assert!(grown < 250 * 128, "{grown} KiB");
    wait_until(SOON * 2, "they are given up", || in_flight() == Some(0));
    let given_up = clients[0].next(|frame| frame.kind == RST_STREAM);
    assert!(given_up.is_some());
}

#[test]
fn requests_that_are_never_finished_time_out() {
    // H40: a hundred streams, and nothing more.
    let origin = Origin::ok("fine");
    let upstream = format!("servers = ['{}']", origin.server());
    let listen = "timeout = { body_gap = '300ms', idle = '300ms' }";
    let proxy = Tidegate::start(&crate::config(&upstream, listen));
    let mut client = Wire::connect(proxy.address(), &[]);
    for n in 0..100_u32 {
        client.send(&frame(HEADERS, END_HEADERS, 2 * n + 1, &request("POST", &[])));
    }
    assert_eq!(client.verdict(1), Verdict::Status(408));
    assert_eq!(client.end(), Some(0), "and the connection is idle then");
    wait_until(SOON, "all have ended", || proxy.stats()["routes"][0]["in_flight"] == 0);
    assert!(origin.complete().is_empty());
}

#[test]
fn a_stream_that_is_cancelled_ends_at_the_server_too() {
    // H19.
    let origin = Origin::start(|_| {
        vec![Step::Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin".into()), Step::Hold]
    });
    let proxy = proxy(origin.server(), "");
    let mut client = Wire::connect(proxy.address(), &[]);
    client.head(1, &get(&[]));
    assert_eq!(client.verdict(1), Verdict::Status(200));
    client.send(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes()));
    wait_until(SOON, "the server is left", || origin.open_connections() == 0);
    wait_until(SOON, "it has ended", || proxy.stats()["routes"][0]["in_flight"] == 0);
    client.head(3, &get(&[]));
    assert_eq!(client.verdict(3), Verdict::Status(200));
}

#[test]
fn bodies_in_single_bytes_from_many_connections_hold_up_nobody() {
    // H42.
    let origin = Origin::ok("fine");
    let proxy = proxy(origin.server(), "");
    let mut clients: Vec<Wire> = (0..200).map(|_| Wire::connect(proxy.address(), &[])).collect();
    for client in &mut clients {
        client.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", &[])));
    }
    for _ in 0..20 {
        for client in &mut clients {
            client.send(&frame(DATA, 0, 1, b"x"));
        }
        is_well(&proxy);
    }
}

#[test]
fn requests_under_way_hold_no_more_than_they_may() {
    let (gate, origin) = held();
    let config = crate::config(&format!("servers = ['{}']", origin.server()), "");
    let proxy = Tidegate::start(&config.replace("drain =", "request_memory = '128KiB'\ndrain ="));
    let mut clients: Vec<Wire> = (0..4).map(|_| Wire::connect(proxy.address(), &[])).collect();
    for client in &mut clients {
        for n in 0..50_u32 {
            client.head(2 * n + 1, &get(&[]));
        }
    }
    // The last connection comes too late for all of its requests.
    assert_eq!(clients[3].verdict(99), Verdict::Status(503));
    let memory = proxy.stats()["request_memory"].clone();
    let number = |name: &str| memory[name].as_u64().unwrap();
    assert_eq!(number("limit"), 128 * 1024);
    assert!(number("held") <= 128 * 1024 && number("held") > 64 * 1024, "{memory}");
    assert!(number("refused") >= 100, "{memory}");
    wait_until(SOON, "it is logged", || proxy.log().contains("runtime.request_memory"));
    gate.open();
    assert_eq!(clients[0].verdict(1), Verdict::Status(200));
    wait_until(SOON, "all of it is given back", || proxy.stats()["request_memory"]["held"] == 0);
    is_well(&proxy);
}

#[test]
fn w16_idle_connections_make_room_and_the_last_ones_are_told_to_end() {
    let origin = Origin::ok("fine");
    let config = crate::config(
        &format!("servers = ['{}']", origin.server()),
        "limits = { connections = 16 }",
    );
    let proxy = Tidegate::start(&config);
    let number = |name: &str| proxy.stats()["listeners"][0][name].as_u64().unwrap();
    let mut idle: Vec<Wire> = (0..15)
        .map(|_| {
            let mut client = Wire::connect(proxy.address(), &[]);
            client.head(1, &get(&[]));
            assert_eq!(client.verdict(1), Verdict::Status(200));
            client
        })
        .collect();
    // With one place left the answer is the last on its connection.
    let mut last = Wire::connect(proxy.address(), &[]);
    last.head(1, &get(&[]));
    let announced = last.next(|frame| frame.kind == GOAWAY).expect("it is told to end");
    assert_eq!(announced.number(4), 0, "it did nothing wrong");
    drop(last);
    wait_until(SOON, "it is gone", || number("connections") == 15);
    idle.push(Wire::connect(proxy.address(), &[]));
    wait_until(SOON, "all places are taken", || number("connections") == 16);
    for _ in 0..40 {
        is_well(&proxy);
    }
    assert_eq!(number("refused"), 0);
    assert!(number("reclaimed") > 0);
    assert_eq!(idle[0].end(), Some(0), "the one that has been idle for longest was told so");
}

#[test]
fn w16_without_an_idle_connection_streams_are_told_so() {
    let (gate, origin) = held();
    let config = crate::config(
        &format!("servers = ['{}']", origin.server()),
        "limits = { connections = 2 }",
    );
    let proxy = Tidegate::start(&config);
    let mut busy: Vec<Wire> = (0..2).map(|_| Wire::connect(proxy.address(), &[])).collect();
    for client in &mut busy {
        client.head(1, &get(&[]));
    }
    wait_until(SOON, "all are busy", || origin.requests().len() == 2);
    let mut late = Wire::connect(proxy.address(), &[]);
    late.head(1, &get(&[]));
    assert_eq!(late.verdict(1), Verdict::Status(503));
    assert_eq!(late.end(), Some(0));
    gate.open();
    for client in &mut busy {
        assert_eq!(client.verdict(1), Verdict::Status(200));
    }
}

#[test]
fn w3_a_server_that_does_not_read_costs_no_more_than_its_share() {
    // It says what a server says first, and then takes nothing.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut connections = Vec::new();
        for mut stream in listener.incoming().flatten() {
            std::io::Write::write_all(&mut stream, &frame(SETTINGS, 0, 0, &[])).unwrap();
            connections.push(stream);
        }
    });
    let upstream = format!(
        "servers = ['{server}']\nprotocol = 'h2c'\nretry = {{ attempts = 0 }}\neject = false\n\
         timeout = {{ connect = '1s' }}"
    );
    let config = crate::config(&upstream, "");
    let proxy = Tidegate::start(&config.replace("drain =", "request_memory = '4MiB'\ndrain ="));
    let before = resident_kib(proxy.pid());
    let field = format!("x-a: {}\r\n", "y".repeat(9000));
    let head = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{field}{field}{field}\r\n");
    for _ in 0..2000 {
        let mut client = proxy.client();
        client.send(&head);
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let grown = resident_kib(proxy.pid()).saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for 4 MiB");
    // What waits is given up with the connections.
    wait_until(4 * SOON, "all of it is given back", || {
        proxy.stats()["request_memory"]["held"] == 0
    });
}
