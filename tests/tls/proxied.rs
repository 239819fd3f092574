//! The PROXY protocol: who may say whose a connection is.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::{self, JoinHandle};

use crate::{ask, entry};
use support::{Authority, Configuration, End, Origin, RawClient, SOON, Tidegate, wait_until};

fn proxy(origin: &Origin, trusted: &str, more: &str) -> Tidegate {
    let listen = format!(
        "proxy_protocol = true\ntrusted_proxies = ['{trusted}']\ntimeout = {{ headers = '500ms' }}\n{more}"
    );
    Configuration::of(origin).listen(&listen).start()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A header of version 2 for a connection from `source`, with an extension that nobody knows.
fn v2(source: [u8; 4]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10".to_vec();
    header.extend_from_slice(&source);
    header.extend_from_slice(&[198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb, 0xe4, 0, 1, b'x']);
    header
}

fn refused(proxy: &Tidegate) -> u64 {
    proxy.stats()["listeners"][0]["proxy_headers_refused"].as_u64().unwrap()
}

#[test]
fn a_trusted_proxy_tells_whose_the_connection_is() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "127.0.0.0/8", "");
    let v6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 443\r\n".to_vec();
    for (header, client) in [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 80\r\n".to_vec(), "192.0.2.7"),
        (v6, "2001:db8::7"),
        (v2([192, 0, 2, 8]), "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN whatever it likes\r\n".to_vec(), "127.0.0.1"),
        // LOCAL: a check of the proxy's own.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(), "127.0.0.1"),
    ] {
        for pieces in [1, 7, 1000] {
            let mut connection = proxy.client();
            connection.send_in_pieces([&header[..], GET].concat(), pieces);
            assert_eq!(connection.response().text(), "fine", "{client}");
            // The header is for the whole connection.
            assert_eq!(connection.get("/again").text(), "fine");
            let requests = origin.requests();
            for request in &requests[requests.len() - 2..] {
                assert_eq!(request.all("x-real-ip"), [client]);
                assert_eq!(request.all("x-forwarded-for"), [client]);
            }
        }
    }
    assert_eq!(refused(&proxy), 0);
}

#[test]
fn what_is_no_header_or_too_long_closes_the_connection_without_an_answer() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "127.0.0.0/8", "");
    let mut long = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec();
    long.resize(70_000, 0);
    let bad: [&[u8]; 11] = [
        GET,
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000\r\n",
        b"PROXY TCP4 192.0.2.700 198.51.100.1 40000 80\r\n",
        b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 80\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 443\r\n",
        b"PROXY TCP9 192.0.2.7 198.51.100.1 40000 80\r\n",
        b"proxy TCP4 192.0.2.7 198.51.100.1 40000 80\r\n",
        &[b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat(),
        &long,
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\0\0\0\0\0\0\0\0\0\0\0\0",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x04\0\0\0\0",
    ];
    for (at, header) in bad.iter().enumerate() {
        let mut connection = proxy.client();
        connection.offer([header, GET].concat());
        let (said, _) = connection.end(SOON);
        assert!(said.is_empty(), "{at}: {}", String::from_utf8_lossy(&said));
    }
    // Nothing in time is as bad.
    let mut silent = proxy.client();
    silent.send("PROXY TC");
    let (said, end) = silent.end(SOON);
    assert_eq!((said.len(), end), (0, End::Closed));
    assert_eq!(refused(&proxy), bad.len() as u64 + 1);
    assert!(origin.requests().is_empty());
}

/// A load balancer that says nothing of its clients, or too much, is found in the log.
#[test]
fn v8_whoever_is_refused_for_a_header_is_in_the_log_with_the_cause() {
    let origin = Origin::ok("fine");
    let trusting = proxy(&origin, "127.0.0.0/8", "");
    let strict = proxy(&origin, "192.0.2.0/24", "");
    let long = [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 200], b"\r\n"].concat();
    let header = b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 80\r\n";
    for (proxy, sent, cause, key) in [
        (&trusting, GET, "a trusted proxy sent no PROXY header", "listen.proxy_protocol"),
        (&trusting, b"PROXY TCP4 x y 1 2\r\n", "malformed PROXY header", "listen.proxy_protocol"),
        (&trusting, &*long, "the PROXY header is too long", "listen.proxy_protocol"),
        (
            &trusting,
            b"PROXY TC",
            "a trusted proxy sent no PROXY header in time",
            "listen.timeout.headers",
        ),
        (
            &strict,
            header,
            "a PROXY header of somebody who is not trusted",
            "listen.trusted_proxies",
        ),
    ] {
        let mut connection = proxy.client();
        connection.offer(sent);
        connection.end(SOON);
        let said = format!("client=127.0.0.1 cause=\"{cause}\" key=\"{key}\" left_out=0");
        wait_until(SOON, cause, || {
            proxy.log().lines().any(|line| line.contains(" WARN ") && line.contains(&said))
        });
    }
    // A check that only connects is no fault.
    let before = trusting.log().matches(" WARN ").count();
    let mut check = trusting.client();
    check.close_write();
    check.end(SOON);
    wait_until(SOON, "it is counted", || refused(&trusting) == 5);
    assert_eq!(trusting.log().matches(" WARN ").count(), before);
}

#[test]
fn a_stranger_speaks_for_himself_alone() {
    let origin = Origin::ok("fine");
    let proxy = proxy(&origin, "192.0.2.0/24", "");
    assert_eq!(proxy.client().get("/").text(), "fine");
    assert_eq!(origin.only_request().all("x-real-ip"), ["127.0.0.1"]);
    for header in [b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 80\r\n".to_vec(), v2([192, 0, 2, 8])] {
        let mut connection = proxy.client();
        connection.offer([&header, GET].concat());
        assert!(connection.end(SOON).0.is_empty());
    }
    // Nor may he keep a connection by saying nothing.
    proxy.client().assert_closes(SOON);
    assert_eq!(refused(&proxy), 2);
}

#[test]
fn it_comes_before_the_handshake() {
    let authority = Authority::new("ca");
    let origin = Origin::ok("fine");
    let tls = entry(&authority.certificate("a", &["a.test"]), "");
    let proxy = proxy(&origin, "127.0.0.0/8", &format!("tls = {tls}"));
    let answer = ask(&proxy, &authority, "a.test", &["--haproxy-protocol"]);
    assert_eq!(answer.text(), "fine\n200", "{}", answer.stderr);
    assert_eq!(origin.only_request().all("x-forwarded-proto"), ["https"]);
    let mut plain = RawClient::connect(proxy.address());
    plain.send("PROXY TCP4 192.0.2.7 198.51.100.1 40000 80\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(plain.response().status, 400, "plain HTTP after the header");
}

/// A proxy that tells a server whose connections are, and is told by whoever connects to it.
fn telling(server: SocketAddr, version: &str) -> Tidegate {
    Tidegate::start(&format!(
        r#"
        [runtime]
        workers = 1
        [log]
        access = "off"
        [[listen]]
        name = "plain"
        address = "127.0.0.1:0"
        [[listen]]
        name = "told"
        address = "127.0.0.1:0"
        proxy_protocol = true
        trusted_proxies = ["127.0.0.0/8"]
        [upstream.app]
        servers = ["{server}"]
        proxy_protocol = "{version}"
        [[route]]
        upstream = "app"
        "#
    ))
}

/// What a server is sent, to the end of the request's head.
fn sent(listener: TcpListener) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") || !bytes.windows(5).any(|five| five == b"GET /") {
            let mut byte = [0; 1];
            stream.read_exact(&mut byte).unwrap();
            bytes.extend(byte);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
        bytes
    })
}

#[test]
fn servers_are_told_whose_a_connection_is() {
    for version in ["v1", "v2"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = telling(listener.local_addr().unwrap(), version);
        let sent = sent(listener);
        let mut direct = RawClient::connect(proxy.listener("plain"));
        let own = direct.local_address();
        assert_eq!(direct.exchange(GET).status, 200);
        let bytes = sent.join().unwrap();
        let port = proxy.listener("plain").port();
        if version == "v1" {
            let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {port}\r\nGET / ", own.port());
            assert!(bytes.starts_with(line.as_bytes()), "{}", String::from_utf8_lossy(&bytes));
        } else {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01".to_vec();
            header.extend(own.port().to_be_bytes());
            header.extend(port.to_be_bytes());
            header.extend(b"GET / ");
            assert!(bytes.starts_with(&header), "{bytes:?}");
        }
    }
}

#[test]
fn what_was_told_is_told_on_with_its_extensions() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = telling(listener.local_addr().unwrap(), "v2");
    let sent = sent(listener);
    let mut told = RawClient::connect(proxy.listener("told"));
    assert_eq!(told.exchange([&v2([192, 0, 2, 8])[..], GET].concat()).status, 200);
    let bytes = sent.join().unwrap();
    assert!(bytes.starts_with(&[&v2([192, 0, 2, 8])[..], b"GET / "].concat()), "{bytes:?}");
}

#[test]
fn nginx_understands_it_and_nobody_gets_anothers_connection() {
    let port = "return 200 \"$proxy_protocol_addr $proxy_protocol_port $connection\";";
    let nginx = support::Nginx::proxied(&format!("location / {{ {port} }}"));
    let listen = "name = 'told'\nproxy_protocol = true\ntrusted_proxies = ['127.0.0.0/8']";
    for version in ["v1", "v2"] {
        let upstream =
            format!("proxy_protocol = '{version}'\nhealth = {{ path = '/', every = '100ms' }}");
        let base = Configuration::of(nginx.address).runtime("workers = 1").listen(listen);
        let proxy = base.app(&upstream).start();
        let passed = || proxy.stats()["upstreams"][0]["servers"][0]["checks_passed"].as_u64();
        support::wait_until(SOON, "checks say that they are nobody", || passed() > Some(0));
        let mut clients: Vec<RawClient> = (1..=3)
            .map(|n| {
                let mut client = RawClient::connect(proxy.address());
                client.send(format!("PROXY TCP4 192.0.2.{n} 198.51.100.1 4000{n} 80\r\n"));
                client
            })
            .collect();
        let mut seen = Vec::new();
        for _ in 0..3 {
            for (n, client) in clients.iter_mut().enumerate() {
                let answer = client.get("/").text();
                let (who, connection) = answer.rsplit_once(' ').unwrap();
                assert_eq!(who, format!("192.0.2.{} 4000{}", n + 1, n + 1));
                seen.push((n, connection.to_owned()));
            }
        }
        // A client's own connection is used again.
        for n in 0..3 {
            let mut own: Vec<_> =
                seen.iter().filter(|(who, _)| *who == n).map(|(_, c)| c).collect();
            own.dedup();
            assert_eq!(own.len(), 1, "{seen:?}");
        }
    }
}
